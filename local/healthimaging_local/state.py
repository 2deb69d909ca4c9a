"""What the service remembers: data stores, import jobs and image sets, in memory and in plain dataclasses."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from healthimaging_local.ports import Caller


@dataclass
class Settings:
    """How the local HealthImaging behaves; the defaults are AWS's quotas, the times are much shorter than AWS's.

    All of it can be changed while the cloud runs (``PUT /_healthimaging/settings``).
    """

    job_seconds: float = 0.3
    datastore_seconds: float = 0.2
    files_per_job: int = 5_000
    bytes_per_job: int = 10 * 1024**3
    bytes_per_file: int = 10 * 1024**3
    jobs_per_datastore: int = 100
    throttling: bool = True
    """Whether every operation has the rate and the burst of the guide's table (``ratelimit``)."""
    start_rate: float = 0.0
    """StartDICOMImportJob calls per second and account, with or without ``throttling``; 0 is the table's."""
    start_burst: int = 1
    custom_resources_at_once: bool = False
    """Whether CloudFormation creates all custom resources of a new stack at once that wait for nothing more."""
    concurrent_executions: int = 0
    """How many invocations of functions run at once in an account and Region; 0 is what the machine bears."""
    stack_tags_reach_stores: bool = False
    """Whether another tag of a stack replaces its stores. A new store has the tags of its stack in any case."""
    image_set_seconds: float = 0.0
    """How long DeleteImageSet takes: the image set is LOCKED and DELETING meanwhile."""
    deleted_image_set_seconds: float = 0.0
    """How long GetImageSet answers DELETED before it answers ResourceNotFoundException; 0 is for ever."""


@dataclass
class Instance:
    """One SOP instance in an image set; ``attributes`` is its DICOM JSON without bulk data."""

    sop_instance_uid: str
    attributes: Mapping[str, dict[str, Any]]
    transfer_syntax_uid: str = ""
    frames: tuple[bytes, ...] = ()


@dataclass
class ImageSet:
    """The instances of one series that agree on study and series number."""

    id: str
    arn: str
    study_instance_uid: str
    series_instance_uid: str
    identity: tuple[tuple[str, str], ...]
    series_number: str
    is_primary: bool
    created_at: float
    updated_at: float
    version: int = 1
    workflow_status: str = "CREATED"
    deleted_at: float | None = None
    """When the deletion takes effect, which can be in the future."""
    instances: dict[str, Instance] = field(default_factory=dict)
    versions: list[tuple[int, float, str]] = field(default_factory=list)
    contents: dict[int, dict[str, Instance]] = field(default_factory=dict)
    """The instances of earlier versions."""

    @property
    def group(self) -> tuple[str, str, str]:
        """What of its series decides about where an instance belongs."""
        return (self.study_instance_uid, self.series_instance_uid, self.series_number)

    def content(self, version: int) -> dict[str, Instance]:
        """The instances of a version, the latest one included."""
        return self.contents.get(version, self.instances)

    def begin_version(self, status: str, now: float) -> None:
        """Keep the instances as they are under the number they have, and go on with the next one."""
        self.contents[self.version] = dict(self.instances)
        self.version += 1
        self.updated_at = now
        self.workflow_status = status
        self.versions.append((self.version, now, status))

    def is_deleting(self, now: float) -> bool:
        """Whether the deletion was asked for and has not taken effect yet."""
        return self.deleted_at is not None and now < self.deleted_at


@dataclass
class ImportJob:
    """One StartDICOMImportJob and what became of it."""

    id: str
    request: dict[str, object]
    caller: Caller
    submitted_at: float
    output_s3_uri: str
    status: str = "SUBMITTED"
    ended_at: float | None = None
    message: str = ""

    @property
    def name(self) -> str:
        """The job's name; a job without one is called by its id (a guess: AWS requires it in the answer only)."""
        return str(self.request.get("jobName") or self.id)

    @property
    def running(self) -> bool:
        """Whether the job still holds one of the data store's slots."""
        return self.status in ("SUBMITTED", "IN_PROGRESS")


@dataclass
class Datastore:
    """One data store with its jobs, image sets and tags."""

    id: str
    arn: str
    name: str
    caller: Caller
    created_at: float
    active_at: float
    kms_key_arn: str = ""
    lambda_authorizer_arn: str = ""
    lossless_storage_format: str = ""
    deleted_at: float | None = None
    gone_at: float | None = None
    jobs: dict[str, ImportJob] = field(default_factory=dict)
    image_sets: dict[str, ImageSet] = field(default_factory=dict)
    tokens: dict[str, ImportJob] = field(default_factory=dict)

    def status(self, now: float) -> str:
        """CREATING, ACTIVE or DELETING: a data store changes by the clock, no thread is needed for it."""
        if self.deleted_at is not None:
            return "DELETING"
        return "ACTIVE" if now >= self.active_at else "CREATING"

    def live_image_sets(self) -> list[ImageSet]:
        """The image sets that were not deleted, oldest first."""
        return [image_set for image_set in self.image_sets.values() if image_set.deleted_at is None]


class State:
    """Everything the service knows. Hold ``lock`` around any change; it may be taken twice by one thread."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Begin with nothing."""
        self.settings = settings or Settings()
        self.lock = threading.RLock()
        self.datastores: dict[str, Datastore] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.create_tokens: dict[tuple[str, str, str], tuple[dict[str, object], str]] = {}
        self._numbers: dict[str, int] = {}

    def reset(self) -> None:
        """Forget everything but the settings; ids start over."""
        with self.lock:
            self.datastores.clear()
            self.tags.clear()
            self.create_tokens.clear()
            self._numbers.clear()

    def new_id(self, kind: str, caller: Caller) -> str:
        """An id of 32 hex digits, the same in every run for the n-th resource of a kind."""
        with self.lock:
            scope = f"{kind}/{caller.account}/{caller.region}"
            number = self._numbers.get(scope, 0) + 1
            self._numbers[scope] = number
            return hashlib.sha256(f"{scope}/{number}".encode()).hexdigest()[:32]

    @staticmethod
    def now() -> float:
        """The time in seconds, rounded to the millisecond that AWS answers with."""
        return round(time.time(), 3)
