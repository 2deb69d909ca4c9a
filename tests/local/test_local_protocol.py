"""The HTTP face of the local HealthImaging follows the service model."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from healthimaging_import.service_model import ServiceModel
from healthimaging_local.errors import ServiceError
from healthimaging_local.protocol import Request

STORE = "0" * 32


def code(answer: Any) -> str:
    return str(answer.headers["x-amzn-errortype"])


def test_every_operation_of_the_model_has_a_route(imaging: Any) -> None:
    for name, definition in ServiceModel.load().document["operations"].items():
        path = definition["http"]["requestUri"]
        for label in ("datastoreId", "jobId", "imageSetId", "sourceImageSetId"):
            path = path.replace(f"{{{label}}}", STORE)
        path = path.replace("{resourceArn}", f"arn:aws:medical-imaging:us-east-1:111122223333:datastore/{STORE}")
        assert name == imaging.api.operation(Request(definition["http"]["method"], path))


def test_a_further_operation_is_one_method(imaging: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_image_frame(_: Any, request: dict[str, Any], __: Any) -> dict[str, Any]:
        return {"imageFrameBlob": request["imageFrameInformation"]["imageFrameId"].encode(), "contentType": "image/x"}

    monkeypatch.setattr(type(imaging.service), "GetImageFrame", get_image_frame, raising=False)
    path = f"/datastore/{STORE}/imageSet/{STORE}/getImageFrame"
    answer = imaging.send("POST", path, {"imageFrameId": "f" * 32})
    assert (200, b"f" * 32, "image/x") == (answer.status, answer.body, answer.headers["Content-Type"])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"dataAccessRoleArn": None}, "dataAccessRoleArn is required"),
        ({"dataAccessRoleArn": "arn:aws:iam::1:role/x"}, "dataAccessRoleArn must match"),
        ({"jobName": "with space"}, "jobName must match"),
        ({"jobName": "x" * 65}, "jobName takes 1 to 64 characters"),
        ({"inputS3Uri": "https://bucket/"}, "inputS3Uri must match"),
        ({"inputOwnerAccountId": ""}, "inputOwnerAccountId takes 12 digits"),
        ({"importConfiguration": {}}, "exactly one of"),
        ({"surprise": 1}, "surprise is unknown"),
        ({"clientToken": 7}, "clientToken must be a string"),
    ],
)
def test_fails_with_a_validation_exception_where_the_model_says_no(
    imaging: Any, change: dict[str, Any], part: str
) -> None:
    answer = imaging.start(imaging.datastore(), **change)
    assert (400, "ValidationException") == (answer.status, code(answer))
    assert part in json.loads(answer.body)["message"]


@pytest.mark.parametrize("text", ["many", "1.5"])
def test_fails_when_a_number_in_the_query_string_is_none(imaging: Any, text: str) -> None:
    answer = imaging.send("GET", "/datastore", maxResults=text)
    assert (400, "ValidationException") == (answer.status, code(answer))


def test_fails_when_a_page_is_too_large(imaging: Any) -> None:
    answer = imaging.send("GET", "/datastore", maxResults="51")
    assert "maxResults takes 1 to 50, got 51" == json.loads(answer.body)["message"]


def test_fails_when_the_body_is_not_json(imaging: Any) -> None:
    answer = imaging.api.handle(Request("POST", "/datastore", {}, b"{"), imaging.caller)
    assert (400, "SerializationException") == (answer.status, code(answer))


def test_fails_when_the_path_is_not_of_the_service(imaging: Any) -> None:
    answer = imaging.send("PATCH", "/datastore")
    assert (404, "UnknownOperationException") == (answer.status, code(answer))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("ThrottlingException", 429),
        ("ConflictException", 409),
        ("AccessDeniedException", 403),
        ("InternalServerException", 500),
        ("ResourceNotFoundException", 404),
        ("ServiceQuotaExceededException", 402),
    ],
)
def test_an_error_carries_the_status_of_the_model(imaging: Any, error: str, status: int) -> None:
    answer = imaging.api.error(ServiceError(error, "why"))
    assert (status, error, {"message": "why"}) == (answer.status, code(answer), json.loads(answer.body))


def test_fails_when_an_answer_holds_what_the_model_does_not_know(imaging: Any) -> None:
    with pytest.raises(
        TypeError, match=r"unknown members \['colour'\], missing \['jobId', 'jobStatus', 'submittedAt'\]"
    ):
        imaging.api.shaped("StartDICOMImportJobResponse", {"datastoreId": STORE, "colour": "blue"})


def test_times_are_numbers_of_seconds(imaging: Any) -> None:
    store = imaging.ask("GET", f"/datastore/{imaging.datastore()}")["datastoreProperties"]
    assert isinstance(store["createdAt"], float)


def test_metadata_is_a_gzip_payload(imaging: Any, sample: Any) -> None:
    store = imaging.datastore()
    imaging.storage.put("source", "in/ct.dcm", sample("CT_small.dcm"))
    imaging.run(store)
    (found,) = imaging.search(store)
    answer = imaging.send("POST", f"/datastore/{store}/imageSet/{found['imageSetId']}/getImageSetMetadata")
    document = json.loads(gzip.decompress(answer.body))
    assert ("gzip", "application/json") == (answer.headers["Content-Encoding"], answer.headers["Content-Type"])
    assert ("1CT1", "CT") == (
        document["Patient"]["DICOM"]["PatientID"],
        next(iter(document["Study"]["Series"].values()))["DICOM"]["Modality"],
    )
