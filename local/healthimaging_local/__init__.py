"""A cloud on one machine: the emulator ministack, plus AWS HealthImaging, on 127.0.0.1.

``Cloud`` starts and stops it. The emulator runs in an environment of its own, which is installed at first use.
docs/test-your-own-stack.md shows how to use it, docs/local-cloud.md says what of it is AWS's word and what is a guess.
"""

from healthimaging_local.accounts import Account
from healthimaging_local.cloud import Cloud
from healthimaging_local.connection import Connection
from healthimaging_local.deployments import Deployed
from healthimaging_local.errors import CloudError

__all__ = ["Account", "Cloud", "CloudError", "Connection", "Deployed"]
