"""Makes the package of the function importable: commands read what it writes with its own code."""

from __future__ import annotations

import sys

from healthimaging_cdk._common.runtime import LAMBDA_ROOT

# At the end: an installed package of the same name goes first.
if str(LAMBDA_ROOT) not in sys.path:
    sys.path.append(str(LAMBDA_ROOT))
