"""Accounts of a local cloud: credentials, clients, CDK's bootstrap stack, and deploys."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from healthimaging_local.bootstrap import ASSETS_BUCKET, BOOTSTRAP_STACK, bootstrap_template
from healthimaging_local.connection import SECRET_KEY, Connection, Json
from healthimaging_local.deployments import Deployed, Deployments
from healthimaging_local.errors import CloudError


class Synthesizable(Protocol):
    """A CDK ``App`` or ``Stage``."""

    def synth(self) -> Any:  # noqa: ANN401 - the assembly of aws-cdk-lib, which this package does not know
        """Return the cloud assembly."""


class Account:
    """One account of a local cloud; its credentials are those of its root.

    Attributes:
        id: The account id.
        region: The Region of everything in it.
        endpoint: The URL of the cloud's gateway.
    """

    def __init__(self, cloud: Connection, account_id: str) -> None:
        """Name an account; it exists as soon as it is used."""
        self.id = account_id
        self.region = cloud.region
        self.endpoint = cloud.endpoint
        self._connection = cloud
        self._clients: dict[str, Json] = {}
        self._stacks: Deployments | None = None

    @property
    def cloudformation(self) -> Json:
        """A boto3 client."""
        return self.client("cloudformation")

    @property
    def s3(self) -> Json:
        """A boto3 client."""
        return self.client("s3")

    def client(self, service: str, **overrides: Json) -> Json:
        """A boto3 client of this account, as its root unless ``overrides`` bring other credentials."""
        if overrides:
            return self._connection.client(service, **{**self._keys(), **overrides})
        if service not in self._clients:
            self._clients[service] = self._connection.client(service, **self._keys())
        return self._clients[service]

    def environ(self) -> dict[str, str]:
        """The variables that turn any AWS SDK or CLI, and the CDK CLI, to this account as its root."""
        keys = self._keys()
        own = {"AWS_ACCESS_KEY_ID": keys["aws_access_key_id"], "AWS_SECRET_ACCESS_KEY": keys["aws_secret_access_key"]}
        return {**self._connection.environ(), **own, "CDK_DEFAULT_ACCOUNT": self.id}

    def child_environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """``environ`` over ``base`` (this process's environment when omitted) without any other AWS variable."""
        return {**self._connection.child_environ(os.environ if base is None else base), **self.environ()}

    def bootstrap(self) -> None:
        """Deploy what ``cdk bootstrap`` does, as far as a deploy needs it: the bucket, the roles and the version.

        Raises:
            CloudError: The stack was not created.
        """
        if self.stacks.describe(BOOTSTRAP_STACK):
            return
        created = self.stacks.put(BOOTSTRAP_STACK, bootstrap_template(self.id, self.region))
        if created.status != "CREATE_COMPLETE":
            raise CloudError(f"account {self.id} could not be bootstrapped: {created.reason}")

    def deploy(self, app: Synthesizable | Path | str) -> dict[str, Deployed]:
        """Deploy every stack of an app, or of the folder of a cloud assembly, and wait; by the names of the stacks.

        A deploy that failed is an answer, not an error: look at its ``status`` and ``reason``.
        """
        folder = Path(app) if isinstance(app, str | Path) else Path(app.synth().directory)
        return self.stacks.deploy(folder)

    def destroy(self, stack_name: str) -> Deployed:
        """Delete a stack, and wait."""
        return self.stacks.destroy(stack_name)

    def read_json(self, s3_uri: str) -> Json:
        """The JSON object at an S3 URI, such as a job's manifest."""
        bucket, _, key = s3_uri.removeprefix("s3://").partition("/")
        return json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    @property
    def stacks(self) -> Deployments:
        """The stacks of this account."""
        if self._stacks is None:
            self._stacks = Deployments(self, ASSETS_BUCKET.format(account=self.id, region=self.region))
        return self._stacks

    def _keys(self) -> dict[str, str]:
        # Any access key of twelve digits is the root of that account.
        return {"aws_access_key_id": self.id, "aws_secret_access_key": SECRET_KEY}
