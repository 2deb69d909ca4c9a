"""CloudFormation's side of a custom resource: its events in, its answers out.

The answering path needs the standard library alone, so that it works when nothing else does.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from healthimaging_import import rules

_MAX_ANSWER_BYTES = 4096
_LONGEST_REASON = 1600
_PUT_PAUSES = (1, 2, 4, 8)
_ANSWER_HOST = re.compile(rules.ANSWER_BUCKET + r"[a-z0-9]+\.s3([.-][a-z0-9-]+)?\.amazonaws\.com(\.cn)?")


@dataclass(frozen=True)
class Event:
    """A custom resource request, as CloudFormation sends it."""

    request_type: str
    request_id: str
    stack_id: str
    logical_id: str
    resource_type: str
    response_url: str = field(repr=False)
    properties: Mapping[str, Any] = field(repr=False)
    old_properties: Mapping[str, Any] = field(repr=False)
    physical_id: str

    @staticmethod
    def parse(event: Mapping[str, Any]) -> Event:
        """Take an event apart."""
        stack_id, logical_id = str(event["StackId"]), str(event["LogicalResourceId"])
        # The same for the life of the resource: a new one would make CloudFormation delete the old, live one.
        made = hashlib.sha256(f"{stack_id}/{logical_id}".encode()).hexdigest()[:16]
        return Event(
            request_type=str(event["RequestType"]),
            request_id=str(event["RequestId"]),
            stack_id=stack_id,
            logical_id=logical_id,
            resource_type=str(event["ResourceType"]),
            response_url=str(event["ResponseURL"]),
            properties=event.get("ResourceProperties") or {},
            old_properties=event.get("OldResourceProperties") or {},
            physical_id=str(event.get("PhysicalResourceId") or f"{logical_id}-{made}"),
        )

    @property
    def is_let_go(self) -> bool:
        """Whether this is the deletion of something that leaves nothing behind, which must never be refused."""
        return self.request_type == "Delete" and self.resource_type in (rules.IMPORT, rules.TAGS)

    @property
    def answers_cloudformation(self) -> bool:
        """Whether the answer goes to CloudFormation, and not to somebody who made the request up."""
        url = urlsplit(self.response_url)
        # A cloud that is not AWS takes the answers where it takes everything.
        elsewhere = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).netloc
        if elsewhere:
            return url.netloc == elsewhere
        return url.scheme == "https" and _ANSWER_HOST.fullmatch(url.netloc) is not None

    @property
    def scope(self) -> str:
        """Who asks: this resource of this stack. A stack made again under its old name is another one."""
        return f"{self.stack_id}/{self.logical_id}"


@dataclass(frozen=True)
class Answer:
    """What CloudFormation is told."""

    success: bool
    reason: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    physical_id: str = ""
    """Where it is not the event's own: the id of what was made."""

    def document(self, event: Event) -> bytes:
        """The answer's body, never longer than CloudFormation takes."""
        body: dict[str, Any] = {
            "Status": "SUCCESS" if self.success else "FAILED",
            "Reason": self.reason[:_LONGEST_REASON],
            "PhysicalResourceId": self.physical_id or event.physical_id,
            "StackId": event.stack_id,
            "RequestId": event.request_id,
            "LogicalResourceId": event.logical_id,
            "Data": dict(self.data),
        }
        while len(json.dumps(body).encode()) > _MAX_ANSWER_BYTES:
            texts = [(body, "Reason"), *((body["Data"], name) for name in body["Data"])]
            owner, name = max(texts, key=lambda text: len(text[0][text[1]]))
            if not owner[name]:
                body["Data"] = {}  # the names alone are too long; none of ours are
            owner[name] = owner[name][: len(owner[name]) * 3 // 4]
        return json.dumps(body).encode()


def send(event: Event, answer: Answer) -> None:
    """PUT the answer to the pre-signed URL.

    Raises:
        OSError: it could not be delivered after several tries; the URL is not part of the message.
    """
    body = answer.document(event)
    for pause in (*_PUT_PAUSES, None):
        request = urllib.request.Request(  # noqa: S310 - the URL comes from CloudFormation
            event.response_url, data=body, method="PUT", headers={"Content-Type": ""}
        )
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - as above
                return
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if pause is None:
                name = type(error).__name__
                raise OSError(f"CloudFormation could not be answered ({name})") from None
            time.sleep(pause)
