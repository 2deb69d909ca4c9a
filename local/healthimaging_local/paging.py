"""Pages of a list answer: ``maxResults`` items, and a token that says where the next page begins."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from healthimaging_local.errors import ServiceError

_Item = TypeVar("_Item")
_DEFAULT_PAGE = 50


def page(items: Sequence[_Item], request: Mapping[str, Any]) -> tuple[list[_Item], str | None]:
    """The page a request asks for and the token of the next one, None on the last page."""
    start = _position(request.get("nextToken"))
    end = start + int(request.get("maxResults") or _DEFAULT_PAGE)
    token = base64.urlsafe_b64encode(f"from:{end}".encode()).decode() if end < len(items) else None
    return list(items[start:end]), token


def _position(token: str | None) -> int:
    if not token:
        return 0
    try:
        word, number = base64.urlsafe_b64decode(token).decode().split(":")
        position = int(number)
    except (ValueError, UnicodeDecodeError):
        word, position = "", -1
    if word != "from" or position < 0:
        raise ServiceError("ValidationException", "nextToken is not one that this service gave out")
    return position
