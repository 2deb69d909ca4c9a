"""The dashboard that somebody who runs imports looks at in the morning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aws_cdk import Duration, Stack, Token
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct, IConstruct

from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.metrics import known
from healthimaging_cdk._common.validation import Violations
from healthimaging_cdk.datastore.datastore import IDatastore, StorageTier
from healthimaging_cdk.dicom_import.dicom_import import DicomImport
from healthimaging_cdk.monitoring.import_alarms import ImportAlarms

_WEEK = Duration.days(7)
_DAY = Duration.days(1)
_HOUR = Duration.hours(1)
_WIDTH = 24
_HALF = 12
_THIRD = 8
_HEIGHT = 6
# Of each import a number sums one metric, and an expression takes 2,048 characters (MetricDataQuery).
_MOST = 50
_MOST_ALARMS = 100
_GREEN, _RED = cloudwatch.Color.GREEN, cloudwatch.Color.RED


class ImportDashboard(Construct):
    """A CloudWatch dashboard of imports and of the data stores they go into.

    From top to bottom: the alarms; what was imported, rejected and failed in the time shown, as numbers; the same over
    time, import by import, with the duration of jobs; how much each data store holds, and how it grows. It begins with
    the last seven days.

    Imports and data stores may be in other Regions, and in accounts that share their metrics. The names of what is
    created there are not known here: output buckets are not linked to.

    Example:
        >>> ImportDashboard(stack, "Dashboard", imports=[import_], alarms=[alarms])

    See:
        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Dashboards.html
    """

    @check_types
    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        imports: Sequence[DicomImport] = (),
        datastores: Sequence[IDatastore] | None = None,
        alarms: Sequence[ImportAlarms] = (),
        dashboard_name: str | None = None,
    ) -> None:
        """Create a dashboard.

        Args:
            scope: the parent construct.
            construct_id: the id in the scope.
            imports: the imports to show, at most 50. Default: none.
            datastores: the data stores to show, at most 50. Default: those of the imports, without those that are
                made in another Region or account, whose ids are not known here (``Datastore.from_datastore_arn``).
            alarms: the alarms to show at the top, at most 100 in all, of this account. Default: none. Those of
                another Region take ``cross_region_references`` in both stacks.
            dashboard_name: the name in CloudWatch. Default: CloudFormation makes one.

        Raises:
            TypeError: an argument is not of its type.
            ValueError: there is nothing to show, or more than CloudWatch takes, or what
                another account makes is to be shown by a name that is not known.
        """
        violations = Violations("ImportDashboard", scope, construct_id)
        stack = Stack.of(scope)
        shown = _stores_of(imports, stack) if datastores is None else datastores
        # The same store may be named by several constructs.
        stores = list({(store.datastore_id, store.env.account, store.env.region): store for store in shown}.values())
        if not imports and not stores:
            violations.add("imports and datastores are empty: give at least one of them")
        every = [alarm for group in alarms for alarm in group.alarms]
        for name, count, most in (
            ("imports", len(imports), _MOST),
            ("datastores", len(stores), _MOST),
            ("alarms", len(every), _MOST_ALARMS),
        ):
            if count > most:
                violations.add(f"{name} are {count}, one dashboard shows at most {most}: make several")
        for store in stores:
            if Token.is_unresolved(store.datastore_id):
                advice = "name it by Datastore.from_datastore_arn once it is created"
                violations.check_place(f"datastores: {store.node.path}", store, stack, account=advice)
        for alarm in every:
            advice = "show it on a dashboard there"
            violations.check_place(f"alarms: {alarm.node.path}", alarm, stack, account=advice)
        violations.raise_any()
        super().__init__(scope, construct_id)
        self._dashboard = cloudwatch.Dashboard(self, "Resource", dashboard_name=dashboard_name, default_interval=_WEEK)
        self._dashboard.add_widgets(_headline(stack, imports, stores))
        if every:
            self._dashboard.add_widgets(cloudwatch.AlarmStatusWidget(title="Alarms", alarms=every, width=_WIDTH))
        if imports:
            self._dashboard.add_widgets(*_numbers(imports))
            self._dashboard.add_widgets(*_files(imports))
            self._dashboard.add_widgets(*_jobs(imports))
        for store in stores:
            self._dashboard.add_widgets(*_store(store))

    @property
    def dashboard(self) -> cloudwatch.Dashboard:
        """The dashboard; ``add_widgets`` adds below what is there."""
        return self._dashboard


def _stores_of(imports: Sequence[DicomImport], here: Stack) -> list[IDatastore]:
    stores = [import_.datastore for import_ in imports]
    return [store for store in stores if _is_told(store.datastore_id, store, here)]


def _is_told(name: str, of: IConstruct, here: Stack) -> bool:
    """Whether a stack can write out a name: CDK refers to nothing in another account or, unless asked to, Region."""
    return not Token.is_unresolved(name) or Stack.of(of).environment == here.environment


def _headline(here: Stack, imports: Sequence[DicomImport], stores: Sequence[IDatastore]) -> cloudwatch.IWidget:
    """What one sees, and where to go on from here."""
    lines = ["# DICOM imports", "", *(_line(import_, here) for import_ in imports)]
    every = [*(Stack.of(import_).region for import_ in imports), *(store.env.region for store in stores)]
    regions = list(dict.fromkeys(known(region) or here.region for region in every))
    links = [
        f"[HealthImaging console{f' in {region}' if len(regions) > 1 else ''}]"
        f"({_console(region)}/medical-imaging/home?region={region})"
        for region in regions
    ]
    lines += ["", ", ".join(links)]
    if stores:
        lines.append(
            "Data stores show nothing? HealthImaging reports on those made after February 9, 2026, in accounts with "
            "its [service-linked role](https://docs.aws.amazon.com/healthimaging/latest/devguide/"
            "security-iam-service-linked-roles.html)"
        )
    height = min(3 + len(imports), 10)
    return cloudwatch.TextWidget(markdown="\n".join(lines), width=_WIDTH, height=height)


def _line(import_: DicomImport, here: Stack) -> str:
    there, store, bucket = Stack.of(import_), import_.datastore, import_.output_bucket
    line = f"- **{import_.import_name}**"
    if _is_told(store.datastore_id, store, here):
        line += f" into data store `{store.datastore_id}`"
    if there.environment != here.environment:
        line += f" in {known(there.region) or 'another Region'}, account {known(there.account) or 'unknown'}"
    name = bucket.bucket_name
    if _is_told(name, bucket, here):
        region = known(there.region) or here.region
        line += f". Manifests and reasons of rejection: [{name}]({_console(region)}/s3/buckets/{name})"
    return line


def _console(region: str) -> str:
    return f"https://{region}.console.aws.amazon.com"


def _numbers(imports: Sequence[DicomImport]) -> list[cloudwatch.IWidget]:
    """The whole time shown, in one number each, over all imports."""
    wanted: list[tuple[str, Callable[[DicomImport], cloudwatch.IMetric]]] = [
        ("Files imported", lambda import_: import_.metric_files_imported()),
        ("Files rejected", lambda import_: import_.metric_files_rejected()),
        ("Image sets generated", lambda import_: import_.metric_image_sets_generated()),
        ("Jobs succeeded", lambda import_: import_.metric_imports_succeeded()),
        ("Jobs failed", lambda import_: import_.metric_imports_failed()),
    ]
    colors = {"Files rejected": _RED, "Jobs failed": _RED}
    totals: list[cloudwatch.IMetric] = []
    for title, metric in wanted:
        each = {f"{_id(title)}_{index}": metric(import_) for index, import_ in enumerate(imports)}
        filled = ", ".join(f"FILL({name}, 0)" for name in each)
        totals.append(
            cloudwatch.MathExpression(
                expression=f"SUM([{filled}])", using_metrics=each, label=title, color=colors.get(title)
            )
        )
    return [
        cloudwatch.SingleValueWidget(
            title="In the time shown", metrics=totals, set_period_to_time_range=True, width=_WIDTH, height=4
        )
    ]


def _files(imports: Sequence[DicomImport]) -> list[cloudwatch.IWidget]:
    return [
        cloudwatch.GraphWidget(
            title="Files imported, by the hour",
            left=[i.metric_files_imported(label=i.import_name, period=_HOUR) for i in imports],
            stacked=True,
            width=_HALF,
            height=_HEIGHT,
        ),
        cloudwatch.GraphWidget(
            title="Files rejected, by the hour",
            left=[i.metric_files_rejected(label=i.import_name, period=_HOUR) for i in imports],
            left_y_axis=cloudwatch.YAxisProps(label="files", min=0, show_units=False),
            right=[i.metric_rejected_rate(label=f"{i.import_name} %", period=_HOUR) for i in imports],
            right_y_axis=cloudwatch.YAxisProps(label="percent", min=0, max=100, show_units=False),
            width=_HALF,
            height=_HEIGHT,
        ),
    ]


def _jobs(imports: Sequence[DicomImport]) -> list[cloudwatch.IWidget]:
    succeeded = [
        i.metric_imports_succeeded(label=f"{i.import_name} succeeded", period=_HOUR, color=_GREEN) for i in imports
    ]
    failed = [i.metric_imports_failed(label=f"{i.import_name} failed", period=_HOUR, color=_RED) for i in imports]
    return [
        cloudwatch.GraphWidget(
            title="Jobs, by the hour", left=[*succeeded, *failed], stacked=True, width=_HALF, height=_HEIGHT
        ),
        cloudwatch.GraphWidget(
            title="Longest job, by the hour",
            left=[i.metric_duration(label=i.import_name, period=_HOUR) for i in imports],
            left_y_axis=cloudwatch.YAxisProps(label="seconds", min=0, show_units=False),
            width=_HALF,
            height=_HEIGHT,
        ),
    ]


def _store(store: IDatastore) -> list[cloudwatch.IWidget]:
    """How much a store holds, and how it grows, by the day."""
    frequent, archive = StorageTier.FREQUENT_ACCESS, StorageTier.ARCHIVE_INSTANT_ACCESS
    name = store.datastore_id
    return [
        cloudwatch.GraphWidget(
            title=f"Bytes of image sets in {name}",
            left=[
                store.metric_storage_bytes(frequent, label="Frequent Access", period=_DAY),
                store.metric_storage_bytes(archive, label="Archive Instant Access", period=_DAY),
            ],
            stacked=True,
            left_y_axis=cloudwatch.YAxisProps(min=0),
            width=_THIRD,
            height=_HEIGHT,
        ),
        cloudwatch.GraphWidget(
            title=f"Growth of {name}, by the day",
            left=[_growth(store.metric_storage_bytes(), "bytes")],
            right=[_growth(store.metric_total_image_set_count(), "image sets")],
            left_y_axis=cloudwatch.YAxisProps(label="bytes", show_units=False),
            right_y_axis=cloudwatch.YAxisProps(label="image sets", show_units=False),
            width=_THIRD,
            height=_HEIGHT,
        ),
        cloudwatch.GraphWidget(
            title=f"What {name} holds",
            left=[
                store.metric_total_image_set_count(label="image sets", period=_DAY),
                store.metric_primary_image_set_count(label="primary image sets", period=_DAY),
                store.metric_dicom_study_count(label="studies", period=_DAY),
                store.metric_dicom_series_count(label="series", period=_DAY),
            ],
            right=[store.metric_dicom_instance_count(label="instances", period=_DAY)],
            left_y_axis=cloudwatch.YAxisProps(min=0),
            right_y_axis=cloudwatch.YAxisProps(min=0),
            width=_THIRD,
            height=_HEIGHT,
        ),
    ]


def _growth(level: cloudwatch.Metric, label: str) -> cloudwatch.MathExpression:
    level_id = f"{_id(label)}_level"
    return cloudwatch.MathExpression(
        expression=f"DIFF({level_id})", using_metrics={level_id: level}, label=label, period=_DAY
    )


def _id(label: str) -> str:
    """An id for a metric; within one graph no two may have the same."""
    return label.lower().replace(" ", "_")


__all__ = ["ImportDashboard"]
