"""What a review says of a change. Each pair has what is expected of it, written before the review was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Duration, Environment, NestedStack, Stack, Stage, Tags
from aws_cdk import aws_healthimaging as healthimaging
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from click.testing import CliRunner

from healthimaging_cdk import BulkDicomImport, Datastore, DicomImport, ImportSource, ImportTolerance
from healthimaging_cdk.cli._group import commands
from healthimaging_cdk.review.formats import markdown, sections
from healthimaging_cdk.review.reading.assembly import Assembly, UnreadableError, load_assembly
from healthimaging_cdk.review.reading.template import Template
from healthimaging_cdk.review.report import ExitCode, Review, review
from healthimaging_import.importing.request import ImportRequest
from tests.review.rule_examples import EXAMPLES, KEY, STORE, changed, importing, template

_HERE = Environment(account="111122223333", region="us-east-1")


def _app(folder: Path, **options: Any) -> Path:
    """An app with a key, a store, an import and a viewer, changed by options."""
    app = App(outdir=str(folder), analytics_reporting=False)
    stack = Stack(app, "Images", env=_HERE)
    key = kms.Key(stack, options.get("key", "Key"), enable_key_rotation=True)
    store = Datastore(stack, options.get("store", "Store"), encryption_key=key)
    bucket = options.get("bucket", "Source")
    source = s3.Bucket(stack, bucket, encryption_key=key, enforce_ssl=True)
    DicomImport(
        stack,
        options.get("importer", "Import"),
        datastore=store,
        source=ImportSource.bucket(source, options.get("prefix", "studies/2026/")),
        timeout=Duration.minutes(options.get("timeout", 30)),
        run_id=options.get("run_id"),
    )
    viewer = iam.Role(stack, "Viewer", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    store.grant(viewer, *options.get("actions", ["medical-imaging:GetImageSet"]))
    if "tag" in options:
        Tags.of(store).add("team", options["tag"])
    app.synth()
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _app(tmp_path_factory.mktemp("base"))


def _facts(found: Review) -> tuple[list[str], list[str], set[str]]:
    """Kinds of data, resources that import again, and actions that are new."""
    data = sorted(f"{item.type} {item.kind} {item.fate}" for item in found.data)
    again = [item.resource[:6] for item in found.imports if item.is_again]
    return data, again, {item.right.action for item in found.rights}


def _store(kind: str) -> str:
    return f"AWS::HealthImaging::Datastore {kind} orphaned"


PAIRS: dict[str, tuple[dict[str, Any], list[str], list[str], ExitCode]] = {
    "a tag": ({"tag": "radiology"}, [], [], ExitCode.NOTHING),
    "a key": (
        {"key": "Key2"},
        [_store("replaced"), "AWS::KMS::Key renamed orphaned"],
        ["Import"],
        ExitCode.DATA,
    ),
    "a renamed id": ({"store": "Archive"}, [_store("renamed")], ["Import"], ExitCode.DATA),
    "another prefix": ({"prefix": "studies/2027/"}, [], ["Import"], ExitCode.NOTHING),
    "a timeout": ({"timeout": 40}, [], [], ExitCode.NOTHING),
    "a broader role": (
        {"actions": ["medical-imaging:GetImageSet", "medical-imaging:DeleteImageSet"]},
        [],
        [],
        ExitCode.NOTHING,
    ),
    "a run id": ({"run_id": "again"}, [], ["Import"], ExitCode.NOTHING),
    "nothing": ({}, [], [], ExitCode.NOTHING),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_reviewed_as_expected(name: str, base: Path, tmp_path: Path) -> None:
    options, data, again, code = PAIRS[name]
    found = review(load_assembly(_app(tmp_path, **options)), load_assembly(base))
    assert (data, again, code) == (*_facts(found)[:2], found.exit_code)


@pytest.mark.slow
def test_a_broader_role_is_a_new_right(base: Path, tmp_path: Path) -> None:
    actions = ["medical-imaging:GetImageSet", "medical-imaging:DeleteImageSet"]
    found = review(load_assembly(_app(tmp_path, actions=actions)), load_assembly(base))
    new = {(item.right.resource[:6], item.right.action, item.because) for item in found.rights}
    assert ("Viewer", "medical-imaging:DeleteImageSet", "the action was not allowed") in new
    assert {"Viewer"} == {name for name, _, _ in new}


@pytest.mark.slow
def test_less_rights_are_no_new_rights(base: Path, tmp_path: Path) -> None:
    actions = ["medical-imaging:GetImageSet", "medical-imaging:DeleteImageSet"]
    found = review(load_assembly(base), load_assembly(_app(tmp_path, actions=actions)))
    assert [] == found.rights


def test_an_upgrade_of_the_library_loses_and_imports_nothing(base: Path, tmp_path: Path) -> None:
    """Another release has another function: other code, another environment, another log group's retention."""
    upgraded = tmp_path / "upgraded"
    upgraded.mkdir()
    for file in base.glob("*.json"):
        text = file.read_text(encoding="utf-8")
        if file.name == "Images.template.json":
            document = json.loads(text)
            for resource in document["Resources"].values():
                if resource["Type"] == "AWS::Lambda::Function":
                    resource["Properties"]["Code"]["S3Key"] = f"{'0' * 64}.zip"
                    resource["Properties"]["MemorySize"] = 1024
                if resource["Type"] == "Custom::HealthImagingImport":
                    resource["Properties"]["OptionOfTheNextRelease"] = "on"
            text = json.dumps(document)
        (upgraded / file.name).write_text(text, encoding="utf-8")
    found = review(load_assembly(upgraded), load_assembly(base))
    assert ([], [], set(), ExitCode.NOTHING) == (*_facts(found), found.exit_code)
    assert any("Import" in name for name in found.changed)


