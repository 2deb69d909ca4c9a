"""What the rules find in templates that other hands have written: SAM, other names, near misses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from healthimaging_cdk.review.checks import find
from healthimaging_cdk.review.reading.assembly import Assembly
from healthimaging_cdk.review.reading.template import Template
from tests.review.rule_examples import (
    IMAGE_SETS,
    KEY,
    KEY_ARN,
    RETAINED,
    STORE,
    STORE_ARN,
    TRUST,
    allow,
    role,
    template,
    trusting,
    viewer,
)

ACCOUNT = "111122223333"
PLACE = "arn:aws:medical-imaging:us-east-1:111122223333:"


def found(document: dict[str, Any], region: str | None = "us-east-1") -> set[tuple[str, str]]:
    """Rules and the resources that they name."""
    assembly = Assembly([Template("Stack", document, region=region)])
    return {(item.id, item.resource) for item in find(assembly, is_strict=True)}


def stack(**resources: Any) -> dict[str, Any]:
    return template(Key=KEY, Store=STORE, **resources)


def endpoint(service: str, *statements: Any, **properties: Any) -> dict[str, Any]:
    policy = {"Statement": list(statements) or [allow("medical-imaging:GetImageFrame", STORE_ARN, Principal="*")]}
    given = {"VpcEndpointType": "Interface", "ServiceName": service, "PolicyDocument": policy, **properties}
    return {"Type": "AWS::EC2::VPCEndpoint", "Properties": given}


def test_fails_for_a_replacement_policy_that_does_not_exist() -> None:
    # RetainExceptOnCreate is a DeletionPolicy alone.
    assert set() == found(template(Key=KEY, Store={**STORE, "DeletionPolicy": "RetainExceptOnCreate"}))
    store = {**STORE, "UpdateReplacePolicy": "RetainExceptOnCreate"}
    assert {("HI101", "Store")} == found(template(Key=KEY, Store=store))


@pytest.mark.parametrize("name", ["EncryptionKeyArn", "kms_key_id", "StoreKey"])
def test_fails_for_the_key_of_somebodys_store_under_another_name(name: str) -> None:
    properties = {"ServiceToken": "arn:aws:lambda:x", "DatastoreName": "ct", name: KEY_ARN}
    store = {"Type": "Custom::ImagingDatastore", **RETAINED, "Properties": properties}
    key = {"Type": "AWS::KMS::Key", "Properties": {}}
    assert {("HI105", "Key")} == found(template(Key=key, Store=store))
    assert set() == found(template(Key=KEY, Store=store))


def test_fails_for_an_endpoint_of_a_region_without_the_service() -> None:
    service = "com.amazonaws.eu-central-1.medical-imaging"
    assert {("HI106", "Way")} == found(stack(Way=endpoint(service)), region=None)
    assert set() == found(stack(Way=endpoint("com.amazonaws.us-west-2.medical-imaging")), region=None)


@pytest.mark.parametrize(
    "name", ["medical-imaging", "medical-imagng.amazonaws.com", "medical-images.amazonaws.com", "healthimaging"]
)
def test_fails_for_a_principal_that_is_nearly_right(name: str) -> None:
    assert {("HI203", "Role")} == found(stack(**trusting(Principal={"Service": name})["Resources"]))


def test_fails_for_a_service_that_is_written_as_an_account() -> None:
    document = trusting(Principal={"AWS": "medical-imaging.amazonaws.com"})
    assert {("HI203", "Role")} == found(document)


@pytest.mark.parametrize("name", ["healthlake", "imagebuilder", "comprehendmedical", "mediaimport", "medialive"])
def test_other_services_are_no_misspelling(name: str) -> None:
    trust = {**TRUST, "Principal": {"Service": f"{name}.amazonaws.com"}}
    statement = allow(f"{name}:GetThing", "*")
    assert set() == found(stack(Role=role(statement, trust=trust), Way=endpoint(f"com.amazonaws.us-east-1.{name}")))


def test_fails_for_a_global_condition_key_of_another_service() -> None:
    condition = {"StringEquals": {"aws:SourceAccount": ACCOUNT, "iam:SourceAccount": ACCOUNT}}
    assert {("HI204", "Role")} == found(trusting(Condition=condition))
    provider = {"StringEquals": {"aws:SourceAccount": ACCOUNT, "accounts.google.com:aud": "x"}}
    assert set() == found(trusting(Condition=provider))


@pytest.mark.parametrize("action", ["medical-imaging.GetImageSet", "GetImageSet", "medical-images:GetDatastore"])
def test_fails_for_an_action_without_its_prefix(action: str) -> None:
    granted = [allow(["medical-imaging:GetImageSet", action], [STORE_ARN, IMAGE_SETS])]
    assert {("HI302", "Viewer")} == found(stack(Viewer=viewer(*granted)))


@pytest.mark.parametrize(
    "resource",
    [
        PLACE + "imageset/*",
        PLACE + "datastores/*",
        {"Ref": "Store"},
        {"Fn::GetAtt": ["Store", "DatastoreId"]},
        {"Fn::Sub": "${Store}"},
    ],
)
def test_fails_for_a_resource_that_no_image_set_has(resource: Any) -> None:
    granted = allow("medical-imaging:GetImageSet", [STORE_ARN, resource])
    assert {("HI303", "Viewer")} == found(stack(Viewer=viewer(granted)))


def test_a_resource_that_can_be_a_store_is_one() -> None:
    granted = allow("medical-imaging:GetImageSet", [PLACE + "data*"])
    assert set() == found(stack(Viewer=viewer(granted)))


def test_a_statement_on_an_id_grants_nothing_on_the_store() -> None:
    assert {("HI303", "Viewer")} == found(
        stack(Viewer=viewer(allow("medical-imaging:SearchImageSets", {"Ref": "Store"})))
    )


IMPORTER = {
    "Function": {"Type": "AWS::Lambda::Function", "Properties": {"Role": {"Fn::GetAtt": ["Runner", "Arn"]}}},
    "Runner": viewer(allow("medical-imaging:StartDICOMImportJob", STORE_ARN)),
}


def somebodys_import(**properties: Any) -> dict[str, Any]:
    given = {"ServiceToken": {"Fn::GetAtt": ["Function", "Arn"]}, "StoreId": {"Ref": "Store"}, **properties}
    return stack(**IMPORTER, Seed={"Type": "Custom::SeedStudies", "Properties": given})


@pytest.mark.parametrize(
    ("places", "rule"),
    [
        ({"Source": "s3://images/ct/", "Destination": "s3://results/ct/"}, "HI501"),
        ({"ServiceTimeout": 300, "SourceUri": "s3://images/ct", "TargetUri": "s3://results/ct/"}, "HI503"),
        (
            {
                "ServiceTimeout": 300,
                "Source": {"Bucket": "images", "Prefix": "ct"},
                "Output": {"Bucket": "results", "Prefix": "ct/"},
            },
            "HI503",
        ),
        (
            {
                "ServiceTimeout": 300,
                "SourceBucket": "images",
                "SourcePrefix": "ct/",
                "DestinationBucket": "images",
                "DestinationPrefix": "ct/out/",
            },
            "HI504",
        ),
    ],
)
def test_fails_for_an_import_whose_places_have_other_names(places: dict[str, Any], rule: str) -> None:
    assert {(rule, "Seed")} == found(somebodys_import(**places))


def test_another_resource_of_the_importing_function_is_no_import() -> None:
    assert set() == found(somebodys_import(Notify="arn:aws:sns:us-east-1:111122223333:done"))


@pytest.mark.parametrize("name", ["InputS3Uri", "SourceUri", "source"])
def test_a_time_in_what_is_imported_is_no_clock(name: str) -> None:
    places = {name: "s3://images/20261128T101500/", "OutputS3Uri": "s3://results/ct/"}
    assert set() == found(somebodys_import(ServiceTimeout=300, **places))
    places = {name: "s3://images/ct/", "OutputS3Uri": "s3://results/20261128T101500/"}
    assert {("HI502", "Seed")} == found(somebodys_import(ServiceTimeout=300, **places))


def test_fails_for_a_state_machine_of_sam() -> None:
    task = {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:medicalimaging:startDicomImportJob", "End": True}
    definition = {"StartAt": "Start", "States": {"Start": task}}
    machine = {"Type": "AWS::Serverless::StateMachine", "Properties": {"Definition": definition}}
    assert {("HI507", "Machine")} == found(stack(Machine=machine))


PATTERN: dict[str, Any] = {
    "source": ["aws.medical-imaging"],
    "detail-type": ["Import Job Completed"],
    "detail": {"datastoreId": [{"Ref": "Store"}]},
}


@pytest.mark.parametrize("kind", ["AWS::Serverless::Function", "AWS::Serverless::StateMachine"])
def test_fails_for_a_pattern_in_an_event_of_sam(kind: str) -> None:
    def listener(pattern: dict[str, Any]) -> dict[str, Any]:
        event = {"Type": "EventBridgeRule", "Properties": {"Pattern": pattern}}
        return stack(Listener={"Type": kind, "Properties": {"Events": {"Done": event}}})

    assert set() == found(listener(PATTERN))
    assert {("HI701", "Listener")} == found(listener({**PATTERN, "detail-type": ["Import Job Done"]}))


@pytest.mark.parametrize(
    "change",
    [
        {"source": ["medical-imaging"]},
        {"source": ["AWS.medical-imaging"]},
        {"detailType": ["Import Job Completed"]},
        {"Region": ["us-east-1"]},
    ],
)
def test_fails_for_a_pattern_that_no_event_matches(change: dict[str, Any]) -> None:
    rule = {"Type": "AWS::Events::Rule", "Properties": {"EventPattern": {**PATTERN, **change}}}
    assert {("HI701", "Rule")} == found(stack(Rule=rule))


@pytest.mark.parametrize(
    "way",
    [
        endpoint("com.amazonaws.us-east-1.runtime.medical-imaging"),
        endpoint("com.amazonaws.us-east-1.medical-image"),
        endpoint("com.amazonaws.us-east-1.medical-imaging", VpcEndpointType="Gateway"),
        endpoint("com.amazonaws.us-east-1.medical-imaging", VpcEndpointType={"Ref": "AWS::NoValue"}),
        endpoint(
            "com.amazonaws.us-east-1.medical-imaging",
            {"Effect": "Allow", "Principal": "*", "NotAction": "medical-imaging:DeleteDatastore", "Resource": "*"},
        ),
    ],
)
def test_fails_for_an_endpoint_that_cannot_be_or_lets_all_pass(way: dict[str, Any]) -> None:
    assert {("HI801", "Way")} == found(stack(Way=way))


def test_an_access_point_is_no_bucket() -> None:
    point = {"Fn::Sub": "arn:aws:s3:${AWS::Region}:${AWS::AccountId}:accesspoint/images/object/*"}
    assert set() == found(template(Role=role(allow("s3:GetObject", point))))


@pytest.mark.parametrize("kind", ["Custom::HealthLakeDatastore", "Custom::FHIRDatastore"])
def test_the_store_of_another_service_is_none_of_ours(kind: str) -> None:
    properties = {"ServiceToken": {"Fn::ImportValue": "function"}, "DatastoreName": "records"}
    assert set() == found(stack(Records={"Type": kind, "Properties": properties}))


def test_digits_in_the_name_of_a_bucket_are_no_time() -> None:
    places = {"InputS3Uri": "s3://images-1764326400/ct/", "OutputS3Uri": "s3://results-1764326400/ct/"}
    assert set() == found(somebodys_import(ServiceTimeout=300, **places))
    places = {"SourceBucket": "images-1764326400", "OutputBucket": "results-1764326400", "OutputPrefix": "ct/"}
    assert set() == found(somebodys_import(ServiceTimeout=300, **places))


def as_text(node: Any) -> dict[str, Any]:
    return {"Fn::Sub": json.dumps(node)}


def test_policies_and_patterns_may_be_json_in_a_sub() -> None:
    arns = ["${Store.DatastoreArn}", "${Store.DatastoreArn}/imageset/*"]
    for action, expected in (("medical-imaging:GetImageSet", set()), ("medical-imaging:*", {("HI301", "Policy")})):
        document = as_text({"Statement": allow(action, arns)})
        policy = {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}
        assert expected == found(stack(Policy=policy))
    for name, expected in (("datastoreId", set()), ("dataStoreId", {("HI701", "Rule")})):
        pattern = as_text({**PATTERN, "detail": {name: ["${Store}"]}})
        assert expected == found(stack(Rule={"Type": "AWS::Events::Rule", "Properties": {"EventPattern": pattern}}))
