"""The feature flags that ``cdk init`` writes into cdk.json.

``FEATURE_FLAGS=recommended python -m pytest ...`` runs tests under them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CLI = Path(__file__).parent.parent / "tools" / "node_modules" / "aws-cdk"

REFERENCES = "@aws-cdk/core:defaultCrossStackReferences"
"""How one stack uses what another creates: ``strong`` (exports), ``weak``, or ``both``."""

RECOMMENDED: dict[str, Any] = json.loads(
    (_CLI / "lib" / "init-templates" / ".recommended-feature-flags.json").read_text(encoding="utf-8")
)