def _one(document: dict[str, Any], name: str = "Stack") -> Assembly:
    return Assembly([Template(name, document)])


def test_a_tag_in_the_template_replaces_the_store() -> None:
    before, after = EXAMPLES["HI102"]
    found = review(_one(after), _one(before))
    assert [("replaced", "orphaned", "Store")] == [(item.kind, item.fate, item.resource) for item in found.data]
    assert ExitCode.DATA == found.exit_code


def test_what_is_not_retained_is_deleted() -> None:
    before = changed(template(Store=STORE, Key=KEY), "Store", "DeletionPolicy")
    found = review(_one(template(Key=KEY)), _one(before))
    assert [("removed", "deleted")] == [(item.kind, item.fate) for item in found.data]


def test_a_value_that_is_written_otherwise_is_no_change() -> None:
    before = template(Store=STORE, Key=KEY)
    after = changed(before, "Store", "Properties", "KmsKeyArn", value={"Fn::Sub": "${Key.Arn}"})
    found = review(_one(after), _one(before))
    assert ([], []) == (found.data, found.changed)


def test_two_files_of_one_stack_are_one_stack_whatever_they_are_called() -> None:
    before = template(Store=STORE, Key=KEY)
    found = review(_one(before, "new"), _one(before, "deployed"))
    assert ([], [], []) == (found.data, found.added, found.removed)


def test_a_store_that_moves_into_another_stack_is_renamed_away() -> None:
    before = Assembly([Template("A", template(Store=STORE, Key=KEY)), Template("B", template(Other=KEY))])
    after = Assembly([Template("A", template(Key=KEY)), Template("B", template(Other=KEY, Store=STORE))])
    found = review(after, before)
    assert [("renamed", "B/Store")] == [(item.kind, item.becomes) for item in found.data]


def test_a_stack_that_the_app_no_longer_has_keeps_its_data() -> None:
    before = Assembly([Template("A", template(Store=STORE, Key=KEY)), Template("B", template(Other=KEY))])
    found = review(Assembly([Template("B", template(Other=KEY))]), before)
    assert {("removed", "stays")} == {(item.kind, item.fate) for item in found.data}
    assert ExitCode.DATA != found.exit_code


def test_somebody_elses_import_may_import_again() -> None:
    before, after = importing(), importing(InputS3Uri="s3://images/studies/2027/")
    (fact,) = review(_one(after), _one(before)).imports
    assert (True, False) == (fact.is_again, fact.is_certain)
    assert [] == review(_one(importing(ServiceTimeout=60)), _one(before)).imports


