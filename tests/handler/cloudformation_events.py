"""Events as CloudFormation sends them, from events/*.json, pointed at the fake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.handler.fake_aws import FakeAws

_FOLDER = Path(__file__).parent / "events"


def read(name: str) -> dict[str, Any]:
    """One of events/*.json, as it stands there."""
    document: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return document


def event(aws: FakeAws, name: str, *, request_id: str = "", **properties: Any) -> dict[str, Any]:
    """An event that the fake can serve: its store, its URL, and some properties changed."""
    document = read(name)
    document["ResponseURL"] = aws.response_url()
    document["RequestId"] = request_id or document["RequestId"]
    for which in ("ResourceProperties", "OldResourceProperties"):
        if which in document:
            there = document[which]
            there |= {"DatastoreId": aws.datastore_id} if "DatastoreId" in there else {}
            there |= {"DatastoreArn": aws.datastore_arn} if "DatastoreArn" in there else {}
    document["ResourceProperties"] |= properties
    return document
