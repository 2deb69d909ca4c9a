"""REST-JSON by the service model: from an HTTP request to an operation's input, and from its output to an answer.

Routes, the binding of URI, query string and body, the rules for each value, error codes and HTTP statuses, and the
members of every answer come from ``service-2.json``: nothing of the API is written down a second time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote

from healthimaging_import.service_model import ServiceModel
from healthimaging_local.errors import ServiceError
from healthimaging_local.ports import Caller, Json

_MALFORMED = "SerializationException"
_UNKNOWN = "UnknownOperationException"
_DICOM_WEB = re.compile(r"/datastore/[^/]+/(studies|series|instances)(/|$)")
_STATUS_OUTSIDE_THE_MODEL = {_MALFORMED: 400, _UNKNOWN: 404}


@dataclass(frozen=True)
class Request:
    """One HTTP request, as far as the protocol needs it."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


Handler: TypeAlias = Callable[[dict[str, Any], Caller], dict[str, Any]]


class Operations(Protocol):
    """The service: one method for each operation, named like it."""

    def handler(self, operation: str) -> Handler | None:
        """The method for an operation, or None when there is none."""


class Api:
    """HealthImaging's HTTP face."""

    def __init__(self, operations: Operations, model: ServiceModel | None = None) -> None:
        """Serve ``operations`` by ``model``, the packaged one by default."""
        self.model = model or ServiceModel.load()
        self._operations = operations
        self._routes = sorted(
            ((definition["http"]["method"], self._pattern(name), name) for name, definition in self._all.items()),
            key=lambda route: -route[1].pattern.count("/"),
        )

    @property
    def _all(self) -> dict[str, Any]:
        operations: dict[str, Any] = self.model.document["operations"]
        return operations

    def _pattern(self, operation: str) -> re.Pattern[str]:
        definition = self._all[operation]
        members = self.model.shapes[definition["input"]["shape"]]["members"]

        def label(match: re.Match[str]) -> str:
            name = match.group(1)
            member = next(m for m, spec in members.items() if spec.get("locationName", m) == name)
            # An ARN holds slashes, and the web server hands the path over decoded.
            return f"(?P<{member}>{'.+' if members[member]['shape'] == 'Arn' else '[^/]+'})"

        return re.compile(re.sub(r"\{(\w+)\}", label, definition["http"]["requestUri"]) + "/?")

    def operation(self, request: Request) -> str | None:
        """The operation a request names."""
        found = self._match(request)
        return found[0] if found else None

    def _match(self, request: Request) -> tuple[str, dict[str, str]] | None:
        for method, pattern, name in self._routes:
            match = pattern.fullmatch(request.path) if method == request.method else None
            if match:
                return name, {key: unquote(value) for key, value in match.groupdict().items()}
        return None

    def handle(self, request: Request, caller: Caller) -> Response:
        """Answer one request."""
        try:
            return self._handle(request, caller)
        except ServiceError as error:
            return self.error(error)

    def _handle(self, request: Request, caller: Caller) -> Response:
        match = self._match(request)
        handler = self._operations.handler(match[0]) if match else None
        if not match and _DICOM_WEB.search(request.path):
            message = "DICOMweb is not part of the local HealthImaging: use the image set operations, or AWS itself"
            raise ServiceError(_UNKNOWN, message)
        if not match or handler is None:
            raise ServiceError(_UNKNOWN, f"{request.method} {request.path} is not part of the local HealthImaging")
        operation, labels = match
        definition = self._all[operation]
        values = self._bind(definition["input"]["shape"], labels, request)
        violations = self.model.violations(definition["input"]["shape"], values)
        if violations:
            raise ServiceError("ValidationException", "; ".join(violations))
        output = handler(values, caller)
        return self._answer(definition["output"]["shape"], output, definition["http"].get("responseCode", 200))

    def error(self, error: ServiceError) -> Response:
        """The answer for an error: its status by the model, its code in ``x-amzn-errortype``."""
        shape = self.model.shapes.get(error.code, {})
        status = shape.get("error", {}).get("httpStatusCode") or _STATUS_OUTSIDE_THE_MODEL.get(error.code, 400)
        headers = {"Content-Type": "application/json", "x-amzn-errortype": error.code}
        return Response(status, headers, json.dumps({"message": error.message}).encode())

    def _bind(self, shape_name: str, labels: dict[str, str], request: Request) -> dict[str, Any]:
        shape = self.model.shapes[shape_name]
        payload = shape.get("payload")
        values: dict[str, Any] = {}
        in_body = set()
        for name, member in shape["members"].items():
            location = member.get("location")
            wire = member.get("locationName", name)
            if location == "uri":
                values[name] = labels[name]
            elif location == "querystring" and wire in request.query:
                values[name] = self._from_text(name, member["shape"], request.query[wire])
            elif location is None:
                in_body.add(name)
        if not in_body:
            return values
        body = _parsed(request.body)
        if payload:
            return {**values, payload: body} if request.body else values
        if not isinstance(body, dict):
            raise ServiceError(_MALFORMED, "the request's body must be a JSON object")
        # A member that belongs in the URI is ignored in the body, as AWS's servers do; null means absent.
        outside = set(shape["members"]) - in_body
        return {**{k: v for k, v in body.items() if v is not None and k not in outside}, **values}

    def _from_text(self, name: str, shape_name: str, texts: list[str]) -> Json:
        shape = self.model.shapes[shape_name]
        if shape["type"] == "list":
            return [self._from_text(name, shape["member"]["shape"], [text]) for text in texts]
        text = texts[-1]
        if shape["type"] == "boolean":
            if text.lower() not in ("true", "false"):
                raise ServiceError("ValidationException", f"{name} must be true or false, got {text!r}")
            return text.lower() == "true"
        if shape["type"] in ("integer", "long"):
            if not re.fullmatch(r"-?[0-9]+", text):
                raise ServiceError("ValidationException", f"{name} must be an integer, got {text!r}")
            return int(text)
        return text

    def _answer(self, shape_name: str, output: Mapping[str, Any], status: int) -> Response:
        shape = self.model.shapes[shape_name]
        headers = {"Content-Type": "application/json"}
        for name, member in shape["members"].items():
            if member.get("location") == "header" and output.get(name):
                headers[member["locationName"]] = str(output[name])
        payload = shape.get("payload")
        if payload and self.model.shapes[shape["members"][payload]["shape"]]["type"] == "blob":
            return Response(status, headers, output[payload])
        return Response(status, headers, json.dumps(self.shaped(shape_name, output)).encode())

    def shaped(self, shape_name: str, value: Json) -> Json:
        """``value`` as the model writes it: only known members, none missing; None means absent."""
        shape = self.model.shapes[shape_name]
        kind = shape["type"]
        if kind == "structure":
            present = {name: item for name, item in value.items() if item is not None}
            unknown = set(present) - set(shape["members"])
            missing = set(shape.get("required", ())) - set(present)
            if unknown or missing:
                raise TypeError(f"{shape_name}: unknown members {sorted(unknown)}, missing {sorted(missing)}")
            return {name: self.shaped(shape["members"][name]["shape"], item) for name, item in present.items()}
        if kind == "list":
            return [self.shaped(shape["member"]["shape"], item) for item in value]
        if kind == "map":
            return {str(key): self.shaped(shape["value"]["shape"], item) for key, item in value.items()}
        return value


def _parsed(body: bytes) -> Json:
    if not body:
        return {}
    try:
        return json.loads(body)
    except (ValueError, UnicodeDecodeError) as error:
        raise ServiceError(_MALFORMED, f"the request's body is not JSON: {error}") from error
