"""A cloud on one machine: the emulator ministack, plus AWS HealthImaging, on 127.0.0.1.

``Cloud`` starts and stops it and needs nothing but the standard library. Everything else runs inside the cloud's own
virtual environment. docs/local-cloud.md says what of it is AWS's word and what is a guess.
"""

from healthimaging_local.cloud import Cloud, CloudError

__all__ = ["Cloud", "CloudError"]
