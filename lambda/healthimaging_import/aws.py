"""boto3 clients for one import: made when first needed, with that import's role, and with the packaged model."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

from healthimaging_import.faults import explained
from healthimaging_import.rules import MODELS

_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=20)
_ONCE = _CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))


class Clients:
    """The AWS clients of one import.

    The function's own role can do nothing but log. Each import brings a role that trusts the function, so that no
    import can use the rights of another and no policy grows with the number of imports.
    """

    def __init__(self, role_arn: str | None = None, *, settling: bool = False) -> None:
        """Take the role to assume; without one the ambient credentials are used."""
        self._role_arn = role_arn
        self._settling = settling

    @cached_property
    def _session(self) -> boto3.Session:
        if self._role_arn is None:
            return _boto3_session({})
        with explained("sts", "sts:AssumeRole", settling=self._settling):
            sts = _boto3_session({}).client("sts", config=_CONFIG)
            credentials = sts.assume_role(RoleArn=self._role_arn, RoleSessionName="healthimaging-import")["Credentials"]
        return _boto3_session(
            {
                "aws_access_key_id": credentials["AccessKeyId"],
                "aws_secret_access_key": credentials["SecretAccessKey"],
                "aws_session_token": credentials["SessionToken"],
            }
        )

    @cached_property
    def s3(self) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        """Amazon S3."""
        return self._session.client("s3", config=_CONFIG)

    @cached_property
    def healthimaging(self) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        """AWS HealthImaging, with the packaged service model."""
        return self._session.client("medical-imaging", config=_CONFIG)

    @cached_property
    def starting(self) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        """AWS HealthImaging for StartDICOMImportJob, without retries: a call is on its way for 25 seconds at most."""
        return self._session.client("medical-imaging", config=_ONCE)

    @cached_property
    def stepfunctions(self) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        """AWS Step Functions."""
        return self._session.client("stepfunctions", config=_CONFIG)

    @cached_property
    def events(self) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        """Amazon EventBridge."""
        return self._session.client("events", config=_CONFIG)

    @cached_property
    def cloudformation(self) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        """AWS CloudFormation."""
        return self._session.client("cloudformation", config=_CONFIG)


def _boto3_session(credentials: dict[str, str]) -> boto3.Session:
    core = botocore.session.Session()
    # Searched before botocore's own folder: a runtime's boto3 may be older than a member of the request.
    core.set_config_variable("data_path", str(MODELS))
    # The global endpoint, which an older boto3 prefers in older Regions, has no VPC endpoint.
    core.set_config_variable("sts_regional_endpoints", "regional")
    return boto3.Session(botocore_session=core, **credentials)
