"""Our response to a custom resource request.

The standard library alone, so that CloudFormation gets its response when nothing else works.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from healthimaging_import import log
from healthimaging_import.cfn.request import Request

_MAX_RESPONSE_BYTES = 4096
_LONGEST_REASON = 1600
_PUT_PAUSES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Response:
    """What CloudFormation is told."""

    success: bool
    reason: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    physical_resource_id: str = ""
    """Where it is not the request's own: the id of what was created."""
    detached: bool = False
    """Whether a job may be running, to be polled after the response."""

    def document(self, request: Request) -> bytes:
        """Write the response's body, never longer than CloudFormation takes."""
        # A request that fails leaves the resource as it was, under the id it had.
        own = request.physical_resource_id if not self.success or request.request_type == "Delete" else ""
        body: dict[str, Any] = {
            "Status": "SUCCESS" if self.success else "FAILED",
            "Reason": self.reason[:_LONGEST_REASON],
            "PhysicalResourceId": self.physical_resource_id or own or request.new_physical_resource_id,
            "StackId": request.stack_id,
            "RequestId": request.request_id,
            "LogicalResourceId": request.logical_resource_id,
            "Data": dict(self.data),
        }
        while len(json.dumps(body).encode()) > _MAX_RESPONSE_BYTES:
            texts = [(body, "Reason"), *((body["Data"], name) for name in body["Data"])]
            owner, name = max(texts, key=lambda text: len(text[0][text[1]]))
            if not owner[name]:
                body["Data"] = {}  # the names alone are too long; none of ours are
            owner[name] = owner[name][: len(owner[name]) * 3 // 4]
        return json.dumps(body).encode()


def send(request: Request, response: Response) -> None:
    """PUT the response to the pre-signed URL, if it is one of CloudFormation's.

    Raises:
        OSError: it could not be delivered after several tries; the URL is not part of the message.
    """
    if not request.is_from_cloudformation:
        log.line("not responded", reason="the response is not for CloudFormation")
        return
    body = response.document(request)
    for pause in (*_PUT_PAUSES, None):
        call = urllib.request.Request(  # noqa: S310 - the host was checked above
            request.response_url, data=body, method="PUT", headers={"Content-Type": ""}
        )
        try:
            with urllib.request.urlopen(call, timeout=10):  # noqa: S310 - as above
                log.line("responded", success=response.success, request_id=request.request_id)
                return
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if pause is None:
                raise OSError(f"CloudFormation could not be reached ({type(error).__name__})") from None
            time.sleep(pause)
