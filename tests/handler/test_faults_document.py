"""docs/faults.md: what each failure of each call leads to, written from what the code does and compared with it."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError, ReadTimeoutError

from healthimaging_import.faults import explained
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.rules import ServiceModel
from tests.conftest import ROOT
from tests.handler.test_faults_handled import section, told

DOCUMENT = ROOT / "docs" / "faults.md"
HEALTHIMAGING = [
    "StartDICOMImportJob",
    "GetDICOMImportJob",
    "ListDICOMImportJobs",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
    "CreateDatastore",
    "GetDatastore",
    "DeleteDatastore",
    "SearchImageSets",
    "DeleteImageSet",
]
S3_CODES = [
    "AccessDenied",
    "ConditionalRequestConflict",
    "InternalError",
    "NoSuchBucket",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
]
OTHER_CODES = ["AccessDenied", "AccessDeniedException", "ExpiredToken", "Throttling", "ThrottlingException"]
OTHERS = {
    "s3": ["ListBucket", "GetObject", "PutObject"],
    "sts": ["AssumeRole"],
    "states": ["StartExecution"],
    "cloudformation": ["DescribeStacks"],
    "events": ["PutEvents"],
}
EVERYWHERE = {
    "no connection, or a time-out": EndpointConnectionError(endpoint_url="x"),
    "no answer in time": ReadTimeoutError(endpoint_url="x"),
    "an answer that cannot be understood": KeyError("jobId"),
    "a request that botocore refuses": ParamValidationError(report="x"),
    "any other error code": ClientError({"Error": {"Code": "Surprise"}}, "Call"),
}
INTRODUCTION = """# What each failure leads to

This table is written by `tests/handler/test_faults_document.py` from what the code does, and compared with it in every
test run (`python -m pytest tests/handler/test_faults_document.py --write`).

botocore retries first (standard mode, four attempts). What is left is tried **later** by the state machine, with full
jitter between tries, at least as long as `Retry-After` asks, until the import's `timeout` is over; then the reason is
told. **Settling** means: later during the first 120 seconds of a deploy that made or changed roles or grants, since IAM may
not know them everywhere yet; stop after that. **Stop** ends the request at once. A rollback of an import
and the deletion of imports and tags are never refused; the deletion of a data store is, when something is left. That
`PutEvents` fails is logged and changes no outcome.

What happens to the function itself:

| what fails | what happens |
|---|---|
| the function dies in CloudFormation's own call (time-out, memory) or is throttled there | Lambda calls it again, twice; then EventBridge brings the call back once more; what cannot be taken up is answered FAILED |
| the function dies in a step of the state machine | the step is repeated, twice; then the request is answered FAILED |
| Step Functions cannot call the function (throttled, unavailable) | tried again, eight times, up to a minute apart; then as above |
| CloudFormation's URL cannot be reached | five tries in the call, then the call is repeated; then EventBridge calls the function to try again |
| somebody stops the execution, or it fails | EventBridge calls the function, which answers FAILED; of one that only follows a job after the answer, it tells events and metrics that the outcome is unknown |
| a doubled event | the execution named after the request runs already |
| the function cannot start at all | nobody answers: `ServiceTimeout` ends the request (5 minutes after `timeout`) |

"""


def decision(service: str, operation: str, error: Exception) -> str:
    """What happens: later, settling, or stop."""

    def outcome(*, settling: bool) -> type[Exception]:
        with pytest.raises((Refused, TryLater)) as raised, explained(service, operation, settling=settling):
            raise error
        return raised.type

    if outcome(settling=False) is TryLater:
        return "later"
    return "settling" if outcome(settling=True) is TryLater else "stop"


def codes(service: str, operation: str) -> list[str]:
    if service == "medical-imaging":
        errors = ServiceModel.load().document["operations"][operation]["errors"]
        return sorted(error["shape"] for error in errors)
    return S3_CODES if service == "s3" else OTHER_CODES


def table() -> str:
    rows = ["| call | failure | what happens |", "|---|---|---|"]
    rows += [f"| any | {what} | {decision('s3', 'call', error)} |" for what, error in EVERYWHERE.items()]
    for service, operations in {"medical-imaging": HEALTHIMAGING, **OTHERS}.items():
        for operation in operations:
            for code in codes(service, operation):
                error = ClientError({"Error": {"Code": code, "Message": "x"}}, operation)
                happens = told(f"{service}:{operation}", code, decision(service, operation, error))
                rows.append(f"| {service}:{operation} | {code} | {happens} |")
    return "\n".join(rows) + "\n"


def test_the_document_says_what_the_code_does(request: pytest.FixtureRequest) -> None:
    written = INTRODUCTION + table() + section()
    if request.config.getoption("--write"):
        DOCUMENT.write_text(written, encoding="utf-8")
    assert written == DOCUMENT.read_text(encoding="utf-8")


def test_every_operation_that_the_code_calls_is_in_the_document() -> None:
    sources = (ROOT / "lambda" / "healthimaging_import").glob("*.py")
    called = {
        name
        for source in sources
        for name in ServiceModel.load().document["operations"]
        if f'"{name}"' in source.read_text(encoding="utf-8")
    }
    assert called == set(HEALTHIMAGING)
