"""One JSON line a step. Only ids and numbers go in: no S3 key, no line of a result file, no ResponseURL."""

from __future__ import annotations

import json
import logging
import re

# To the end: a key may hold blanks, so where it ends is not known.
_OBJECT_KEY = re.compile(r"(s3://[^/]+/).*", re.DOTALL | re.IGNORECASE)

# What libraries write about a request that failed holds its URL, and so an object's key.
for _library in ("boto3", "botocore", "s3transfer", "urllib3"):
    logging.getLogger(_library).addHandler(logging.NullHandler())
    logging.getLogger(_library).propagate = False


def line(step: str, **fields: str | float | None) -> None:
    """Write one line to the function's log group. A reason names objects for CloudFormation alone: they are cut off."""
    shown = {
        name: _OBJECT_KEY.sub(r"\1...", value) if isinstance(value, str) else value for name, value in fields.items()
    }
    print(json.dumps({"step": step, **shown}, default=str), flush=True)  # noqa: T201 - Lambda logs standard output
