"""HealthImaging on plain Python doubles (fast), and one real local cloud for the tests that need it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydicom.data
import pytest

from healthimaging_local import Cloud
from healthimaging_local.errors import JobFailedError, ServiceError, StorageError
from healthimaging_local.ports import Caller, Content, StoredObject
from healthimaging_local.protocol import Api, Request, Response
from healthimaging_local.service import HealthImaging
from healthimaging_local.state import Settings, State

FILES = Path(pydicom.data.__file__).parent / "test_files"
ROLE = "arn:aws:iam::111122223333:role/import"


class MemoryStorage:
    """S3 in a dictionary, with a list of what is forbidden."""

    def __init__(self) -> None:
        self.contents: dict[tuple[str, str], Content] = {}
        self.denied: set[str] = set()

    def put(self, bucket: str, key: str, body: bytes, encoding: str = "") -> None:
        self.contents[bucket, key] = Content(body, encoding)

    def _check(self, action: str) -> None:
        if action in self.denied:
            raise StorageError("AccessDenied", f"not authorized to perform: {action}")

    def objects(self, bucket: str, prefix: str, _: str) -> Iterator[StoredObject]:
        self._check("s3:ListBucket")
        for (name, key), content in sorted(self.contents.items()):
            if name == bucket and key.startswith(prefix):
                yield StoredObject(key, len(content.body))

    def read(self, bucket: str, key: str, _: str) -> Content:
        self._check("s3:GetObject")
        if (bucket, key) not in self.contents:
            raise StorageError("NoSuchKey", "The specified key does not exist.")
        return self.contents[bucket, key]

    def write(self, bucket: str, key: str, body: bytes, _: str) -> None:
        self._check("s3:PutObject")
        self.put(bucket, key, body)


class OpenPermissions:
    """IAM that allows what ``refused`` does not name."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.storage = storage
        self.refused: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.granted: list[str] = []

    def check_pass_role(self, _: Caller, role_arn: str) -> None:
        if "iam:PassRole" in self.refused:
            raise ServiceError("AccessDeniedException", f"not authorized to perform: iam:PassRole on {role_arn}")

    def check_trust(self, _: Caller, role_arn: str, source_arn: str) -> None:
        if "trust" in self.refused:
            raise ServiceError("ValidationException", f"{role_arn} cannot be assumed for {source_arn}")

    def check_key(self, _: Caller, key_arn: str, actions: Sequence[str], __: str) -> None:
        for action in actions:
            self.asked.append((action, key_arn))
            if action in self.refused:
                raise ServiceError("AccessDeniedException", f"not authorized to perform: {action}")

    def grant_key(self, _: Caller, key_arn: str, __: str) -> None:
        self.granted.append(key_arn)

    def check_granted_key(self, _: Caller, key_arn: str) -> None:
        if key_arn not in self.granted:
            raise JobFailedError("KMS key cannot be used")

    def storage_as(self, _: Caller, __: str) -> MemoryStorage:
        return self.storage


class RecordingBus:
    """EventBridge that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, object]]] = []

    def publish(self, _: Caller, detail_type: str, resource: str, detail: Mapping[str, object]) -> None:
        self.sent.append((detail_type, resource, dict(detail)))


class Imaging:
    """HealthImaging behind its HTTP face, without a network."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.permissions = OpenPermissions(self.storage)
        self.bus = RecordingBus()
        self.state = State(Settings(job_seconds=0, datastore_seconds=0, throttling=False))
        self.service = HealthImaging(self.state, self.permissions, self.bus)
        self.api = Api(self.service)
        self.caller = Caller("111122223333", "us-east-1")

    def send(self, method: str, path: str, body: Any = None, **query: str) -> Response:
        content = b"" if body is None else json.dumps(body).encode()
        request = Request(method, path, {name: [value] for name, value in query.items()}, content)
        return self.api.handle(request, self.caller)

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        answer = self.send(method, path, body, **query)
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def datastore(self, **more: Any) -> str:
        answer = self.ask("POST", "/datastore", {"datastoreName": "store", "clientToken": "store", **more})
        return str(answer["datastoreId"])

    def start(self, datastore_id: str, **more: Any) -> Response:
        request = {
            "jobName": "job",
            "dataAccessRoleArn": ROLE,
            "clientToken": f"token-{len(self.state.datastores[datastore_id].jobs)}",
            "inputS3Uri": "s3://source/in/",
            "outputS3Uri": "s3://results/out/",
            **more,
        }
        return self.send("POST", f"/startDICOMImportJob/datastore/{datastore_id}", request)

    def run(self, datastore_id: str, **more: Any) -> dict[str, Any]:
        answer = self.start(datastore_id, **more)
        assert answer.status == 200, answer
        job_id = json.loads(answer.body)["jobId"]
        return self.ended(datastore_id, job_id)

    def ended(self, datastore_id: str, job_id: str) -> dict[str, Any]:
        for _ in range(20_000):
            found = self.ask("GET", f"/getDICOMImportJob/datastore/{datastore_id}/job/{job_id}")["jobProperties"]
            if found["jobStatus"] in ("COMPLETED", "FAILED"):
                return dict(found)
            time.sleep(0.005)
        raise AssertionError("the job did not end")

    def result(self, job: dict[str, Any], name: str) -> bytes:
        bucket, _, folder = job["outputS3Uri"].removeprefix("s3://").partition("/")
        return self.storage.contents[bucket, folder + name].body

    def manifest(self, job: dict[str, Any]) -> dict[str, Any]:
        return dict(json.loads(self.result(job, "job-output-manifest.json"))["jobSummary"])

    def search(self, datastore_id: str, **criteria: Any) -> list[dict[str, Any]]:
        answer = self.ask("POST", f"/datastore/{datastore_id}/searchImageSets", criteria or None)
        return list(answer["imageSetsMetadataSummaries"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``tests/try_emulator.py`` runs the tests of one patch."""
    patch = os.environ.get("PATCH_TESTS")
    if patch:
        named = {it: {name for mark in it.iter_markers("patch") for name in mark.args} for it in items}
        unwanted = [it for it in items if not named[it] or (patch != "all" and patch not in named[it])]
        config.hook.pytest_deselected(items=unwanted)
        items[:] = [it for it in items if it not in unwanted]


@pytest.fixture
def imaging() -> Imaging:
    return Imaging()


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    with Cloud(wait_scale=0.01, job_seconds=0.1, throttling=False) as running:
        yield running


@pytest.fixture
def sample() -> Any:
    """The content of one of the DICOM files that pydicom's wheel carries."""
    return lambda name: (FILES / name).read_bytes()
