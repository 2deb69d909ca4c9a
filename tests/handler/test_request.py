"""The typed request: its intent, and the call it stands for."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from healthimaging_import.aws import Clients
from healthimaging_import.request import Asset, ImportRequest
from healthimaging_import.rules import Quotas, ServiceModel
from tests.handler.fake_aws import FakeAws

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
    scope=st.text(max_size=50),
    datastore_id=st.from_regex(r"[0-9a-z]{32}", fullmatch=True),
    data_access_role_arn=st.sampled_from(
        ["arn:aws:iam::111122223333:role/a", "arn:aws-us-gov:iam::111122223333:role/path/to/role"]
    ),
    input_bucket=buckets.map(lambda name: "a" + name[:60] + "-in"),
    input_prefix=folders,
    output_bucket=buckets.map(lambda name: "a" + name[:60] + "-out"[: 63 - 1 - len(name[:60])]),
    output_prefix=folders,
    job_name=st.none() | st.from_regex(r"[A-Za-z0-9._/#-]{1,64}", fullmatch=True),
    input_owner_account_id=st.none() | st.from_regex(r"[0-9]{12}", fullmatch=True),
    metadata_mappings=st.lists(mappings, max_size=3).map(tuple),
    run_id=st.text(max_size=20),
    on_empty=st.sampled_from(["skip", "fail"]),
)


@pytest.mark.parametrize(
    "how",
    [
        {"job_name": "another"},
        {"data_access_role_arn": "arn:aws:iam::111122223333:role/Other"},
        {"quotas": Quotas(files=1)},
        {"on_empty": "fail"},
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
    # Changing it makes every deployed stack import again.
    assert "a4da9e2ecb1ff8a5b2e8bcd8b4e6d2a9" != REQUEST.intent[:32]
    assert re.fullmatch(r"[0-9a-f]{64}", REQUEST.intent)


def test_prefix_and_bucket_cannot_be_shifted_into_one_another() -> None:
    shifted = dataclasses.replace(REQUEST, input_bucket="sourc", input_prefix="e/studies/")
    assert REQUEST.intent != shifted.intent


@given(requests, st.integers(min_value=1, max_value=10**9))
def test_a_client_token_is_valid_whatever_is_asked(request: ImportRequest, attempt: int) -> None:
    token = request.start_parameters(attempt)["clientToken"]
    assert len(token) <= 64
    assert [] == ServiceModel.load().violations("ClientToken", token)
    assert token == request.start_parameters(attempt)["clientToken"]
    assert token != request.start_parameters(attempt + 1)["clientToken"]


@given(requests)
def test_the_parameters_are_valid_for_the_model_and_for_botocore(request: ImportRequest) -> None:
    parameters = request.start_parameters(1)
    shape = _botocore_shape()
    assert not ParamValidator().validate(parameters, shape).has_errors()
    assert [] == ServiceModel.load().violations("StartDICOMImportJobRequest", parameters)


def _botocore_shape() -> Any:
    return _SHAPE[0]


_SHAPE: list[Any] = []


@pytest.fixture(autouse=True, scope="module")
def _operation() -> None:
    import botocore.session

    from healthimaging_import.rules import MODELS

    session = botocore.session.Session()
    session.set_config_variable("data_path", str(MODELS))
    _SHAPE.append(session.get_service_model("medical-imaging").operation_model("StartDICOMImportJob").input_shape)
