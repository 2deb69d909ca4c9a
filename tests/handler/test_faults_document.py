"""docs/faults.md: what each failure of each call leads to, written from what the code does and compared with it."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError, ReadTimeoutError

from healthimaging_import.aws.errors import translate
from healthimaging_import.errors import RetryableError
from healthimaging_import.service_model import ServiceModel
from tests.conftest import ROOT
from tests.handler.test_errors_handled import section, told

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
    "GetImageSet",
]
S3_CODES = [
    "AccessDenied",
    "ConditionalRequestConflict",
    "ExpiredToken",
    "InternalError",
    "KMS.DisabledException",
    "KMS.KMSInvalidStateException",
    "KMS.NotFoundException",
    "KMS.ThrottlingException",
    "NoSuchBucket",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "ThrottlingException",
]
OTHER_CODES = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "ExpiredToken",
    "ExpiredTokenException",
    "Throttling",
    "ThrottlingException",
]
OTHERS = {
    "s3": ["ListBucket", "GetObject", "PutObject"],
    "sts": ["AssumeRole"],
    "states": ["StartExecution"],
    "cloudformation": ["DescribeStacks"],
    "events": ["PutEvents"],
    "sns": ["Publish"],
}
EVERYWHERE = {
    "no connection, or a time-out": EndpointConnectionError(endpoint_url="x"),
    "no answer in time": ReadTimeoutError(endpoint_url="x"),
    "an answer that cannot be understood": KeyError("jobId"),
    "a request that botocore refuses": ParamValidationError(report="x"),
    "any other error code": ClientError({"Error": {"Code": "Surprise"}}, "Call"),
}
INTRODUCTION = """# What each failure leads to

botocore retries first (standard mode, four attempts; `StartDICOMImportJob` is sent once). What becomes of the rest:

"""
MEANINGS = {
    "later": "The state machine tries again, with full jitter between tries and at least as long as `Retry-After` asks, "
    "until the import's `timeout` is over; then the response gives the reason",
    "briefly": "As **later**, for 120 seconds at most",
    "propagating": "As **later** during the first 120 seconds of a deploy that created or changed roles or grants, or of "
    "a deletion of a data store or of its image sets, since "
    "IAM may not know them everywhere yet; **stop** after that",
    "stop": "The request ends at once, with the reason",
}
EXCEPTIONS = """
A rollback never fails, and neither does the deletion of an import or of tags. A success of which nothing is known has
every attribute: `unknown`, where the request does not say it. The deletion of image sets fails when some are left,
except in a rollback, whose next step, the deletion of their store, says so. The deletion of a data store fails when the
store is left, also in a rollback, since its key has to outlive it.

## The function itself

| what fails | what happens |
|---|---|
| the function dies in CloudFormation's own call (time-out, memory), or cannot begin there within 15 seconds | the call ends, so that others have its slot; Lambda makes it again after one minute and after two more; then EventBridge calls the function, which responds with FAILED and the reason |
| CloudFormation's own call is throttled (a new account runs ten functions at once) | Lambda makes it when a slot is free, for five minutes at most, so that no call is delivered in a later deploy; then as above |
| the function dies in a step of the state machine | the step is repeated, twice; then CloudFormation gets a response (FAILED; SUCCESS in a rollback and where a deletion leaves nothing), and a job that may be running is polled on |
| Step Functions cannot call the function, as it is throttled | tried again, sixty times, up to half a minute apart; then as above. Unpacking local files leaves its slot to others for ten seconds after every twenty |
| Step Functions cannot call the function, as Lambda is unavailable | tried again, eight times, up to a minute apart; then as above |
| CloudFormation's URL cannot be reached | five tries in one call, in five calls 30 seconds apart; a job is polled on all the same |
| the execution is stopped, or fails | EventBridge calls the function, which responds and has the job polled by an execution of its own, if there is one; where CloudFormation had its response already, the verdict is UNKNOWN |
| a doubled event | the execution named after the request runs already |
| the function cannot start at all | there is no response: `ServiceTimeout` ends the request (5 minutes after `timeout`) |
"""
CALLS = """
## Call by call

`tests/handler/test_faults_document.py` writes this page's tables of calls from what the code does, and compares them in
every test run (`python -m pytest tests/handler/test_faults_document.py --write`).

"""


def decision(service: str, operation: str, error: Exception) -> str:
    """What happens: later, briefly, propagating, or stop."""

    def end(*, propagating: bool) -> Exception:
        return translate(error, service, operation, purpose="", if_denied="", iam_propagating=propagating)

    found = end(propagating=False)
    if isinstance(found, RetryableError):
        return "briefly" if found.patience else "later"
    return "propagating" if isinstance(end(propagating=True), RetryableError) else "stop"


def codes(service: str, operation: str) -> list[str]:
    if service == "medical-imaging":
        errors = ServiceModel.load().document["operations"][operation]["errors"]
        return sorted(error["shape"] for error in errors)
    return S3_CODES if service == "s3" else OTHER_CODES


Row = tuple[str, str, str]
"""A call, its failure, and what happens."""


def rows() -> list[Row]:
    found = [("any", what, decision("s3", "call", error)) for what, error in EVERYWHERE.items()]
    for service, operations in {"medical-imaging": HEALTHIMAGING, **OTHERS}.items():
        for operation in operations:
            for code in codes(service, operation):
                error = ClientError({"Error": {"Code": code, "Message": "x"}}, operation)
                found.append((f"{service}:{operation}", code, decision(service, operation, error)))
    return found


def summary(found: list[Row]) -> str:
    lines = ["| | what happens | failures |", "|---|---|---|"]
    for name, meaning in MEANINGS.items():
        everywhere = [failure for call, failure, happens in found if happens == name and call == "any"]
        by_code = sorted({f"`{failure}`" for call, failure, happens in found if happens == name and call != "any"})
        lines.append(f"| **{name}** | {meaning} | {'; '.join([*everywhere, *by_code])} |")
    return "\n".join(lines) + "\n"


def table(found: list[Row]) -> str:
    lines = ["| call | failure | what happens |", "|---|---|---|"]
    lines += [f"| {call} | {failure} | {told(call, failure, happens)} |" for call, failure, happens in found]
    return "\n".join(lines) + "\n"


def test_the_document_says_what_the_code_does(request: pytest.FixtureRequest) -> None:
    found = rows()
    written = INTRODUCTION + summary(found) + EXCEPTIONS + section() + CALLS + table(found)
    if request.config.getoption("--write"):
        DOCUMENT.write_text(written, encoding="utf-8")
    assert written == DOCUMENT.read_text(encoding="utf-8")


def test_a_failure_means_the_same_in_every_call() -> None:
    meanings: dict[str, set[str]] = {}
    for _, failure, happens in rows():
        meanings.setdefault(failure, set()).add(happens)
    assert {} == {failure: happens for failure, happens in meanings.items() if len(happens) > 1}


def test_every_operation_that_the_code_calls_is_in_the_document() -> None:
    sources = (ROOT / "lambda" / "healthimaging_import").rglob("*.py")
    called = {
        name
        for source in sources
        for name in ServiceModel.load().document["operations"]
        if f'"{name}"' in source.read_text(encoding="utf-8")
    }
    assert called == set(HEALTHIMAGING)
