"""HealthImaging as one more service of the emulator: its tables filled, its enforcement and events used."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import json
import re
from contextvars import ContextVar
from urllib.parse import parse_qs, unquote

from ministack import app
from ministack.core import iam_actions, iam_evaluator, responses, router
from ministack.services import tagging
from ministack.services.cloudformation import provisioners

from healthimaging_import.service_model import ServiceModel
from healthimaging_local import cloudformation
from healthimaging_local.access import EmulatorBus, EmulatorPermissions, gateway_endpoint
from healthimaging_local.errors import ServiceError
from healthimaging_local.ledger import PREFIX, SERVICE, Injection, Ledger
from healthimaging_local.ports import Caller, Json
from healthimaging_local.protocol import Api, Request
from healthimaging_local.service import HealthImaging
from healthimaging_local.state import Settings, State

_MODULE = "medical_imaging"
_DATASTORE_PATH = re.compile(r"/datastore/([^/]+)")
_IMAGE_SET_PATH = re.compile(r"/imageSet/([^/]+)/")
_TAGS_PATH = "/tags/"


class MedicalImaging:
    """The service module that the emulator's tables expect."""

    def __init__(self, settings: Settings) -> None:
        """Build the service on the emulator's IAM, S3 and EventBridge."""
        self.state = State(settings)
        self.ledger = Ledger(settings)
        permissions = EmulatorPermissions(gateway_endpoint(), enforced=app.AUTH)
        self.service = HealthImaging(self.state, permissions, EmulatorBus())
        self.api = Api(self.service)

    async def handle_request(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, list[str]]
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer one request that the emulator has authenticated and authorized."""
        caller = Caller(
            responses.get_account_id(),
            responses.get_region(),
            router.extract_access_key_id(headers, query_params) or "",
        )
        answer = self.api.handle(Request(method, path, query_params, body), caller)
        return answer.status, answer.headers, answer.body

    def reset(self) -> None:
        """Part of the emulator's ``/_ministack/reset``."""
        self.state.reset()

    def get_state(self) -> None:
        """Nothing is kept on disk."""

    def load_persisted_state(self, data: object) -> None:
        """Nothing is kept on disk."""

    def resource_arn(self, path: str, region: str, account: str) -> str:
        """The resource a request is authorized on: the image set or data store in its path, or the tagged ARN."""
        if path.startswith(_TAGS_PATH):
            return unquote(path.removeprefix(_TAGS_PATH))
        datastore = _DATASTORE_PATH.search(path)
        if not datastore:
            return "*"
        arn = f"arn:aws:medical-imaging:{region}:{account}:datastore/{datastore.group(1)}"
        image_set = _IMAGE_SET_PATH.search(path)
        return f"{arn}/imageset/{image_set.group(1)}" if image_set else arn

    def tagged_resources(self) -> list[tuple[str, list[dict[str, str]]]]:
        """All tags, in the form of the emulator's collectors, for ``aws:ResourceTag`` conditions."""
        with self.state.lock:
            return [
                (arn, [{"Key": key, "Value": value} for key, value in tags.items()])
                for arn, tags in self.state.tags.items()
            ]


def register(settings: Settings) -> MedicalImaging:
    """Add HealthImaging to every table of the emulator that knows services."""
    module = MedicalImaging(settings)
    app.SERVICE_REGISTRY[SERVICE] = {"module": _MODULE}
    app.SERVICE_HANDLERS[SERVICE] = module.handle_request
    app._loaded_modules[_MODULE] = module
    app._state_map.pop(_MODULE, None)
    router.SERVICE_PATTERNS[SERVICE] = {
        "host_patterns": [r"^(runtime-)?medical-imaging\."],
        "credential_scope": SERVICE,
    }
    iam_actions.SERVICE_TO_IAM_NAMESPACE[SERVICE] = SERVICE
    iam_actions._BOTOCORE_SERVICE_MAP[SERVICE] = [SERVICE]
    iam_actions._REST_ROUTE_CACHE[SERVICE] = _routes()
    provisioners._RESOURCE_HANDLERS[cloudformation.TYPE] = cloudformation.DatastoreType(
        module.service, _cloudformation_caller
    ).handlers()
    provisioners._REPLACING_PROPERTIES[cloudformation.TYPE] = cloudformation.CREATE_ONLY
    tagging._RESOURCE_TAG_COLLECTORS[SERVICE] = module.tagged_resources
    _extract_resource_arns(module)
    _watch_requests(module)
    _watch_decisions(module)
    _serve_control_calls(module)
    return module


