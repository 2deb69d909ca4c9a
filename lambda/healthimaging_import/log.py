"""One JSON line a step. Only ids and numbers go in: no S3 key, no line of a result file, no ResponseURL."""

from __future__ import annotations

import json


def line(step: str, **fields: str | float | None) -> None:
    """Write one line to the function's log group."""
    print(json.dumps({"step": step, **fields}, default=str), flush=True)  # noqa: T201 - Lambda logs standard output
