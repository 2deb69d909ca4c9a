"""The IAM actions of HealthImaging: the resources that each takes, and what it needs of the store's key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_SERVICE = "medical-imaging"

PASSED_TO_HEALTHIMAGING = {"StringEquals": {"iam:PassedToService": "medical-imaging.amazonaws.com"}}
"""The condition under which somebody may pass a data-access role."""

_READS = ("kms:Decrypt",)
_WRITES = ("kms:GenerateDataKey",)
_REWRITES = ("kms:Decrypt", "kms:GenerateDataKey")


class _Action(NamedTuple):
    granted_by: str
    """The method that grants it; without one only ``grant`` does."""
    image_sets: bool
    """Whether it asks for the image set besides the data store."""
    key: Sequence[str]
    """What it needs of the store's customer-managed key, besides ``kms:DescribeKey``."""


_ACTIONS = {
    "CopyImageSet": _Action("grant_write", image_sets=True, key=_REWRITES),
    "DeleteDatastore": _Action("", image_sets=False, key=("kms:RetireGrant",)),
    "DeleteImageSet": _Action("grant_delete_image_sets", image_sets=True, key=_WRITES),
    "GetDICOMBulkdata": _Action("grant_read", image_sets=False, key=_READS),
    "GetDICOMImportJob": _Action("grant_manage_import_jobs", image_sets=False, key=_READS),
    "GetDICOMInstance": _Action("grant_read", image_sets=False, key=_READS),
    "GetDICOMInstanceFrames": _Action("grant_read", image_sets=False, key=_READS),
    "GetDICOMInstanceMetadata": _Action("grant_read", image_sets=False, key=_READS),
    "GetDICOMSeriesMetadata": _Action("grant_read", image_sets=False, key=_READS),
    "GetDatastore": _Action("grant_read", image_sets=False, key=_READS),
    "GetImageFrame": _Action("grant_read", image_sets=True, key=_READS),
    "GetImageSet": _Action("grant_read", image_sets=True, key=_READS),
    "GetImageSetMetadata": _Action("grant_read", image_sets=True, key=_READS),
    "ListDICOMImportJobs": _Action("grant_manage_import_jobs", image_sets=False, key=_READS),
    "ListImageSetVersions": _Action("grant_read", image_sets=True, key=_READS),
    "ListTagsForResource": _Action("grant_read", image_sets=True, key=_READS),
    "SearchDICOMInstances": _Action("grant_read", image_sets=False, key=_READS),
    "SearchDICOMSeries": _Action("grant_read", image_sets=False, key=_READS),
    "SearchDICOMStudies": _Action("grant_read", image_sets=False, key=_READS),
    "SearchImageSets": _Action("grant_read", image_sets=False, key=_READS),
    "StartDICOMImportJob": _Action("grant_start_import", image_sets=False, key=_WRITES),
    "StoreDICOM": _Action("grant_write", image_sets=False, key=_WRITES),
    "StoreDICOMStudy": _Action("grant_write", image_sets=False, key=_WRITES),
    "TagResource": _Action("", image_sets=True, key=_WRITES),
    "UntagResource": _Action("", image_sets=True, key=_WRITES),
    "UpdateImageSetMetadata": _Action("grant_write", image_sets=True, key=_REWRITES),
}
"""Every action that takes a data store, as the service authorization reference has it:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awshealthimaging.html."""

_UNKNOWN = _Action("", image_sets=True, key=_REWRITES)
"""An action that AWS has added since."""

_WITHOUT_RESOURCE = ("CreateDatastore", "ListDatastores")
_EITHER = ("ListTagsForResource", "TagResource", "UntagResource")
_NAMES = {name.lower(): name for name in (*_ACTIONS, *_WITHOUT_RESOURCE)}


def _row(action: str) -> _Action:
    return _ACTIONS.get(action.partition(":")[2], _UNKNOWN)


def is_known(action: str) -> bool:
    """Whether an action takes a data store, as far as this release knows."""
    return _row(action) is not _UNKNOWN


def takes_image_sets(action: str) -> bool:
    """Whether an action asks for the image set besides the data store."""
    return _row(action).image_sets


def requires_image_sets(action: str) -> bool:
    """Whether an action is allowed on a data store's ARN together with an image set's only."""
    return takes_image_sets(action) and action.partition(":")[2] not in (*_EITHER, *_WITHOUT_RESOURCE)


def takes_no_datastore(action: str) -> bool:
    """Whether an action takes no resource, and is allowed on ``*`` only."""
    return action.partition(":")[2] in _WITHOUT_RESOURCE


def known_actions() -> list[str]:
    """Every action of HealthImaging that this release knows."""
    return [f"{_SERVICE}:{name}" for name in _NAMES.values()]


def actions_granted_by(method: str) -> list[str]:
    """The actions that a ``grant_*`` method of a data store grants."""
    return [f"{_SERVICE}:{name}" for name, action in _ACTIONS.items() if action.granted_by == method]


def key_rights(*actions: str) -> list[str]:
    """What somebody needs of the customer-managed key of a data store for some of HealthImaging's actions."""
    return sorted({"kms:DescribeKey", *(right for action in actions for right in _row(action).key)})


def action_violations(action: str) -> list[str]:
    """What is wrong with an action that is to be granted on a data store; tokens pass."""
    from healthimaging_cdk._common.messages import is_unresolved  # noqa: PLC0415 - rules of templates need no aws_cdk

    if is_unresolved(action):
        return []
    service, _, name = action.partition(":")
    if "*" in action or "?" in action:
        return [f"actions must not have wildcards, got {action!r}: name each action"]
    if service != _SERVICE or not re.fullmatch("[A-Za-z][A-Za-z0-9]*", name):
        advice = f": write '{_SERVICE}:{_NAMES[action.lower()]}'" if action.lower() in _NAMES else ""
        return [f"actions must be {_SERVICE}:NAME, got {action!r}{advice}"]
    spelt = _NAMES.get(name.lower(), name)
    if spelt in _WITHOUT_RESOURCE:
        return [f"{action} takes no data store: allow it in a statement of its own, on resource '*'"]
    if spelt != name:
        return [f"actions are case-sensitive here, got {action!r}: write {_SERVICE}:{spelt}"]
    return []


__all__ = [
    "PASSED_TO_HEALTHIMAGING",
    "action_violations",
    "actions_granted_by",
    "is_known",
    "key_rights",
    "known_actions",
    "requires_image_sets",
    "takes_image_sets",
    "takes_no_datastore",
]
