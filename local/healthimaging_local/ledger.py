"""What tests ask of the cloud: which calls were made, what IAM decided, and which calls shall fail.

Served without credentials under ``/_healthimaging/`` on the loopback interface only.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from healthimaging_local.errors import ServiceError
from healthimaging_local.ports import Json
from healthimaging_local.state import Settings

PREFIX = "/_healthimaging/"
SERVICE = "medical-imaging"
_MOST_CALLS = 100_000


@dataclass
class Injection:
    """The next ``times`` calls of an operation answer with an error instead."""

    operation: str
    error: str = "ThrottlingException"
    times: int = 1
    message: str = "injected"
    service: str = SERVICE
    status: int = 0
    """The HTTP status; 0 takes the model's for HealthImaging and 400 for other services."""
    resource: str = ""
    """Only calls that name this text: an image set's id, a bucket, a key (in the path, the query or the body)."""

    def is_meant_for(self, service: str, operation: str, request: bytes) -> bool:
        """Whether a call, with its path, query and body in ``request``, is one that shall fail."""
        return (self.service, self.operation) == (service, operation) and self.resource.encode() in request


@dataclass(frozen=True)
class Call:
    """One call of one operation, whatever became of it."""

    service: str
    operation: str
    status: int
    clientToken: str  # noqa: N815 - answered as JSON under AWS's own name
    injected: bool = False


@dataclass(frozen=True)
class Decision:
    """What an identity's policies said about one action; a call can take several."""

    principal: str
    action: str
    """As IAM names it: ``s3:ListBucket`` for ListObjectsV2."""
    resource: str
    decision: str
    """``Allow``, ``Deny`` or ``ImplicitDeny``."""


class Ledger:
    """The calls and decisions so far, and the errors to come."""

    def __init__(self, settings: Settings) -> None:
        """Answer questions about calls, injections and ``settings``."""
        self._settings = settings
        self._initial = asdict(settings)
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque(maxlen=_MOST_CALLS)
        self._decisions: deque[Decision] = deque(maxlen=_MOST_CALLS)
        self._injections: list[Injection] = []

    def note(self, service: str, operation: str, status: int, body: bytes = b"", *, injected: bool = False) -> None:
        """Remember one call."""
        token = ""
        if service == SERVICE and body:
            try:
                token = str(json.loads(body).get("clientToken", ""))
            except (ValueError, AttributeError):
                token = ""
        with self._lock:
            self._calls.append(Call(service, operation, status, token, injected))

    def note_decision(self, principal: str, action: str, resource: str, decision: str) -> None:
        """Remember what IAM decided."""
        with self._lock:
            self._decisions.append(Decision(principal, action, resource, decision))

    def next_error(self, service: str, operation: str, request: bytes = b"") -> Injection | None:
        """The error that this call shall end with, if any; it is used up by asking."""
        with self._lock:
            for injection in self._injections:
                if injection.times > 0 and injection.is_meant_for(service, operation, request):
                    injection.times -= 1
                    return injection
        return None

    def control(self, method: str, path: str, query: Mapping[str, list[str]], body: bytes) -> tuple[int, Json]:
        """Answer a request under ``PREFIX`` with a status and a JSON document."""
        name = path.removeprefix(PREFIX).strip("/")
        try:
            document = json.loads(body) if body else {}
            answer = getattr(self, f"_{method.lower()}_{name}", None)
            if answer is None:
                return 404, {"message": f"{method} {path} is not one of this cloud's control calls"}
            return 200, answer(document, query)
        except (ValueError, TypeError, ServiceError) as error:
            return 400, {"message": str(error)}

    def _post_inject(self, document: dict[str, Any], _: Mapping[str, list[str]]) -> Json:
        injection = Injection(**document)
        with self._lock:
            self._injections.append(injection)
        return asdict(injection)

    def _get_inject(self, _: object, __: object) -> Json:
        with self._lock:
            return {"injections": [asdict(item) for item in self._injections if item.times > 0]}

    def _delete_inject(self, _: object, __: object) -> Json:
        with self._lock:
            self._injections.clear()
        return {}

    def _get_calls(self, _: object, query: Mapping[str, list[str]]) -> Json:
        service = query.get("service", [SERVICE])[-1]
        operation = query.get("operation", [""])[-1]
        with self._lock:
            return {
                "calls": [
                    asdict(call)
                    for call in self._calls
                    if call.service == service and operation in ("", call.operation)
                ]
            }

    def _delete_calls(self, _: object, __: object) -> Json:
        with self._lock:
            self._calls.clear()
        return {}

    def _get_decisions(self, _: object, __: object) -> Json:
        with self._lock:
            return {"decisions": [asdict(decision) for decision in self._decisions]}

    def _delete_decisions(self, _: object, __: object) -> Json:
        with self._lock:
            self._decisions.clear()
        return {}

    def _get_process(self, _: object, __: object) -> Json:
        return {"pid": os.getpid()}

    def _get_settings(self, _: object, __: object) -> Json:
        return asdict(self._settings)

    def _put_settings(self, document: dict[str, Any], _: object) -> Json:
        known = {item.name: type(getattr(self._settings, item.name)) for item in fields(self._settings)}
        for name, value in document.items():
            if name not in known:
                raise ValueError(f"{name} is not a setting, allowed are {', '.join(known)}")
            setattr(self._settings, name, known[name](value))
        return asdict(self._settings)

    def _delete_settings(self, _: object, __: object) -> Json:
        for name, value in self._initial.items():
            setattr(self._settings, name, value)
        return asdict(self._settings)
