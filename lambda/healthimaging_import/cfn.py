"""CloudFormation's side of a custom resource: its request, and our response to it.

The standard library alone, so that CloudFormation gets its response when nothing else works.
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
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from healthimaging_import import log
from healthimaging_import.contract import DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS, RESPONSE_BUCKET, ResourceType

_DNS_SUFFIX = "amazonaws.com"
_DNS_SUFFIXES = {
    "cn-": "amazonaws.com.cn",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
}
"""The domain of Regions that begin so. A function is not given it, and responding must not need botocore."""
_S3_ENDPOINTS = ("s3.", "s3-", "s3.dualstack.", "s3-fips.", "s3-fips.dualstack.")
"""How the endpoints of S3 in a Region begin: https://docs.aws.amazon.com/general/latest/gr/s3.html."""
_AWS_URL = re.compile(r"(?=[!-~]+\Z)https://([a-z0-9.-]+)(/[^?#\\]*)(\?[^#\\]*)?")
"""A URL in which every library sees the same host and path: without user, port, escapes in the host, or fragment."""
_LONGEST_WAIT_SECONDS = MAX_WAIT_SECONDS - 120
"""The response has to arrive before CloudFormation's hour is over, and the last step takes a while."""
_RIGHTS = (
    "Grants",
    "RoleArn",
    "DataAccessRoleArn",
    "DatastoreId",
    "DatastoreArn",
    "InputBucket",
    "InputPrefix",
    "OutputBucket",
    "OutputPrefix",
)
"""The properties that say which rights a resource has, and on what."""
_MAX_RESPONSE_BYTES = 4096
_LONGEST_REASON = 1600
_PUT_PAUSES = (1, 2, 4, 8)


class Request:
    """A custom resource request. https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requests.html."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        """Take an event apart."""
        new, old = event.get("ResourceProperties") or {}, event.get("OldResourceProperties") or {}
        self.request_type = str(event["RequestType"])
        self.request_id = str(event["RequestId"])
        self.stack_id = str(event["StackId"])
        self.logical_resource_id = str(event["LogicalResourceId"])
        self.resource_type = str(event["ResourceType"])
        self.response_url = str(event["ResponseURL"])
        self.resource_properties: Mapping[str, Any] = new
        self.old_resource_properties: Mapping[str, Any] = old
        self.physical_resource_id = str(event.get("PhysicalResourceId") or "")
        self.role_arn = str(new.get("RoleArn"))
        """The role with the rights of this request's resource."""
        self.scope = f"{self.stack_id}/{self.logical_resource_id}"
        """This resource of this stack. A stack made again under its old name is another one."""
        seconds = str(new.get("WaitSeconds") or "")
        self.wait_seconds = min(float(seconds) if seconds.isdecimal() else DEFAULT_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        """How long the request may take, once its first call has come."""
        self.sent_at = _sent_at(self.response_url)
        """When CloudFormation sent the request, by the date in its URL; infinite where the URL has none."""
        self.respond_by = self.sent_at + _LONGEST_WAIT_SECONDS
        """When CloudFormation's hour is nearly over."""
        is_delete = self.request_type == "Delete"
        self.leaves_nothing = is_delete and self.resource_type in (ResourceType.IMPORT, ResourceType.TAGS)
        """Whether this deletes something that leaves nothing behind: it must not keep a stack from being deleted."""
        rights, old_rights = ([properties.get(name) for name in _RIGHTS] for properties in (new, old))
        self.has_new_rights = rights != old_rights and not self.leaves_nothing
        """Whether this deploy may have created or changed rights, which IAM takes a while to know everywhere.

        A deletion may follow seconds after a creation that failed.
        """
        self.new_physical_resource_id = self._new_physical_resource_id(rights)
        """The physical id of what the properties describe."""

    def _new_physical_resource_id(self, rights: list[Any]) -> str:
        """Make a new id or keep the old one.

        That of an import changes with its rights: CloudFormation then requests the deletion of the old one before it
        takes the old rights away, and that request waits for the old job.
        """
        text = self.scope
        if self.resource_type == ResourceType.IMPORT:
            text += json.dumps(rights)
        elif self.physical_resource_id:
            return self.physical_resource_id
        return f"{self.logical_resource_id}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def is_from_cloudformation(self) -> bool:
        """Whether the response goes to CloudFormation, and not to the sender of a forged request."""
        # A cloud that is not AWS takes responses where it takes everything.
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
        if endpoint:
            return self.response_url.startswith(f"{endpoint.rstrip('/')}/")
        # A function serves stacks of its own Region only. That of the event is input, as the URL is: the bucket of a
        # Region that does not exist belongs to whoever creates it.
        region = os.environ.get("AWS_REGION", "")
        url = _AWS_URL.fullmatch(self.response_url)
        is_of_own_region = self.stack_id.split(":")[2:4] == ["cloudformation", region]
        if not region or not is_of_own_region or not url:
            return False
        suffix = next((found for start, found in _DNS_SUFFIXES.items() if region.startswith(start)), _DNS_SUFFIX)
        bucket = RESPONSE_BUCKET + region.replace("-", "")
        hosts = {f"s3.{suffix}", *(f"{start}{region}.{suffix}" for start in _S3_ENDPOINTS)}
        host, path, _ = url.groups()
        is_in_path = host in hosts and path.startswith(f"/{bucket}/") and ".." not in unquote(path)
        return is_in_path or (host.startswith(f"{bucket}.") and host.removeprefix(f"{bucket}.") in hosts)


def _sent_at(response_url: str) -> float:
    """Return when CloudFormation signed the URL of the response."""
    try:
        signed = parse_qs(urlsplit(response_url).query).get("X-Amz-Date", [""])[0]
        return datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return float("inf")


@dataclass(frozen=True)
class Response:
    """The response to a request."""

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
