"""IAM, S3 and EventBridge of the emulator, as HealthImaging asks for them (the interfaces in ``ports``).

S3 is reached over HTTP with a session of the data-access role, so that the emulator's own enforcement decides:
identity policies, bucket policies and their conditions all count.
"""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from ministack.core import iam_evaluator, responses
from ministack.services import eventbridge, kms, sts

from healthimaging_local import keys
from healthimaging_local.decisions import find_role, role_of
from healthimaging_local.errors import JobFailedError, ServiceError, StorageError
from healthimaging_local.events import SOURCE
from healthimaging_local.ports import Caller, Content, Json, StoredObject

_LOGGER = logging.getLogger(__name__)

SERVICE_PRINCIPAL = "medical-imaging.amazonaws.com"


class EmulatorBus:
    """EventBridge's default bus, where only AWS's own services may use a source that begins with ``aws.``."""

    def publish(self, caller: Caller, detail_type: str, resource: str, detail: Mapping[str, object]) -> None:
        """Deliver one event to the rules of the caller's account and Region; a failure stops nobody (best effort)."""
        entry = {
            "Source": SOURCE,
            "DetailType": detail_type,
            "Detail": json.dumps(detail),
            "Resources": [resource],
        }
        try:
            with responses.request_scope(caller.account, caller.region):
                eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
        except Exception:
            _LOGGER.exception("event %r was not delivered", detail_type)


class EmulatorPermissions:
    """The emulator's IAM."""

    def __init__(self, endpoint: str, *, enforced: bool) -> None:
        """Reach S3 at ``endpoint``; ask for PassRole and trust only where IAM is ``enforced``."""
        self._endpoint = endpoint
        self._enforced = enforced
        self._session = botocore.session.Session()
        self._lock = threading.Lock()

    def check_pass_role(self, caller: Caller, role_arn: str) -> None:
        """``iam:PassRole`` on the role, with ``iam:PassedToService`` = HealthImaging; a root caller passes."""
        if not self._enforced:
            return
        principal = iam_evaluator.resolve_principal(caller.access_key, caller.account)
        if isinstance(principal, iam_evaluator.AuthError):
            raise ServiceError("AccessDeniedException", principal.message)
        if principal.policies is None:
            return
        context = iam_evaluator.EvalContext(
            principal_arn=principal.arn,
            principal_type=principal.type,
            principal_account=principal.account,
            action="iam:PassRole",
            resource_arn=role_arn,
            region=caller.region,
            # A plain string: the evaluator never matches a list with StringEquals.
            service_context={"iam:passedtoservice": SERVICE_PRINCIPAL},
            principal_keys=principal.keys,
        )
        decision = iam_evaluator.evaluate(context, principal.policies, *principal.limits).decision
        if decision != "Allow":
            reason = (
                "with an explicit deny in an identity-based policy"
                if decision == "Deny"
                else "because no identity-based policy allows the iam:PassRole action"
            )
            raise ServiceError(
                "AccessDeniedException",
                f"User: {principal.arn} is not authorized to perform: iam:PassRole on resource: {role_arn} {reason}",
            )

    def check_trust(self, caller: Caller, role_arn: str, source_arn: str) -> None:
        """The role exists and lets HealthImaging assume it, with both confused-deputy keys in the request.

        Which error AWS answers with, and whether it always sends both keys, is not documented: a guess.
        """
        if not self._enforced:
            return
        role = find_role(role_arn)
        if role is None:
            raise ServiceError("ValidationException", f"The role {role_arn} does not exist")
        context = iam_evaluator.EvalContext(
            principal_arn=SERVICE_PRINCIPAL,
            principal_type="Service",
            principal_account="",
            action="sts:AssumeRole",
            resource_arn=role_arn,
            region=caller.region,
            service_context={"aws:sourceaccount": caller.account, "aws:sourcearn": source_arn},
        )
        document = role.get("AssumeRolePolicyDocument")
        if iam_evaluator.evaluate_resource_policy(document, context, service=SERVICE_PRINCIPAL).decision != "Allow":
            raise ServiceError(
                "ValidationException",
                f"{SERVICE_PRINCIPAL} is not authorized to assume the role {role_arn} for {source_arn}: "
                "see the role's trust policy",
            )

    def check_key(self, caller: Caller, key_arn: str, actions: Sequence[str], resource: str) -> None:
        """The caller may use a store's customer-managed key; CloudFormation acts as the root of its account.

        The guide ("Data encryption") names the actions; it names no ``kms:ViaService``, so a condition on that fails.
        """
        if not self._enforced:
            return
        principal = iam_evaluator.resolve_principal(caller.access_key, caller.account)
        if isinstance(principal, iam_evaluator.AuthError):
            raise ServiceError("AccessDeniedException", principal.message)
        more = {"kms:GrantIsForAWSResource": "true", "aws:SourceArn": resource}
        for action in actions:
            reason = keys.refusal(principal, keys.Use(action, key_arn, more=more))
            if reason:
                raise ServiceError("AccessDeniedException", reason)

    def grant_key(self, caller: Caller, key_arn: str, resource: str) -> None:
        """Give HealthImaging a grant on a store's key, in the name of who creates the store."""
        found = keys.find_key(key_arn, caller.account)
        if not self._enforced or found is None:
            return
        operations = ["Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"]
        grant = {"GranteePrincipal": SERVICE_PRINCIPAL, "Operations": operations, "Name": resource.rsplit("/", 1)[-1]}
        with responses.request_scope(found[1], caller.region):
            kms._create_grant({"KeyId": found[0]["Arn"], **grant})

    def check_granted_key(self, caller: Caller, key_arn: str) -> None:
        """HealthImaging itself may still use a store's key: it is enabled, and the grant is there."""
        if not self._enforced:
            return
        with responses.request_scope(caller.account, caller.region):
            reason = keys.service_refusal(SERVICE_PRINCIPAL, keys.Use("kms:GenerateDataKey", key_arn))
        if reason:
            raise JobFailedError(f"KMS key cannot be used: {reason}")

    def storage_as(self, caller: Caller, role_arn: str) -> RoleStorage:
        """S3 with a session of the role."""
        account, name = role_of(role_arn)
        digest = hashlib.sha256(f"healthimaging/{role_arn}".encode()).hexdigest()
        keys = {
            "aws_access_key_id": f"ASIA{digest[:16].upper()}",
            "aws_secret_access_key": hashlib.sha256(f"secret/{digest}".encode()).hexdigest(),
            "aws_session_token": hashlib.sha256(f"token/{digest}".encode()).hexdigest(),
        }
        session_name = f"HealthImaging-{digest[:8]}"
        sts.register_session(
            keys["aws_access_key_id"],
            {
                "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session_name}",
                "UserId": f"{name}:{session_name}",
                "AccountId": account,
                "PrincipalType": "AssumedRole",
                "SecretAccessKey": keys["aws_secret_access_key"],
                "SessionToken": keys["aws_session_token"],
            },
        )
        config = Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 3, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        with self._lock:  # a botocore session makes one client at a time
            client = self._session.create_client(
                "s3", region_name=caller.region, endpoint_url=self._endpoint, config=config, **keys
            )
        return RoleStorage(client)


