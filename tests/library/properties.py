"""The tests that each construct begins with: as little as it takes, and all that it takes."""

from __future__ import annotations

import inspect
from typing import Any


def every_property(construct: type, **given: Any) -> dict[str, Any]:
    """The arguments, none of which may be missing."""
    arguments = set(inspect.signature(construct.__init__).parameters) - {"self", "scope", "construct_id"}
    assert arguments == set(given)
    return given
