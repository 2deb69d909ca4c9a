"""One HTTP server that plays AWS for the handler: the local HealthImaging, and as much of S3, STS, Step Functions,
EventBridge, SNS, CloudFormation and its pre-signed URLs as the handler uses. Real boto3 clients talk to it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pydicom.data

from healthimaging_local.errors import ServiceError, StorageError
from healthimaging_local.ports import Caller, Content, StoredObject
from healthimaging_local.protocol import Api, Request
from healthimaging_local.service import HealthImaging
from healthimaging_local.state import Settings, State

ACCOUNT = "111122223333"
REGION = "us-east-1"
STACK_ID = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/Imaging/6b2a7c10-0000-11ee-be56-0242ac120002"
STATE_MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:Engine"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:Imports"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/Import"
SOURCE = "source"
RESULTS = "results"
MANIFEST = "job-output-manifest.json"
CHANGED = "Tue, 24 Nov 2026 00:00:00 GMT"
DICOM = (Path(pydicom.data.__file__).parent / "test_files" / "rtdose_1frame.dcm").read_bytes()
"""A small DICOM P10 file."""


class Clock:
    """The one clock of a test, HealthImaging's as well; stands for a ``time`` module whose waits cost nothing."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def time(self) -> float:
        return self.seconds

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass(frozen=True)
class Call:
    """A call that reached the fake: ``S3.GetObject``, what it was about, and how it was answered."""

    operation: str
    subject: str = ""
    status: int = 200
    sent: int = 0
    """The bytes of the answer."""


@dataclass
class Fault:
    """Answer the next calls of an operation with an error; ``after`` doing what they asked, if so wished."""

    operation: str
    code: str
    status: int
    message: str
    times: int
    after: bool
    subject: str