def test_a_condition_that_is_gone_is_a_new_right() -> None:
    before, after = EXAMPLES["HI305"][0], json.loads(json.dumps(EXAMPLES["HI305"][0]))
    statement = after["Resources"]["Starter"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"][1]
    del statement["Condition"]
    assert [("iam:PassRole", "a condition is gone or wider")] == [
        (item.right.action, item.because) for item in review(_one(after), _one(before)).rights
    ]


def test_nested_stacks_and_stages_are_reviewed(tmp_path: Path) -> None:
    def build(folder: Path, name: str) -> Assembly:
        app = App(outdir=str(folder), analytics_reporting=False)
        stack = Stack(Stage(app, "Production", env=_HERE), "Images")
        healthimaging.CfnDatastore(NestedStack(stack, "Inner"), name)
        app.synth()
        return load_assembly(folder)

    found = review(build(tmp_path / "new", "Archive"), build(tmp_path / "old", "Store"))
    (fact,) = found.data
    assert ("renamed", True) == (fact.kind, fact.stack.startswith("Production-Images/Inner"))
    assert {"HI101", "HI104"} == {item.id for item in found.findings}
    assert {"Production/Images/Inner/Archive"} == {item.construct for item in found.findings}


def _archive(folder: Path, **options: Any) -> Assembly:
    """An app with a bulk import that a deploy starts, changed by options."""
    app = App(outdir=str(folder), analytics_reporting=False)
    stack = Stack(app, "Images", env=_HERE)
    store = Datastore(stack, options.pop("store", "Store"))
    key = kms.Key.from_key_arn(stack, "Key", "arn:aws:kms:us-east-1:111122223333:key/a") if "key" in options else None
    options.pop("key", None)
    source = s3.Bucket.from_bucket_attributes(stack, "Source", bucket_name="amzn-images", encryption_key=key)
    prefix = options.pop("prefix", "archive/")
    BulkDicomImport(
        stack,
        options.pop("archive", "Archive"),
        datastore=store,
        source=ImportSource.bucket(source, prefix),
        **{"start_on_deploy": True, **options},
    )
    app.synth()
    return load_assembly(folder)


_SOURCE = "s3://amzn-images/archive/"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, []),
        ({"prefix": "other/"}, [(True, ("InputPrefix changes",), "s3://amzn-images/other/")]),
        ({"store": "Other"}, [(True, ("DatastoreId changes",), _SOURCE)]),
        ({"tolerance": ImportTolerance(rejected_files=1)}, []),
        ({"key": True}, []),
        ({"start_on_deploy": False}, []),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else "",
)
def test_a_deploy_starts_a_bulk_run_when_what_is_imported_changes(
    tmp_path: Path, options: dict[str, Any], expected: list[object]
) -> None:
    found = review(_archive(tmp_path / "new", **options), _archive(tmp_path / "old"))
    assert {"bulk import"} >= {item.kind for item in found.imports}
    assert expected == [(item.is_again, item.because, item.source) for item in found.imports]
    assert all(item.is_certain for item in found.imports)


def test_a_first_deploy_starts_a_bulk_run(tmp_path: Path) -> None:
    found = review(_archive(tmp_path / "new"), _archive(tmp_path / "old", start_on_deploy=False))
    assert [(False, True, ("it is new",))] == [(it.is_again, it.is_certain, it.because) for it in found.imports]
    (line,) = next(lines for title, lines in sections(found) if title == "Imported by this change")
    assert "starts its first bulk run of s3://amzn-images/archive/: it is new" in line


def test_a_renamed_bulk_import_starts_a_further_run(tmp_path: Path) -> None:
    found = review(_archive(tmp_path / "new", archive="Renamed"), _archive(tmp_path / "old"))
    (fact,) = found.imports
    assert fact.is_again
    assert "its logical id or its stack changes" in fact.because[0]


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(commands, ["review", *map(str, arguments)])


@pytest.mark.slow
def test_the_command_prints_the_four_facts_first(base: Path, tmp_path: Path) -> None:
    result = _run(_app(tmp_path / "new", store="Archive"), "--against", base)
    assert 4 == result.exit_code, result.output
    titles = [line for line in result.output.splitlines() if line and not line.startswith(" ")][1:5]
    assert [
        "Data that would be replaced, renamed away or orphaned",
        "Imported by this change",
        "New rights",
        "Findings",
    ] == titles