def _cloudformation_caller() -> Caller:
    return Caller(responses.get_account_id(), responses.get_region())


def _routes() -> list[tuple[str, re.Pattern[str], str, int, dict[str, str]]]:
    """The packaged model's routes in the emulator's form: its own botocore may know fewer operations."""
    routes = []
    for name, definition in ServiceModel.load().document["operations"].items():
        http = definition["http"]
        pattern, specificity, query = iam_actions._compile_uri(http["requestUri"])
        routes.append((http["method"], pattern, name, specificity + len(query), query))
    return sorted(routes, key=lambda route: -route[3])


def _extract_resource_arns(module: MedicalImaging) -> None:
    original = iam_actions.extract_resource_arn

    def extract_resource_arn(service: str, method: str, path: str, *rest: Json) -> str:
        if service != SERVICE:
            return str(original(service, method, path, *rest))
        _, _, _, region, account = rest
        return module.resource_arn(path, region, account)

    iam_actions.extract_resource_arn = extract_resource_arn


def _watch_requests(module: MedicalImaging) -> None:
    """Note every call of every service, refused ones included, and let injected errors answer in their place."""
    original = app._dispatch_service_request

    async def dispatch(  # noqa: PLR0917 - ministack's signature
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]], request_id: str
    ) -> Json:
        parameters = app._routing_params(method, path, headers, body, query)
        service = router.detect_service(method, path, headers, parameters)
        action = iam_actions.extract_iam_action(service, method, path, headers, body, parameters) or ""
        operation = action.rpartition(":")[2]
        request = b" ".join((unquote(path).encode(), json.dumps(query).encode(), body))
        injection = module.ledger.next_error(service, operation, request) if operation else None
        if injection is not None:
            answer = _injected(module, injection, request_id)
        else:
            answer = await original(method, path, headers, body, query, request_id)
        if operation:
            module.ledger.note(service, operation, answer[0], body, injected=injection is not None)
        return answer

    app._dispatch_service_request = dispatch


def _watch_decisions(module: MedicalImaging) -> None:
    """Note what the policies of an identity decide; those of a resource, which are asked next, are not the caller's."""
    of_identity, of_resource = iam_evaluator.evaluate, iam_evaluator.evaluate_resource_policy
    asks_resource = ContextVar("asks_resource", default=False)

    def evaluate(context: Json, *policies: Json) -> Json:
        result = of_identity(context, *policies)
        if not asks_resource.get():
            module.ledger.note_decision(context.principal_arn, context.action, context.resource_arn, result.decision)
        return result

    def evaluate_resource_policy(*arguments: Json, **more: Json) -> Json:
        token = asks_resource.set(True)
        try:
            return of_resource(*arguments, **more)
        finally:
            asks_resource.reset(token)

    iam_evaluator.evaluate = evaluate
    iam_evaluator.evaluate_resource_policy = evaluate_resource_policy


def _injected(module: MedicalImaging, injection: Injection, request_id: str) -> tuple[int, dict[str, str], bytes]:
    if injection.service == SERVICE:
        answer = module.api.error(ServiceError(injection.error, injection.message))
        return injection.status or answer.status, answer.headers, answer.body
    status, headers, body = iam_actions.access_denied_response(
        injection.service, "", "", request_id, error_code=injection.error, message=injection.message
    )
    # The emulator writes a denial in each service's own protocol, which is all that is wanted of it here.
    return injection.status or (status if injection.error.startswith("AccessDenied") else 400), headers, body


def _serve_control_calls(module: MedicalImaging) -> None:
    original = app.app

    async def application(scope: Json, receive: Json, send: Json) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await original(scope, receive, send)
            return
        await _control(module, scope, receive, send)

    app.app = application


async def _control(module: MedicalImaging, scope: Json, receive: Json, send: Json) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    query = parse_qs(scope.get("query_string", b"").decode())
    status, document = module.ledger.control(scope["method"], scope["path"], query, body)
    content = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