@dataclass
class Answered:
    """An HTTP answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class StorageFault(Exception):  # noqa: N818 - S3's own word for it is fault
    """An S3 error answer."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class FakeAws:
    """The state of the fake, made anew for each test."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.calls: list[Call] = []
        self.clock = Clock()
        self.objects: dict[tuple[str, str], bytes] = {}
        self.storage_classes: dict[str, str] = {}
        """S3's XML about an object's storage class, by key."""
        self.buckets = {SOURCE, RESULTS, "assets"}
        self.page_size = 1000
        self.held: dict[tuple[str, str], bytes] = {}
        self.hold_manifests = False
        self.jobs_may_run = threading.Event()
        self.jobs_may_run.set()
        self.executions: dict[str, dict[str, Any]] = {}
        self.responses: list[dict[str, Any]] = []
        self.response_statuses: list[int] = []
        self.stack_status = "UPDATE_IN_PROGRESS"
        self.stack_updated = "2026-11-24T00:00:00Z"
        self.events: list[dict[str, Any]] = []
        self.events_refused = 0
        self.notifications: list[dict[str, str]] = []
        self.starts: list[dict[str, Any]] = []
        self._faults: list[Fault] = []
        self._uploads: dict[str, dict[int, bytes]] = {}
        self._lock = threading.RLock()
        self.state = State(Settings(job_seconds=0, datastore_seconds=0, throttling=False))
        self.state.now = self.clock.time  # type: ignore[method-assign]
        self.healthimaging = HealthImaging(self.state, _Permissions(self), _Bus())
        self._api = Api(self.healthimaging)
        self.caller = Caller(ACCOUNT, REGION)
        made = self.healthimaging.CreateDatastore({"datastoreName": "store", "clientToken": "store"}, self.caller)
        self.datastore_id = str(made["datastoreId"])

    @property
    def datastore_arn(self) -> str:
        return f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore/{self.datastore_id}"

    # -- what tests set and ask ----------------------------------------------------------------------------------

    def put(self, bucket: str, key: str, body: bytes = b"") -> None:
        self.objects[bucket, key] = body

    def archive(self, key: str, storage_class: str = "GLACIER", restore_status: str = "") -> None:
        """Let S3 say of an object that it is in an archive."""
        self.storage_classes[key] = f"<StorageClass>{storage_class}</StorageClass>{restore_status}"

    def keys(self, bucket: str) -> list[str]:
        return sorted(key for name, key in self.objects if name == bucket)

    def records(self) -> dict[str, dict[str, Any]]:
        found = {k: v for (_, k), v in self.objects.items() if re.search(r"\.healthimaging-cdk/[0-9a-f]{64}\.json$", k)}
        return {key: json.loads(body) for key, body in found.items()}

    def record(self) -> dict[str, Any]:
        (only,) = self.records().values()
        return only

    def fail(
        self,
        operation: str,
        code: str,
        status: int = 400,
        message: str = "",
        times: int = 1,
        *,
        after: bool = False,
        subject: str = "",
    ) -> None:
        self._faults.append(Fault(operation, code, status, message, times, after, subject))

    def heal(self) -> None:
        self._faults.clear()

    def count(self, operation: str, subject: str = "") -> int:
        return sum(call.operation == operation and subject in call.subject for call in self.calls)

    def jobs(self) -> list[Any]:
        return [job for datastore in self.state.datastores.values() for job in datastore.jobs.values()]

    def wait_for_jobs(self) -> None:
        """Let every job come to its end."""
        self.jobs_may_run.set()
        self.settle()

    def settle(self) -> None:
        """Let the jobs come to their end, if they may run."""
        end = time.monotonic() + 600
        while self.jobs_may_run.is_set() and any(job.running for job in self.jobs()):
            assert time.monotonic() < end, "a job did not end"
            time.sleep(0.001)

    def release_manifests(self) -> None:
        self.hold_manifests = False
        self.objects.update(self.held)
        self.held.clear()

    def tags(self) -> dict[str, str]:
        return dict(self.state.tags.get(self.datastore_arn, {}))

    def response_url(self, name: str = "request") -> str:
        return f"{self.endpoint}/_response/{name}?X-Amz-Signature=SECRET"

    # -- the server's side ---------------------------------------------------------------------------------------

    def serve(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answered:
        url = urlsplit(target)
        query = parse_qs(url.query, keep_blank_values=True)
        if url.path.startswith("/_response/"):
            return self._take_response(body)
        service = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", headers.get("Authorization", ""))
        name = service.group(1) if service else ""
        serving: dict[str, Callable[[], Answered]] = {
            "s3": lambda: self._s3(method, unquote(url.path), query, headers, body),
            "medical-imaging": lambda: self._imaging(method, url.path, query, body),
            "sts": lambda: self._query_service("STS", body, _ASSUMED),
            "cloudformation": lambda: self._query_service("CloudFormation", body, self._described),
            "states": lambda: self._target("States", headers, body, self._start_execution),
            "events": lambda: self._target("Events", headers, body, self._put_events),
            "sns": lambda: self._query_service("SNS", body, self._published),
        }
        return serving[name]()

    def _do(
        self, operation: str, subject: str, work: Callable[[], Answered], fail: Callable[[Fault], Answered]
    ) -> Answered:
        with self._lock:
            fault = next(
                (f for f in self._faults if f.times and f.operation == operation and f.subject in subject), None
            )
            if fault:
                fault.times -= 1
        if fault and not fault.after:
            answer = fail(fault)
        else:
            answer = work()
            answer = fail(fault) if fault else answer
        with self._lock:
            self.calls.append(Call(operation, subject, answer.status, len(answer.body)))
        return answer

    def _take_response(self, body: bytes) -> Answered:
        with self._lock:
            status = self.response_statuses.pop(0) if self.response_statuses else 200
            self.calls.append(Call("Response", "", status))
            if status == 200:
                self.responses.append({"bytes": len(body), **json.loads(body)})
        return Answered(status)

    # -- HealthImaging -------------------------------------------------------------------------------------------

    def _imaging(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Answered:
        request = Request(method, unquote(path), query, body)
        operation = self._api.operation(request) or "?"
        if operation == "StartDICOMImportJob":
            self.starts.append(json.loads(body))

        def work() -> Answered:
            answer = self._api.handle(request, self.caller)
            return Answered(answer.status, answer.body, answer.headers)

        def fail(fault: Fault) -> Answered:
            answer = self._api.error(ServiceError(fault.code, fault.message))
            return Answered(answer.status, answer.body, answer.headers)

        return self._do(f"HealthImaging.{operation}", path, work, fail)

    # -- the small services --------------------------------------------------------------------------------------

    def _query_service(self, service: str, body: bytes, answer: Any) -> Answered:
        parameters = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        subject = next((parameters[name] for name in ("RoleArn", "StackName", "TopicArn") if name in parameters), "")

        def work() -> Answered:
            text = answer if isinstance(answer, str) else answer(parameters)
            return Answered(200, text.encode(), {"Content-Type": "text/xml"})

        def fail(fault: Fault) -> Answered:
            told = f"<Code>{fault.code}</Code><Message>{escape(fault.message)}</Message>"
            error = f"<Error><Type>Sender</Type>{told}</Error>"
            return Answered(fault.status, f"<ErrorResponse>{error}</ErrorResponse>".encode())

        return self._do(f"{service}.{parameters['Action']}", subject, work, fail)

    def _published(self, parameters: dict[str, str]) -> str:
        self.notifications.append({name: parameters[name] for name in ("TopicArn", "Subject", "Message")})
        return "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"

    def _described(self, _: dict[str, str]) -> str:
        return (
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>Imaging</StackName>"
            f"<CreationTime>2026-11-24T00:00:00Z</CreationTime><StackStatus>{self.stack_status}</StackStatus>"
            f"<LastUpdatedTime>{self.stack_updated}</LastUpdatedTime>"
            "</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
        )

    def _target(
        self, service: str, headers: Mapping[str, str], body: bytes, work: Callable[[dict[str, Any]], Any]
    ) -> Answered:
        operation = headers["X-Amz-Target"].rpartition(".")[2]
        document = json.loads(body)

        def done() -> Answered:
            try:
                return Answered(200, json.dumps(work(document)).encode())
            except ServiceError as error:
                return Answered(400, json.dumps({"__type": error.code, "message": error.message}).encode())

        def fail(fault: Fault) -> Answered:
            return Answered(fault.status, json.dumps({"__type": fault.code, "message": fault.message}).encode())

        return self._do(f"{service}.{operation}", str(document.get("name", "")), done, fail)

    def _start_execution(self, document: dict[str, Any]) -> dict[str, Any]:
        if document["name"] in self.executions:
            raise ServiceError("ExecutionAlreadyExists", "Execution Already Exists")
        self.executions[document["name"]] = document
        return {"executionArn": f"{STATE_MACHINE}:{document['name']}", "startDate": 1}

    def _put_events(self, document: dict[str, Any]) -> dict[str, Any]:
        if self.events_refused:
            self.events_refused -= 1
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}
        self.events += document["Entries"]
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in document["Entries"]]}

    # -- S3 --------------------------------------------------------------------------------------------------------

    def _s3(
        self, method: str, path: str, query: dict[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> Answered:
        _, bucket, *rest = path.split("/", 2)
        key = rest[0] if rest else ""
        operations = {
            "GET": "GetObject" if key else "ListObjectsV2",
            "HEAD": "HeadObject",
            "PUT": "UploadPart" if "uploadId" in query else "PutObject",
            "POST": "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload",
        }
        operation = operations[method]
        subject = f"{bucket}/{key or query.get('prefix', [''])[0]}"

        def work() -> Answered:
            if bucket not in self.buckets:
                return _storage_error(404, "NoSuchBucket", "No such bucket", has_body=method != "HEAD")
            try:
                with self._lock:
                    answer: Answered = getattr(self, f"_{operation}")(bucket, key, query, headers, body)
                    return answer
            except StorageFault as error:
                return _storage_error(error.status, error.code, error.message, has_body=method != "HEAD")

        def fail(fault: Fault) -> Answered:
            return _storage_error(fault.status, fault.code, fault.message, has_body=method != "HEAD")

        return self._do(f"S3.{operation}", subject, work, fail)

    def _existing(self, bucket: str, key: str) -> bytes:
        if (bucket, key) not in self.objects:
            raise StorageFault(404, "NoSuchKey", f"The specified key does not exist: {key}")
        return self.objects[bucket, key]

    def _GetObject(  # noqa: N802
        self, bucket: str, key: str, _: Any, headers: Mapping[str, str], __: bytes
    ) -> Answered:
        body = self._existing(bucket, key)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("Range", ""))
        if not wanted:
            return Answered(200, body, {"ETag": _etag(body), "Last-Modified": CHANGED})
        first, last = int(wanted.group(1)), int(wanted.group(2))
        part = body[first : last + 1]
        spans = f"bytes {first}-{first + len(part) - 1}/{len(body)}"
        return Answered(206, part, {"ETag": _etag(body), "Content-Range": spans})

    def _HeadObject(self, bucket: str, key: str, *_: Any) -> Answered:  # noqa: N802
        body = self._existing(bucket, key)
        return Answered(200, b"", {"ETag": _etag(body), "Content-Length": str(len(body))})

    def _PutObject(  # noqa: N802
        self, bucket: str, key: str, _: Any, headers: Mapping[str, str], body: bytes
    ) -> Answered:
        there = self.objects.get((bucket, key))
        if headers.get("If-None-Match") == "*" and there is not None:
            raise StorageFault(412, "PreconditionFailed", "At least one of the pre-conditions did not hold")
        expected = headers.get("If-Match")
        if expected and there is None:
            raise StorageFault(404, "NoSuchKey", "The specified key does not exist.")
        if expected and there is not None and _etag(there) != expected:
            raise StorageFault(412, "PreconditionFailed", "At least one of the pre-conditions did not hold")
        self.objects[bucket, key] = body
        return Answered(200, b"", {"ETag": _etag(body)})

    def _ListObjectsV2(  # noqa: N802
        self, bucket: str, _: str, query: dict[str, list[str]], *__: Any
    ) -> Answered:
        prefix = query.get("prefix", [""])[0]
        after = query.get("continuation-token", [""])[0]
        keys = [key for key in self.keys(bucket) if key.startswith(prefix) and key > after]
        page = keys[: self.page_size]
        more = len(keys) > len(page)
        changed = f"<LastModified>{datetime.now(UTC).isoformat()}</LastModified>"
        items = "".join(
            f"<Contents><Key>{escape(quote(key))}</Key><Size>{len(self.objects[bucket, key])}</Size>"
            f"{changed}{self.storage_classes.get(key, '')}</Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        text = (
            f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{items}</ListBucketResult>"
        )
        return Answered(200, text.encode())

    def _CreateMultipartUpload(self, *_: Any) -> Answered:  # noqa: N802
        upload = f"upload-{len(self._uploads)}"
        self._uploads[upload] = {}
        text = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        return Answered(200, text.encode())

    def _UploadPart(  # noqa: N802
        self, _: str, __: str, query: dict[str, list[str]], ___: Any, body: bytes
    ) -> Answered:
        self._uploads[query["uploadId"][0]][int(query["partNumber"][0])] = body
        return Answered(200, b"", {"ETag": _etag(body)})

    def _CompleteMultipartUpload(  # noqa: N802
        self, bucket: str, key: str, query: dict[str, list[str]], _: Any, body: bytes
    ) -> Answered:
        named = [int(e.text or "") for e in ET.fromstring(body).iter() if e.tag.endswith("PartNumber")]
        parts = self._uploads.pop(query["uploadId"][0])
        self.objects[bucket, key] = b"".join(parts[number] for number in sorted(named))
        return Answered(200, b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")


_ASSUMED = (
    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASSUMED</AccessKeyId><SecretAccessKey>s"
    "</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2036-01-01T00:00:00Z</Expiration></Credentials>"
    "</AssumeRoleResult></AssumeRoleResponse>"
)


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _storage_error(status: int, code: str, message: str, *, has_body: bool) -> Answered:
    text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>" if has_body else ""
    return Answered(status, text.encode(), {"Content-Type": "application/xml"})


class _Storage:
    """What the local HealthImaging reads and writes: the same objects, when the test lets jobs run."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def objects(self, bucket: str, prefix: str, _: str) -> Iterator[StoredObject]:
        self._aws.jobs_may_run.wait(30)
        for key in self._aws.keys(bucket):
            if key.startswith(prefix):
                yield StoredObject(key, len(self._aws.objects[bucket, key]))

    def read(self, bucket: str, key: str, _: str) -> Content:
        if (bucket, key) not in self._aws.objects:
            raise StorageError("NoSuchKey", "The specified key does not exist.")
        return Content(self._aws.objects[bucket, key])

    def write(self, bucket: str, key: str, body: bytes, _: str) -> None:
        withheld = self._aws.hold_manifests and key.endswith(MANIFEST)
        (self._aws.held if withheld else self._aws.objects)[bucket, key] = body


class _Permissions:
    """IAM that allows everything; refusals are injected as faults."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def check_pass_role(self, *_: Any) -> None:
        """Allow."""

    def check_trust(self, *_: Any) -> None:
        """Allow."""

    def storage_as(self, *_: Any) -> _Storage:
        return _Storage(self._aws)


class _Bus:
    """The service's own events, which the handler does not read."""

    def publish(self, *_: Any) -> None:
        """Forget it."""


class Server:
    """The server; ``aws`` is what it plays at the moment."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def handle_expect_100(self) -> bool:
                proceed = super().handle_expect_100()
                self.wfile.flush()
                return proceed

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = outer.aws.serve(self.command, self.path, dict(self.headers), body)
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.aws = FakeAws(self.endpoint)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
