"""The typed request: its intent, and the call it stands for."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from healthimaging_import.contract import OnEmpty
from healthimaging_import.importing.request import Asset, ImportRequest
from healthimaging_import.service_model import MODELS, Quotas, ServiceModel

MAPPING = {"studyInstanceUID": "1.2.3", "metadataFilePath": "a.json"}
REQUEST = ImportRequest(
    scope="stack/Import",
    datastore_id="0" * 32,
    data_access_role_arn="arn:aws:iam::111122223333:role/Import",
    input_bucket="source",
    input_prefix="studies/",
    output_bucket="results",
    output_prefix="imports/",
)
folders = st.lists(st.from_regex(r"[A-Za-z0-9 ._=-]{1,12}", fullmatch=True), max_size=4).map(
    lambda parts: "".join(part + "/" for part in parts)
)
buckets = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", fullmatch=True)
mappings = st.fixed_dictionaries(
    {"studyInstanceUID": st.from_regex(r"[0-9.]{1,64}", fullmatch=True), "metadataFilePath": st.just("study 1.json")},
    optional={"seriesInstanceUID": st.from_regex(r"[0-9.]{1,64}", fullmatch=True)},
)
requests = st.builds(
    ImportRequest,
    scope=st.from_regex(
        r"arn:aws:cloudformation:us-east-1:111122223333:stack/[A-Za-z][A-Za-z0-9-]{0,127}/[0-9a-f-]{36}/[A-Za-z0-9]{1,255}",
        fullmatch=True,
    ),
    datastore_id=st.from_regex(r"[0-9a-z]{32}", fullmatch=True),
    data_access_role_arn=st.sampled_from(
        ["arn:aws:iam::111122223333:role/a", "arn:aws-us-gov:iam::111122223333:role/path/to/role"]
    ),
    input_bucket=buckets,
    input_prefix=folders,
    output_bucket=st.just("results-of-all-imports"),
    output_prefix=folders,
    job_name=st.none() | st.from_regex(r"[A-Za-z0-9._/#-]{1,43}", fullmatch=True),
    input_owner_account_id=st.none() | st.from_regex(r"[0-9]{12}", fullmatch=True),
    metadata_mappings=st.lists(mappings, max_size=3).map(tuple),
    run_id=st.text(max_size=20),
    on_empty=st.sampled_from(OnEmpty),
)


@pytest.mark.parametrize(
    "how",
    [
        {"job_name": "another"},
        {"data_access_role_arn": "arn:aws:iam::111122223333:role/Other"},
        {"quotas": Quotas(files=1)},
        {"on_empty": OnEmpty.FAIL},
        {"asset": Asset("assets", "local.zip")},
    ],
)
def test_the_intent_stays_when_only_the_manner_changes(how: dict[str, Any]) -> None:
    assert REQUEST.intent == dataclasses.replace(REQUEST, **how).intent


MEANING: list[dict[str, Any]] = [
    {},
    {"scope": "stack/Other"},
    {"datastore_id": "1" * 32},
    {"input_bucket": "other"},
    {"input_prefix": "other/"},
    {"input_owner_account_id": "444455556666"},
    {"output_bucket": "other"},
    {"output_prefix": "other/"},
    {"metadata_mappings": (MAPPING,)},
    {"metadata_mappings": ({**MAPPING, "seriesInstanceUID": "1.2"},)},
    {"run_id": "2"},
]


def test_the_intent_changes_with_each_member_of_its_meaning() -> None:
    intents = {dataclasses.replace(REQUEST, **what).intent for what in MEANING}
    assert len(MEANING) == len(intents)


def test_the_intent_does_not_depend_on_how_a_mapping_is_written() -> None:
    turned = dict(reversed(MAPPING.items()))
    one, other = (dataclasses.replace(REQUEST, metadata_mappings=(m,)) for m in (MAPPING, turned))
    assert one.intent == other.intent


def test_the_intent_is_the_same_on_every_machine_and_in_every_version() -> None:
    # Another value here makes every deployed stack import again.
    assert "f45f8be3431edde200d7b78e06498d652fc8dba709e7a45a8e9bd168627c0a08" == REQUEST.intent


def test_bucket_and_prefix_cannot_be_taken_for_one_another() -> None:
    shifted = dataclasses.replace(REQUEST, input_bucket="sourc", input_prefix="e/studies/")
    assert REQUEST.intent != shifted.intent


@pytest.mark.slow
@settings(max_examples=40)
@given(requests, st.integers(min_value=1, max_value=10**9))
def test_a_client_token_is_valid_and_belongs_to_one_attempt(request: ImportRequest, attempt: int) -> None:
    token = request.start_parameters(attempt)["clientToken"]
    assert len(token) <= 64
    assert [] == ServiceModel.load().violations("ClientToken", token)
    assert token == request.start_parameters(attempt)["clientToken"]
    assert token != request.start_parameters(attempt + 1)["clientToken"]


@pytest.mark.slow
@settings(max_examples=40)
@given(requests)
def test_the_parameters_are_valid_for_the_model_and_for_botocore(request: ImportRequest) -> None:
    parameters = request.start_parameters(1)
    assert "" == ParamValidator().validate(parameters, start_shape()).generate_report()
    assert [] == ServiceModel.load().violations("StartDICOMImportJobRequest", parameters)
    assert [] == request.violations()


@functools.cache
def start_shape() -> Any:
    session = botocore.session.Session()
    session.set_config_variable("data_path", str(MODELS))
    return session.get_service_model("medical-imaging").operation_model("StartDICOMImportJob").input_shape


def test_what_is_not_set_is_not_sent() -> None:
    assert {"jobName", "clientToken", "datastoreId", "dataAccessRoleArn", "inputS3Uri", "outputS3Uri"} == set(
        REQUEST.start_parameters(1)
    )
    blank = dataclasses.replace(REQUEST, job_name="", input_owner_account_id="")
    assert REQUEST.start_parameters(1).keys() == blank.start_parameters(1).keys()


def test_all_that_is_set_is_sent() -> None:
    request = dataclasses.replace(
        REQUEST, job_name="job", input_owner_account_id="444455556666", metadata_mappings=(MAPPING,)
    )
    parameters = request.start_parameters(1)
    assert f"job-{parameters.pop('clientToken')[:20]}" == parameters.pop("jobName")
    assert {
        "datastoreId": "0" * 32,
        "dataAccessRoleArn": "arn:aws:iam::111122223333:role/Import",
        "inputS3Uri": "s3://source/studies/",
        "outputS3Uri": "s3://results/imports/",
        "inputOwnerAccountId": "444455556666",
        "importConfiguration": {"dicomJsonMetadataImportConfiguration": {"dicomMetadataMappings": [MAPPING]}},
    } == parameters


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"input_prefix": "studies"}, "input_prefix must end with '/'"),
        ({"output_prefix": "/out/"}, "output_prefix must not begin with '/'"),
        ({"output_bucket": "source", "output_prefix": "studies/out/"}, "must lie outside the input prefix"),
        ({"datastore_id": "short"}, "datastoreId must match"),
        ({"input_owner_account_id": "1"}, "inputOwnerAccountId takes 12 digits, got 1"),
        ({"metadata_mappings": ({"metadataFilePath": "a"},)}, "dicomMetadataMappings[0].studyInstanceUID is required"),
        ({"metadata_mappings": (MAPPING,) * 1001}, "dicomMetadataMappings takes 1 to 1000 items, got 1001"),
    ],
)
def test_fails_with_what_is_wrong_with_the_request(change: dict[str, Any], expected: str) -> None:
    (problem,) = dataclasses.replace(REQUEST, **change).violations()
    assert expected in problem


def test_fails_for_a_job_name_that_leaves_no_room_for_its_mark() -> None:
    assert "job_name must be 1 to 43 characters, got 44" in dataclasses.replace(REQUEST, job_name="a" * 44).violations()
    assert [] == dataclasses.replace(REQUEST, job_name="a" * 43).violations()


def test_fails_with_all_that_is_wrong_at_once() -> None:
    wrong = dataclasses.replace(REQUEST, input_prefix="/a", output_prefix="b", job_name="?")
    assert 4 == len(wrong.violations())


def test_results_may_lie_beside_the_source_in_one_bucket() -> None:
    assert [] == dataclasses.replace(REQUEST, output_bucket="source").violations()


SCOPE = "arn:aws:cloudformation:us-east-1:111122223333:stack/Imaging/6b2a7c10/ImportJob8DEEC202"


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (SCOPE, "Imaging/ImportJob8DEEC202"),
        (SCOPE.replace("Imaging", "I" * 40), "I" * 25 + "/ImportJob8DEEC202"),
        ("stack/Import", "stack/Import"),
    ],
)
def test_a_job_without_a_name_is_called_like_its_import(scope: str, expected: str) -> None:
    name = dataclasses.replace(REQUEST, scope=scope).marked_job_name(1)
    assert expected == name[:-21]
    assert [] == ServiceModel.load().violations("JobName", name)


def test_a_jobs_name_ends_with_the_mark_of_its_attempt_and_no_other() -> None:
    requests = [dataclasses.replace(REQUEST, job_name="job", **what) for what in MEANING]
    names = {request.marked_job_name(attempt) for request in requests for attempt in (1, 2)}
    assert 2 * len(MEANING) == len({name[-20:] for name in names})
    assert all(re.fullmatch(r"job-[0-9a-f]{20}", name) for name in names)


def test_all_runs_of_one_meaning_are_a_series() -> None:
    assert REQUEST.series == REQUEST.for_run("2").series == REQUEST.for_run("").intent
    assert REQUEST.series != dataclasses.replace(REQUEST, input_prefix="other/").series


def test_all_that_an_import_puts_into_a_store_is_of_one_scope() -> None:
    assert REQUEST.store_scope == dataclasses.replace(REQUEST, input_prefix="other/", run_id="2").store_scope
    assert 3 == len({dataclasses.replace(REQUEST, **what).store_scope for what in MEANING[:3]})
