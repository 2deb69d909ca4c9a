"""What policies say about KMS keys, also about those that a construct is given by an alias."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from aws_cdk import aws_iam as iam
from aws_cdk.aws_kms import IKey

from healthimaging_cdk._common.environment import ask_once, stack_of
from healthimaging_cdk._common.policies import Conditions, Statement, allow


class _Named(NamedTuple):
    """A key as a policy names it. IAM takes the ARN of an alias for that of the alias, never for that of its key."""

    resource: str
    alias: str | None = None
    """What the key has to be called, where its own ARN is not known."""

    @property
    def conditions(self) -> Conditions | None:
        # https://docs.aws.amazon.com/kms/latest/developerguide/alias-authorization.html
        return {"ForAnyValue:StringEquals": {"kms:ResourceAliases": self.alias}} if self.alias else None


def key_statements(*rights: tuple[IKey | None, Iterable[str]]) -> list[Statement]:
    """What somebody may do with keys: one statement for each key, none for None."""
    actions_on: dict[_Named, set[str]] = {}
    for key, actions in rights:
        if key is not None:
            actions_on.setdefault(_named(key), set()).update(actions)
    return [allow(sorted(actions), named.resource, named.conditions) for named, actions in actions_on.items()]


def grant_on_key(grantee: iam.IGrantable, key: IKey, actions: Iterable[str]) -> iam.Grant:
    """The same for a grantee, in their own policy.

    That is enough: CDK's key policies leave it to the policies of the key's account who may use a key. ``IKey.grant``
    lets somebody of another Region use every key there is, and changes the key's policy.
    """
    named = _named(key)
    return iam.Grant.add_to_principal(
        grantee=grantee, actions=sorted(actions), resource_arns=[named.resource], conditions=named.conditions
    )


def key_behind(key: IKey) -> IKey:
    """The key that an alias is for; the alias itself where CDK only knows its name, and a key as it is."""
    alias: Any = key
    try:
        return key_behind(alias.alias_target_key) if hasattr(alias, "alias_name") else key
    except RuntimeError:
        return key


@ask_once
def _named(given: IKey) -> _Named:
    key: Any = key_behind(given)
    if hasattr(key, "alias_name"):
        keys = stack_of(key).format_arn(service="kms", resource="key", resource_name="*")
        return _Named(keys, key.alias_name)
    arn: str = key.key_arn
    account, is_alias, name = arn.partition(":alias/")  # Key.from_key_arn takes the ARN of an alias too
    return _Named(f"{account}:key/*", f"alias/{name}") if is_alias else _Named(arn)


__all__ = ["grant_on_key", "key_behind", "key_statements"]