def test_json_has_the_findings_and_the_facts_by_name(tmp_path: Path) -> None:
    file = tmp_path / "Stack.template.json"
    file.write_text(json.dumps(EXAMPLES["HI102"][1]), encoding="utf-8")
    result = _run(file, "--format", "json", "--region", "us-east-1")
    document = json.loads(result.output)
    assert 3 == result.exit_code
    assert {
        "findings",
        "data",
        "imports",
        "rights",
        "resources",
        "principals",
        "encryption",
        "retained",
        "idle_cost",
    } <= set(document)
    (finding,) = document["findings"]
    assert ("HI102", "error", "Stack", "Store", "Resources/Store/Properties/Tags") == tuple(
        finding[name] for name in ("id", "severity", "stack", "resource", "path")
    )
    assert finding["text"]
    assert finding["fix"]
    assert [1.0] == [item["dollars_a_month"] for item in document["idle_cost"]]
    assert [("Store", "Key")] == [(item["resource"], item["key"]) for item in document["encryption"]]


@pytest.mark.parametrize(
    ("example", "options", "code"),
    [
        ("HI102", (), 3),
        ("HI102", ("--fail-on", "never"), 0),
        ("HI102", ("--fail-on", "data"), 0),
        ("HI104", (), 0),
        ("HI104", ("--fail-on", "warning"), 1),
    ],
)
def test_the_exit_code_goes_by_severity(tmp_path: Path, example: str, options: tuple[str, ...], code: int) -> None:
    file = tmp_path / "Stack.template.json"
    file.write_text(json.dumps(EXAMPLES[example][1]), encoding="utf-8")
    assert code == _run(file, *options).exit_code


def test_the_response_of_get_template_is_read(tmp_path: Path) -> None:
    file = tmp_path / "deployed.json"
    file.write_text(json.dumps({"TemplateBody": EXAMPLES["HI102"][0]}), encoding="utf-8")
    assert ["Key", "Store"] == sorted(load_assembly(file).templates[0].resources)


@pytest.mark.parametrize("content", ["Resources:\n  Store: {}", "[]", "{}", '{"Resources": []}'])
def test_fails_for_a_file_that_is_no_template(tmp_path: Path, content: str) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UnreadableError, match="is no template in JSON"):
        load_assembly(file)
    result = _run(file)
    assert (2, True) == (result.exit_code, "is no template" in result.output)


def test_fails_for_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert 2 == _run(tmp_path / "nowhere").exit_code


@pytest.mark.parametrize("text", ["", '{"Resources": {', "\ufffd"])
def test_fails_for_a_broken_template_among_the_deployed_ones(tmp_path: Path, text: str) -> None:
    # Without it nothing would be lost: `aws cloudformation get-template > Images.json` leaves an empty file if it fails.
    new = tmp_path / "new.json"
    new.write_text(json.dumps(EXAMPLES["HI102"][0]), encoding="utf-8")
    deployed = tmp_path / "deployed"
    deployed.mkdir()
    (deployed / "Other.json").write_text(json.dumps(EXAMPLES["HI102"][0]), encoding="utf-8")
    (deployed / "README.md").write_text("no template", encoding="utf-8")
    (deployed / "package.json").write_text("[]", encoding="utf-8")
    assert 0 == _run(new, "--against", deployed).exit_code
    (deployed / "Images.json").write_text(text, encoding="utf-8")
    result = _run(new, "--against", deployed)
    assert (2, True) == (result.exit_code, "Images.json" in result.output)


def test_fails_for_a_stage_whose_folder_is_gone(tmp_path: Path) -> None:
    artifact = {"type": "cdk:cloud-assembly", "properties": {"directoryName": "assembly-Prod"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"artifacts": {"Prod": artifact}}), encoding="utf-8")
    result = _run(tmp_path)
    assert (2, True) == (result.exit_code, "assembly-Prod" in result.output)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_template_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "Images.json"
    file.write_text(json.dumps(EXAMPLES["HI102"][1]), encoding=encoding)
    assert 3 == _run(file).exit_code


def test_the_manifest_of_something_else_hides_no_template(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "viewer"}', encoding="utf-8")
    (tmp_path / "Images.template.json").write_text(json.dumps(EXAMPLES["HI102"][1]), encoding="utf-8")
    assert 3 == _run(tmp_path).exit_code


@pytest.mark.parametrize("shape", ["text", "markdown", "json", "sarif"])
def test_fails_for_an_output_that_cannot_be_written(tmp_path: Path, shape: str) -> None:
    file = tmp_path / "Images.json"
    file.write_text(json.dumps(EXAMPLES["HI102"][0]), encoding="utf-8")
    result = _run(file, "--format", shape, "--output", tmp_path / "none" / "review")
    assert (2, True) == (result.exit_code, "cannot be written" in result.output)


