"""The alarms that somebody who runs an import wants to have."""

from __future__ import annotations

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.messages import is_token
from healthimaging_cdk._common.validation import Violations
from healthimaging_cdk.dicom_import.dicom_import import DicomImport

_HOUR = Duration.hours(1)
_MOST_HOURS = 7 * 24
_WHOLE = 100
_MANAGED_KEY = "alias/aws/sns"


class ImportAlarms(Construct):
    """Alarms of one import: a job failed, files were rejected, nothing was imported for too long.

    The first two are always created, the others if they are asked for. Each alarm is an attribute, and
    ``add_alarm_action`` and the like work as in CDK. The alarms of failures and rejections are about one moment and go
    back to OK by themselves. For one alarm alone make it of a metric (docs/metrics.md).

    Example:
        >>> alarms = ImportAlarms(stack, "Alarms", import_, rejected_percent=1)
        >>> alarms.failed_imports.add_alarm_action(action)

    See:
        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html
    """

    @check_types
    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        import_: DicomImport,
        *,
        rejected_percent: float = 0,
        no_success_for: Duration | None = None,
        dead_letter_queue: sqs.IQueue | None = None,
        notification_topic: sns.ITopic | None = None,
    ) -> None:
        """Create the alarms.

        Args:
            scope: the parent construct.
            construct_id: the id in the scope.
            import_: the import to watch.
            rejected_percent: how many of the files that jobs scan in an hour may be rejected, in percent (0 to below
                100); 0 unless given, so that one rejected file rings.
            no_success_for: alarm when no job of this import has succeeded for so long, in whole hours, 1 hour to 7
                days. Default: there is no such alarm. It is for an import that is deployed on a schedule with a new
                ``run_id`` each time, a little more often than this says: files that arrive, deploys without a new run,
                runs with nothing to import and jobs that others start do not count. It rings until the first success.
            dead_letter_queue: alarm while a queue of yours holds messages, for example the dead-letter queue of a rule
                target that gets the import's events. Default: there is no such alarm. The import itself has none.
            notification_topic: the topic that is told of every alarm, and when a success comes after all or the queue
                is empty again. Default: nobody is told. CloudWatch is let publish to it and use its key; for a
                topic that is not created in this app its owner has to do that. It is in the stack's Region, in this
                account or another. If the import's ``notify`` has the same topic, a failure is told twice.

        Raises:
            ValueError: arguments break rules; the message names all of them.
        """
        violations = Violations("ImportAlarms", scope, construct_id)
        _check(violations, rejected_percent, no_success_for)
        if notification_topic is not None and notification_topic.master_key is not None:
            _check_key(violations, scope, notification_topic)
        # PutMetricAlarm refuses others: "Invalid region ca-central-1 specified. Only us-west-2 is supported."
        # (cds-snc/notification-terraform#128). Of FIFO topics CloudWatch's documentation says nothing.
        here = "use a topic of the stack's Region, a CloudWatch alarm notifies no other"
        violations.check_place("notification_topic", notification_topic, Stack.of(scope), region=here)
        violations.raise_any()
        super().__init__(scope, construct_id)
        what = f"DICOM import {import_.import_name}"
        # A job's metrics come from its log lines, which may be late: three periods, of which one has to be bad.
        self._failed_imports = cloudwatch.Alarm(
            self,
            "FailedImports",
            alarm_description=f"{what}: a job did not import what it should, or its verdict could not be determined; "
            "the event DICOM Import Judged names it",
            metric=import_.metric_imports_failed(),
            threshold=0,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=3,
            datapoints_to_alarm=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        self._rejected_files = cloudwatch.Alarm(
            self,
            "RejectedFiles",
            alarm_description=f"{what}: more than {rejected_percent:g} % of the files were rejected; the reasons "
            "stand in FAILURE/failure.ndjson in the job's output folder",
            metric=import_.metric_rejected_rate(period=_HOUR),
            threshold=rejected_percent,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        self._no_successful_import = self._alarm_of_silence(import_, what, no_success_for) if no_success_for else None
        self._dead_letters = self._alarm_of_queue(what, dead_letter_queue) if dead_letter_queue else None
        if notification_topic is not None:
            _let_cloudwatch_publish(self, notification_topic)
            action = actions.SnsAction(notification_topic)
            for alarm in self.alarms:
                alarm.add_alarm_action(action)
            # The others go back to OK by themselves, which mends nothing: that would be a misleading message.
            for lasting in (self.no_successful_import, self.dead_letters):
                if lasting is not None:
                    lasting.add_ok_action(action)

    @property
    def failed_imports(self) -> cloudwatch.Alarm:
        """A job did not import what it should, or its verdict could not be determined."""
        return self._failed_imports

    @property
    def rejected_files(self) -> cloudwatch.Alarm:
        """More files were rejected than may be."""
        return self._rejected_files

    @property
    def no_successful_import(self) -> cloudwatch.Alarm | None:
        """No job has succeeded for too long, if that was asked for."""
        return self._no_successful_import

    @property
    def dead_letters(self) -> cloudwatch.Alarm | None:
        """The dead-letter queue holds messages, if there is one."""
        return self._dead_letters

    @property
    def alarms(self) -> list[cloudwatch.Alarm]:
        """All of them, for example for a dashboard."""
        found = [self.failed_imports, self.rejected_files, self.no_successful_import, self.dead_letters]
        return [alarm for alarm in found if alarm is not None]

    def _alarm_of_silence(self, import_: DicomImport, what: str, patience: Duration) -> cloudwatch.Alarm:
        hours = patience.to_hours()
        return cloudwatch.Alarm(
            self,
            "NoSuccessfulImport",
            alarm_description=f"{what}: no job has succeeded for {hours:g} hours",
            # Hours without a job have no value: without FILL, CloudWatch would look further back for one.
            metric=cloudwatch.MathExpression(
                expression="FILL(succeeded, 0)",
                using_metrics={"succeeded": import_.metric_imports_succeeded()},
                label="Successful imports",
                period=_HOUR,
            ),
            threshold=1,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            evaluation_periods=hours,
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )

    def _alarm_of_queue(self, what: str, queue: sqs.IQueue) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            "DeadLetters",
            alarm_description=f"{what}: the dead-letter queue holds messages",
            metric=queue.metric_approximate_number_of_messages_visible(statistic="Maximum"),
            threshold=0,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            # SQS falls silent about a queue that nobody has touched for six hours, messages or not.
            treat_missing_data=cloudwatch.TreatMissingData.IGNORE,
        )


def _check(violations: Violations, rejected_percent: float, no_success_for: Duration | None) -> None:
    percent = "a token" if is_token(rejected_percent) else rejected_percent
    if isinstance(percent, str) or not 0 <= percent < _WHOLE:
        violations.add(f"rejected_percent must be 0 to below 100, known at synth, got {percent}")
    if no_success_for is None:
        return
    hours = None if no_success_for.is_unresolved() else no_success_for.to_hours(integral=False)
    if hours is None or hours % 1 or not 1 <= hours <= _MOST_HOURS:
        given = "a token" if hours is None else f"{hours:g} hours"
        violations.add(
            f"no_success_for must be whole hours, 1 hour to 7 days, known at synth, got {given}: a CloudWatch alarm "
            "looks back 7 days at most, and for longer a schedule of your own has to look at the metric"
        )


def _check_key(violations: Violations, scope: Construct, topic: sns.ITopic) -> None:
    """CloudWatch has no right on the key that AWS manages for SNS, and nobody can give it one."""
    key = topic.master_key
    if key is not None and _MANAGED_KEY in str(Stack.of(scope).resolve(key.key_arn)):
        violations.add(
            f"notification_topic is encrypted with {_MANAGED_KEY}, which CloudWatch alarms cannot use: encrypt it with "
            "a customer-managed key"
        )


def _let_cloudwatch_publish(scope: Construct, topic: sns.ITopic) -> None:
    stack = Stack.of(scope)
    alarms = stack.format_arn(
        service="cloudwatch", resource="alarm", resource_name="*", arn_format=ArnFormat.COLON_RESOURCE_NAME
    )
    topic.grant_publish(
        iam.ServicePrincipal(
            "cloudwatch.amazonaws.com",
            conditions={"StringEquals": {"aws:SourceAccount": stack.account}, "ArnLike": {"aws:SourceArn": alarms}},
        )
    )


__all__ = ["ImportAlarms"]
