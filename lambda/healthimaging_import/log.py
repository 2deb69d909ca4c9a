"""One JSON line a step. Only ids and numbers go in: no S3 key, no line of a result file, no ResponseURL."""

from __future__ import annotations

import json
import re

# To the end: a key may hold blanks, so nobody can tell where it ends.
_KEY = re.compile(r"(s3://[^/]+/).*", re.DOTALL | re.IGNORECASE)


def line(step: str, **fields: str | float | None) -> None:
    """Write one line to the function's log group. A reason names objects for CloudFormation alone: they are cut off."""
    shown = {name: _KEY.sub(r"\1...", value) if isinstance(value, str) else value for name, value in fields.items()}
    print(json.dumps({"step": step, **shown}, default=str), flush=True)  # noqa: T201 - Lambda logs standard output
