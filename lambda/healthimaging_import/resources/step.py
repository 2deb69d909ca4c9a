"""One step of a request: the time it has, the AWS calls it may make, and what it can lead to."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.cfn import Request, Response
from healthimaging_import.contract import DatastoreAttribute, ImportAttribute, ResourceType, Verdict
from healthimaging_import.errors import NotFoundError, RetryableError, StepError, TerminalError
from healthimaging_import.importing.mode import Mode

NOT_IN_PROGRESS = "StackNotInProgress"
"""The code of the error that CloudFormation does nothing with the stack of a request."""
_LATE_SECONDS = 30
"""How much later than its timeout a request may take its last step; one that is later comes from a lost step."""
_DETACHED_PATIENCE_SECONDS = 3600.0
"""How long a detached request tries again what is refused: a right may come back."""
_REFUSED_PATIENCE_SECONDS = 120.0
"""How long a request that must not fail does so: a job may be running whose verdict would not be published."""
_CLOCKS_DIFFER_BY = 2.0
"""The date in a request's URL has no fractions of a second."""
_REPLACED = "this request was replaced before it started a job: another deploy of the stack has begun"
_UNDONE = "this request was replaced before it started a job: the stack is rolled back or deleted"
UNKNOWN = "unknown"
"""Stands for what is not known (yet) in an attribute, which may not be missing."""

StepResult = Response | float
"""What a step leads to: a response, or the seconds to wait before the next step."""


@dataclass(frozen=True)
class Deploy:
    """What CloudFormation does with the stack."""

    status: str
    began: datetime | None
    """None where CloudFormation does not say."""

    @property
    def mark(self) -> str:
        """What no other deploy of the stack has."""
        return str(self.began or "")

    @property
    def is_over(self) -> bool:
        """Whether nothing is being done with the stack, as far as CloudFormation says."""
        return not self.status.endswith("_IN_PROGRESS")

    @property
    def is_rollback(self) -> bool:
        """Whether what a deploy has done is undone."""
        return "ROLLBACK" in self.status and not self.is_over

    @property
    def is_undone(self) -> bool:
        """Whether the stack is taken back, or away."""
        return self.is_rollback or self.status == "DELETE_IN_PROGRESS"

    @property
    def has_deletions(self) -> bool:
        """Whether CloudFormation deletes resources: an update does in its clean-up alone, until which it can go back.

        https://github.com/aws/aws-cdk/blob/main/docs/CLOUDFORMATION.md
        """
        return self.is_undone or self.status.endswith("_CLEANUP_IN_PROGRESS")

    @property
    def is_update(self) -> bool:
        """Whether an update is at work, its rollback or its clean-up: what it takes out of the stack is deleted."""
        return self.status.startswith("UPDATE_") and not self.is_over

    def check_in_progress(self) -> None:
        """Make sure that CloudFormation waits for a request.

        Raises:
            RetryableError: nothing is done with the stack. What CloudFormation says may be about an earlier deploy.
        """
        if self.is_over:
            reason = f"the stack is {self.status}, so CloudFormation does not wait for this request"
            raise RetryableError(reason, code=NOT_IN_PROGRESS)


@dataclass(frozen=True)
class StepContext:
    """One invocation for a request."""

    request: Request
    aws: Aws
    """The AWS calls, with the rights of this request's resource."""
    mode: Mode
    began_at: float
    deadline: float
    """When the request must have ended; one that is detached may take a day."""
    deploy_mark: str
    clock: Callable[[], float]
    time_left: Callable[[], float]
    """Returns the seconds that this invocation may still take."""
    carried: MutableMapping[str, Any]
    """What the resource remembers between two steps."""

    def describe_deploy(self) -> Deploy:
        """Ask CloudFormation what it does with the stack."""
        return describe_deploy(self.aws, self.request.stack_id)

    def check_still_wanted(self) -> None:
        """Make sure that CloudFormation still does what this request is part of.

        Raises:
            RetryableError: it does nothing with the stack, as far as it says.
            TerminalError: it does something else, or waits for this request no more.
        """
        if self.clock() > self.deadline + _LATE_SECONDS:
            raise TerminalError(
                "no job was started in the time that the request has: deploy again, with a longer timeout or, where "
                "local files took too long to be unpacked, from a bucket"
            )
        deploy = self.describe_deploy()
        deploy.check_in_progress()
        if deploy.mark != self.deploy_mark:
            raise TerminalError(_REPLACED)
        if deploy.is_undone:
            raise TerminalError(_UNDONE)