def test_sarif_names_files_as_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a b#c"
    folder.mkdir()
    (folder / "Images.json").write_text(json.dumps(EXAMPLES["HI102"][1]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (run,) = json.loads(_run(folder, "--format", "sarif").output)["runs"]
    (place,) = run["results"][0]["locations"]
    assert "a%20b%23c/Images.json" == place["physicalLocation"]["artifactLocation"]["uri"]


def test_a_store_that_only_a_replacement_keeps_stays_when_it_is_replaced() -> None:
    old = changed(template(Key=KEY, Store=STORE), "Store", "DeletionPolicy", value="Delete")
    new = changed(old, "Store", "Properties", "DatastoreName", value="other")
    assert ["orphaned"] == [item.fate.value for item in review(_one(new), _one(old)).data]


def test_sarif_has_a_result_for_each_finding_and_each_loss(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(EXAMPLES["HI102"][0]), encoding="utf-8")
    new.write_text(json.dumps(EXAMPLES["HI102"][1]), encoding="utf-8")
    (run,) = json.loads(_run(new, "--against", old, "--format", "sarif").output)["runs"]
    assert ["HI102", "HI001"] == [item["ruleId"] for item in run["results"]]
    assert {item["ruleId"] for item in run["results"]} <= {item["id"] for item in run["tool"]["driver"]["rules"]}


def test_a_template_cannot_write_the_page() -> None:
    document = changed(EXAMPLES["HI103"][1], "Store", "Properties", "DatastoreName", value={"Ref": "<img src=x>`@all`"})
    document["Parameters"] = {"<img src=x>`@all`": {"Type": "String"}}
    shown = markdown(review(_one(document)))
    assert "HI103" in shown
    assert "<img" not in shown
    assert "@all" not in shown


def test_an_acknowledged_finding_does_not_count(tmp_path: Path) -> None:
    from aws_cdk import Acknowledgment, Validations  # noqa: PLC0415 - used here alone

    app = App(outdir=str(tmp_path), analytics_reporting=False)
    store = healthimaging.CfnDatastore(Stack(app, "Images"), "Store", kms_key_arn="arn:aws:kms:us-east-1:1:key/a")
    Validations.of(store).acknowledge(Acknowledgment(id="HealthImagingChecks::HI101", reason="A test account"))
    app.synth()
    found = review(load_assembly(tmp_path))
    assert [("HI101", "A test account")] == [(item.id, item.acknowledged) for item in found.findings]
    assert ExitCode.NOTHING == found.exit_code


def test_what_a_review_calls_the_meaning_of_an_import_is_what_the_function_calls_it() -> None:
    properties: dict[str, Any] = {
        "DatastoreId": "0123456789abcdef0123456789abcdef",
        "DataAccessRoleArn": "arn:aws:iam::111122223333:role/a",
        "InputBucket": "images",
        "InputPrefix": "studies/2026/",
        "OutputBucket": "results",
        "OutputPrefix": "imports/",
        "MetadataMappings": [{"StudyInstanceUID": "1.2.3", "MetadataFilePath": "a.json"}],
    }
    same = ({"WaitSeconds": "900"}, {"JobName": "nightly"}, {"DataAccessRoleArn": "arn:aws:iam::111122223333:role/b"})
    other = ({"InputPrefix": "studies/2027/"}, {"DatastoreId": "f" * 32}, {"OutputBucket": "more"}, {"RunId": "2"})
    resource = importing()["Resources"]["Import"] | {"Type": "Custom::HealthImagingImport"}

    def intent(given: dict[str, Any]) -> str:
        return ImportRequest.read("Stack/Import", given, given.get("RunId", "")).intent  # type: ignore[arg-type]

    def is_again(given: dict[str, Any]) -> bool:
        documents = [
            template(Import={**resource, "Properties": {"ServiceToken": "a", **it}}) for it in (given, properties)
        ]
        after, before = (_one(document) for document in documents)
        return bool(review(after, before).imports)

    for change in (*same, *other):
        given = properties | change
        assert (intent(given) != intent(properties), change) == (is_again(given), change)
    assert [True] * len(other) == [is_again(properties | change) for change in other]