class RoleStorage:
    """S3 over HTTP, as one role."""

    def __init__(self, client: Json) -> None:
        """Use a botocore client that carries the role's session."""
        self._client = client

    def objects(self, bucket: str, prefix: str, owner: str) -> Iterator[StoredObject]:
        """ListObjectsV2, page by page; needs ``s3:ListBucket``."""
        request = {"Bucket": bucket, "Prefix": prefix, "ExpectedBucketOwner": owner}
        while True:
            answer = self._call("list_objects_v2", **request)
            for item in answer.get("Contents", []):
                yield StoredObject(item["Key"], item["Size"])
            if not answer.get("IsTruncated"):
                return
            request["ContinuationToken"] = answer["NextContinuationToken"]

    def read(self, bucket: str, key: str, owner: str) -> Content:
        """GetObject; needs ``s3:GetObject``."""
        answer = self._call("get_object", Bucket=bucket, Key=key, ExpectedBucketOwner=owner)
        return Content(answer["Body"].read(), answer.get("ContentEncoding", ""))

    def write(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """PutObject; needs ``s3:PutObject``."""
        self._call("put_object", Bucket=bucket, Key=key, Body=body, ContentType=content_type)

    def _call(self, operation: str, **arguments: Json) -> Json:
        try:
            return getattr(self._client, operation)(**arguments)
        except ClientError as error:
            fault = error.response.get("Error", {})
            raise StorageError(str(fault.get("Code", "")), str(fault.get("Message", ""))) from error
        except BotoCoreError as error:
            raise StorageError(type(error).__name__, str(error)) from error


def gateway_endpoint() -> str:
    """Where the emulator listens."""
    return f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
