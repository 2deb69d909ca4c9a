"""CloudFormation's own call: it starts the execution of a request."""

from __future__ import annotations

import itertools
import random
import time
import traceback
from collections.abc import Callable
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.cfn import Request, Response, send
from healthimaging_import.contract import ResourceType
from healthimaging_import.errors import RetryableError, StepError
from healthimaging_import.importing.mode import Mode
from healthimaging_import.resources.step import NOT_IN_PROGRESS, mode_of, unfinished_response

State = dict[str, Any]
"""What an execution carries: ``event``, ``mode``, ``deploy``, ``began_at``, and what the resource remembers."""

LONGEST_PATIENCE_SECONDS = 120
_FIRST_CALL_SECONDS = 15
"""How long a first call that cannot begin keeps its slot; then it ends, and Lambda makes it again after one minute and
after two more. A new account runs ten functions at once, and drops a call that waited for five minutes for a slot."""
_LONGEST_PAUSE = 30.0


def receive(event: dict[str, Any]) -> State:
    """Start the execution of a request, or respond where that cannot be done.

    Raises:
        RetryableError: it cannot be done for now, and this is one of the calls that Lambda makes again.
    """
    request = Request(event)
    log.line(
        "received", request_type=request.request_type, request_id=request.request_id,
        resource=request.logical_resource_id,
    )  # fmt: skip
    state: State = {"event": event, "began_at": time.time()}
    start = _start_bulk if request.resource_type == ResourceType.BULK_START else _start_request

    def may_come_again(error: Exception) -> bool:
        """Whether Lambda may make this call again: not one that could come in a later deploy, or must not fail."""
        is_of_deploy = state.get("mode") in (None, Mode.DEPLOY)
        return isinstance(error, RetryableError) and error.code != NOT_IN_PROGRESS and is_of_deploy

    try:
        try_patiently(
            lambda: start(request, state),
            lambda error: _FIRST_CALL_SECONDS if may_come_again(error) else LONGEST_PATIENCE_SECONDS,
        )
    except Exception as error:
        if may_come_again(error):
            log.line("later", reason=str(error))
            raise
        # Whatever happens, CloudFormation gets a response.
        send(request, unfinished_response(request, state.get("mode"), reason_of(error)))
    return {}


def try_patiently(call: Callable[[], None], patience: Callable[[RetryableError], float]) -> None:
    """Call again what failed for now, for as many seconds as ``patience`` says of the error."""
    began = time.monotonic()
    for attempt in itertools.count():
        try:
            call()
        except RetryableError as error:
            if time.monotonic() - began > patience(error):
                raise
            time.sleep(pause_before(attempt))
        else:
            return


def _start_bulk(request: Request, _: State) -> None:
    """Start an execution of a bulk import, which the deploy does not wait for; never in a rollback."""
    aws = Aws(request.role_arn, iam_propagating=True)
    if request.request_type != "Delete" and mode_of(aws, request)[0] is not Mode.ROLLBACK:
        aws.start_execution(request.resource_properties["BulkStateMachineArn"], f"deploy-{request.request_id}", {})
    send(request, Response(success=True))


def _start_request(request: Request, state: State) -> None:
    """Start the execution of a request. Why the function was called is found out here, once."""
    aws = Aws(request.role_arn, iam_propagating=not request.leaves_nothing)
    if "mode" not in state:
        state["mode"], state["deploy"] = mode_of(aws, request)
    aws.start_execution(request.resource_properties["StateMachineArn"], request.request_id, state)


def reason_of(error: Exception) -> str:
    """A failure's own words; of an unforeseen error its type and place only, since its text may hold anything."""
    if isinstance(error, StepError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{place.filename.rsplit('/', 1)[-1]}:{place.lineno}"
    log.line("unexpected", error=type(error).__name__, at=where)
    return f"the function failed with {type(error).__name__} at {where}: this is an error in healthimaging-cdk"


def pause_before(attempt: int) -> float:
    """Full jitter: anything up to a bound that doubles with each try."""
    return random.uniform(0.5, min(_LONGEST_PAUSE, 2.0 ** min(attempt, 6)))  # noqa: S311 - not for secrets
