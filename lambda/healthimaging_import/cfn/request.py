"""A custom resource request, as CloudFormation sends it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

from healthimaging_import.contract import DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS, RESPONSE_BUCKET, ResourceType

_DNS_SUFFIXES = {
    "aws": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-eusc": "amazonaws.eu",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
    "aws-us-gov": "amazonaws.com",
}
"""The domain of each partition. Nothing tells it to a function, and responding must not need botocore."""
_S3_ENDPOINTS = ("s3.", "s3-", "s3.dualstack.", "s3-fips.", "s3-fips.dualstack.")
"""How the endpoints of S3 in a Region begin: https://docs.aws.amazon.com/general/latest/gr/s3.html."""
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
"""The properties that tell which rights a resource has, and on what."""


@dataclass(frozen=True)
class Request:
    """A custom resource request. https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requests.html."""

    request_type: str
    request_id: str
    stack_id: str
    logical_resource_id: str
    resource_type: str
    response_url: str = field(repr=False)
    resource_properties: Mapping[str, Any] = field(repr=False)
    old_resource_properties: Mapping[str, Any] = field(repr=False)
    physical_resource_id: str
    role_arn: str
    """The role with the rights of this request's resource."""
    scope: str
    """Who asks: this resource of this stack. A stack made again under its old name is another one."""
    wait_seconds: float
    """How long the request may take, once its first call has come."""
    sent_at: float
    """When CloudFormation sent the request, by the date in its URL; infinite where the URL has none."""
    respond_by: float
    """When CloudFormation's hour is nearly over."""
    leaves_nothing: bool
    """Whether this deletes something that leaves nothing behind: it must not keep a stack from being deleted."""
    has_new_rights: bool
    """Whether this deploy may have created or changed rights, which IAM takes a while to know everywhere.

    A deletion may follow seconds after a creation that failed.
    """

    @staticmethod
    def parse(event: Mapping[str, Any]) -> Request:
        """Take an event apart."""
        kind, resource_type = str(event["RequestType"]), str(event["ResourceType"])
        new, old = event.get("ResourceProperties") or {}, event.get("OldResourceProperties") or {}
        seconds, sent_at = str(new.get("WaitSeconds") or ""), _sent_at(str(event["ResponseURL"]))
        leaves_nothing = kind == "Delete" and resource_type in (ResourceType.IMPORT, ResourceType.TAGS)
        return Request(
            request_type=kind,
            request_id=str(event["RequestId"]),
            stack_id=str(event["StackId"]),
            logical_resource_id=str(event["LogicalResourceId"]),
            resource_type=resource_type,
            response_url=str(event["ResponseURL"]),
            resource_properties=new,
            old_resource_properties=old,
            physical_resource_id=str(event.get("PhysicalResourceId") or ""),
            role_arn=str(new.get("RoleArn")),
            scope=f"{event['StackId']}/{event['LogicalResourceId']}",
            wait_seconds=min(float(seconds) if seconds.isdecimal() else DEFAULT_WAIT_SECONDS, _LONGEST_WAIT_SECONDS),
            sent_at=sent_at,
            respond_by=sent_at + _LONGEST_WAIT_SECONDS,
            leaves_nothing=leaves_nothing,
            has_new_rights=not leaves_nothing and any(new.get(name) != old.get(name) for name in _RIGHTS),
        )

    @cached_property
    def new_physical_resource_id(self) -> str:
        """The physical id of what the properties ask for.

        That of an import changes with its rights: CloudFormation then asks for the deletion of the old one before it
        takes the old rights away, and that request waits for the old job.
        """
        text = self.scope
        if self.resource_type == ResourceType.IMPORT:
            text += json.dumps([self.resource_properties.get(name) for name in _RIGHTS])
        elif self.physical_resource_id:
            return self.physical_resource_id
        return f"{self.logical_resource_id}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def is_from_cloudformation(self) -> bool:
        """Whether the response goes to CloudFormation, and not to somebody who made the request up."""
        url = urlsplit(self.response_url)
        # A cloud that is not AWS takes responses where it takes everything.
        endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).netloc
        if endpoint:
            return url.netloc == endpoint
        _, partition, _, region, *_ = [*self.stack_id.split(":"), "", "", "", ""]
        suffix = _DNS_SUFFIXES.get(partition)
        if url.scheme != "https" or not suffix or not region:
            return False
        # Anybody may own a bucket of a like name.
        bucket = RESPONSE_BUCKET + region.replace("-", "")
        hosts = {f"s3.{suffix}", *(f"{endpoint}{region}.{suffix}" for endpoint in _S3_ENDPOINTS)}
        is_in_path = url.netloc in hosts and url.path.startswith(f"/{bucket}/") and ".." not in url.path
        return is_in_path or url.netloc in {f"{bucket}.{host}" for host in hosts}


def _sent_at(response_url: str) -> float:
    """Return when CloudFormation signed the URL of the response."""
    signed = parse_qs(urlsplit(response_url).query).get("X-Amz-Date", [""])[0]
    try:
        return datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return float("inf")