def describe_deploy(aws: Aws, stack_id: str) -> Deploy:
    """Ask CloudFormation what it does with a stack."""
    stack = aws.describe_stack(stack_id)
    return Deploy(str(stack.get("StackStatus")), stack.get("LastUpdatedTime") or stack.get("CreationTime"))


def mode_of(aws: Aws, request: Request) -> tuple[Mode, str]:
    """Find out why the function was called, which no request says, and the mark of the deploy.

    Raises:
        RetryableError: CloudFormation does nothing with the stack: what it says may be about an earlier deploy.
        TerminalError: the request is of an earlier deploy, for which CloudFormation does not wait any more.
    """
    if request.request_type == "Delete":
        return _mode_of_deletion(aws, request)
    deploy = describe_deploy(aws, request.stack_id)
    deploy.check_in_progress()
    if deploy.began and request.sent_at < deploy.began.timestamp() - _CLOCKS_DIFFER_BY:
        raise TerminalError(_REPLACED)
    return Mode.ROLLBACK if deploy.is_undone else Mode.DEPLOY, deploy.mark


def _mode_of_deletion(aws: Aws, request: Request) -> tuple[Mode, str]:
    """As :func:`mode_of`; where it cannot be found out, the whole stack is taken to go."""
    is_import = request.resource_type == ResourceType.IMPORT
    if not is_import and request.resource_type != ResourceType.IMAGE_SET_DELETION:
        return Mode.DELETE, ""
    try:
        deploy = describe_deploy(aws, request.stack_id)
    except StepError as error:
        if is_import and isinstance(error, RetryableError):
            raise
        return Mode.DELETE, ""
    if is_import:
        return Mode.DELETE if deploy.status.startswith(("DELETE_", "ROLLBACK_")) else Mode.CLEANUP, deploy.mark
    return Mode.ROLLBACK if deploy.is_rollback else Mode.DELETE, deploy.mark


def patience_for(step: StepContext, error: Exception) -> float | None:
    """Return for how many seconds to try again what failed; None: as long as the request may take."""
    if isinstance(error, RetryableError):
        return error.patience
    if not isinstance(error, TerminalError):
        return 0.0
    if step.mode is Mode.DETACHED:
        return _DETACHED_PATIENCE_SECONDS
    is_refused = bool(error.code) and not isinstance(error, NotFoundError)
    is_import = step.request.resource_type == ResourceType.IMPORT
    return _REFUSED_PATIENCE_SECONDS if is_import and is_refused and must_succeed(step.request, step.mode) else 0.0


def must_succeed(request: Request, mode: Mode | None) -> bool:
    """Whether a request must not fail: a rollback, or a deletion of what leaves nothing behind."""
    return mode is Mode.ROLLBACK or request.leaves_nothing


def unfinished_response(request: Request, mode: Mode | None, reason: str, *, created: str = "") -> Response:
    """Return the response to a request that cannot be finished, where nothing is known of what it is about.

    A success has every attribute, and keeps the id: CloudFormation fails a rollback whose response lacks an attribute
    that the template reads, and deletes what has another id. ``created`` is the id of what was created nevertheless.
    """
    success, is_delete = must_succeed(request, mode), request.request_type == "Delete"
    return Response(
        success=success,
        reason=reason,
        data=_unknown_attributes(request) if success and not is_delete else {},
        physical_resource_id=created or request.physical_resource_id,
        detached=request.resource_type == ResourceType.IMPORT and not is_delete,
    )


def _unknown_attributes(request: Request) -> dict[str, str]:
    """Return every attribute of a resource of which no more is known than its request says."""
    if request.resource_type == ResourceType.IMPORT:
        known = {
            ImportAttribute.DATASTORE_ID: str(request.resource_properties.get("DatastoreId")),
            ImportAttribute.JOB_STATUS: Verdict.UNKNOWN,
        }
        return {name.value: str(known.get(name, UNKNOWN)) for name in ImportAttribute}
    if request.resource_type == ResourceType.DATASTORE:
        datastore_id = request.physical_resource_id
        _, partition, _, region, account, *_ = request.stack_id.split(":")
        arn = f"arn:{partition}:medical-imaging:{region}:{account}:datastore/{datastore_id}"
        ids = {DatastoreAttribute.DATASTORE_ID: datastore_id, DatastoreAttribute.DATASTORE_ARN: arn}
        return {name.value: ids.get(name, UNKNOWN) for name in DatastoreAttribute}
    return {}
