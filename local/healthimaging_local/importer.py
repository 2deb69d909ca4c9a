"""One import job from SUBMITTED to COMPLETED or FAILED.

Everything in S3 is done as the data-access role: what the role may not do, the job cannot do either.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from healthimaging_local.dicom import NotImportableError, ParsedFile, parse, with_json_metadata
from healthimaging_local.errors import JobFailedError, StorageError
from healthimaging_local.events import Announcer
from healthimaging_local.metadata import MetadataFiles
from healthimaging_local.outcome import Outcome, write_outcome
from healthimaging_local.ports import ObjectStorage, Permissions, StoredObject
from healthimaging_local.state import Datastore, ImageSet, ImportJob, Instance, State

_OUTSIDE_A_MESSAGE = re.compile(r"[^\w -:`]")
_LONGEST_MESSAGE = 2048
_READING_BEGINS, _READING_ENDS = 0.25, 0.75


@dataclass
class _Run:
    """What one job has at hand while it runs."""

    datastore: Datastore
    job: ImportJob
    storage: ObjectStorage
    bucket: str
    prefix: str
    owner: str
    outcome: Outcome = field(default_factory=Outcome)
    touched: dict[str, ImageSet] = field(default_factory=dict)
    created: set[str] = field(default_factory=set)


class _JobClock:
    """Spreads the work of a job over the seconds that it takes."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = time.monotonic()

    def wait_until(self, part: float) -> None:
        """Sleep until ``part`` (0 to 1) of the job's time is over."""
        time.sleep(max(0.0, self._began + self._seconds * part - time.monotonic()))


class Importer:
    """Runs jobs, each in the thread that calls ``run``."""

    def __init__(self, state: State, permissions: Permissions, announcer: Announcer) -> None:
        """Change image sets in ``state``, reach S3 through ``permissions``."""
        self._state = state
        self._permissions = permissions
        self._announcer = announcer

    def run(self, datastore: Datastore, job: ImportJob) -> None:
        """Run one job to its end. Every exception ends it as FAILED: a job must never hang IN_PROGRESS.

        It is SUBMITTED for a quarter of ``job_seconds``, lists the input then, reads the files during the next half
        and writes the results at the end: a right that is taken away in between is missed. A failed job takes as long.
        """
        clock = _JobClock(self._state.settings.job_seconds)
        clock.wait_until(_READING_BEGINS)
        self._change(datastore, job, "IN_PROGRESS")
        try:
            if datastore.kms_key_arn:
                self._permissions.check_granted_key(job.caller, datastore.kms_key_arn)
            run = self._begin(datastore, job)
            self._import(run, clock)
            clock.wait_until(1)
            write_outcome(run.storage, job, run.outcome)
        except Exception as error:  # noqa: BLE001 - see above
            clock.wait_until(1)
            self._change(datastore, job, "FAILED", _reason(error))
            return
        for image_set_id, image_set in run.touched.items():
            what = "created" if image_set_id in run.created else "updated"
            self._announcer.image_set(datastore, image_set, what)
        self._change(datastore, job, "COMPLETED")

    def _change(self, datastore: Datastore, job: ImportJob, status: str, message: str = "") -> None:
        with self._state.lock:
            # The model's pattern for a message leaves out some characters that S3's texts hold.
            job.message = _OUTSIDE_A_MESSAGE.sub(" ", message)[:_LONGEST_MESSAGE]
            job.status = status
            if status in ("COMPLETED", "FAILED"):
                job.ended_at = self._state.now()
        self._announcer.job(datastore, job)

    def _begin(self, datastore: Datastore, job: ImportJob) -> _Run:
        bucket, prefix = split_s3_uri(str(job.request["inputS3Uri"]))
        storage = self._permissions.storage_as(job.caller, str(job.request["dataAccessRoleArn"]))
        owner = str(job.request.get("inputOwnerAccountId") or job.caller.account)
        return _Run(datastore, job, storage, bucket, prefix, owner)

    def _import(self, run: _Run, clock: _JobClock) -> None:
        objects = list(self._checked(run))
        metadata = MetadataFiles(run.storage, run.bucket, run.prefix, run.owner, run.job.request)
        for number, stored in enumerate(objects, start=1):
            clock.wait_until(_READING_BEGINS + (_READING_ENDS - _READING_BEGINS) * number / len(objects))
            if metadata.names(stored.key):
                continue
            run.outcome.scanned += 1
            try:
                file = self._file(run, stored, metadata)
            except NotImportableError as error:
                run.outcome.fail(stored.key, str(error))
                continue
            image_set = self._store(run, file)
            run.outcome.succeed(stored.key, image_set, file)

    def _checked(self, run: _Run) -> Iterator[StoredObject]:
        """Every object under the prefix, nested folders included, until a quota says no."""
        settings = self._state.settings
        count = size = 0
        for stored in run.storage.objects(run.bucket, run.prefix, run.owner):
            if stored.size == 0 and stored.key.endswith("/"):
                continue
            count += 1
            size += stored.size
            if count > settings.files_per_job:
                raise JobFailedError(
                    f"FILE_COUNTS_LIMIT: more than {settings.files_per_job} files under the input prefix"
                )
            if size > settings.bytes_per_job:
                raise JobFailedError(
                    f"FILE_SIZE_LIMIT: more than {settings.bytes_per_job} bytes under the input prefix"
                )
            yield stored

    def _file(self, run: _Run, stored: StoredObject, metadata: MetadataFiles) -> ParsedFile:
        limit = self._state.settings.bytes_per_file
        if stored.size > limit:
            raise NotImportableError(f"The file has {stored.size} bytes, at most {limit} are allowed")
        content = run.storage.read(run.bucket, stored.key, run.owner)
        file = parse(content.body, content.encoding)
        elements = metadata.elements_for(file)
        return with_json_metadata(file, elements) if elements else file

    def _store(self, run: _Run, file: ParsedFile) -> ImageSet:
        with self._state.lock:
            image_set = self._image_set_for(run, file)
            image_set.instances[file.sop_instance_uid] = Instance(
                file.sop_instance_uid, file.attributes, file.transfer_syntax_uid, file.frames
            )
            return image_set

    def _image_set_for(self, run: _Run, file: ParsedFile) -> ImageSet:
        """The image set of the file's series, a new one or a new version of the one there is.

        The first study level values of a study are its primary ones, and so is the first number of a series; what
        contradicts them goes to non-primary image sets (developer guide, "Understanding image sets").
        """
        of_study = [s for s in run.datastore.live_image_sets() if s.study_instance_uid == file.study_instance_uid]
        of_series = [s for s in of_study if s.series_instance_uid == file.series_instance_uid]
        identities = [s.identity for s in of_study if s.is_primary]
        numbers = [s.series_number for s in of_series if s.is_primary]
        is_primary = identities[:1] in ([], [file.identity]) and numbers[:1] in ([], [file.series_number])
        for image_set in of_series:
            if (image_set.identity, image_set.series_number) == (file.identity, file.series_number):
                return self._touched(run, image_set)
        return self._new_image_set(run, file, is_primary=is_primary)

    def _touched(self, run: _Run, image_set: ImageSet) -> ImageSet:
        """One new version for each job that changes an image set, however many instances it brings."""
        if image_set.id not in run.touched:
            image_set.begin_version("UPDATED", self._state.now())
            run.touched[image_set.id] = image_set
        return image_set

    def _new_image_set(self, run: _Run, file: ParsedFile, *, is_primary: bool) -> ImageSet:
        now = self._state.now()
        image_set_id = self._state.new_id("imageset", run.job.caller)
        image_set = ImageSet(
            id=image_set_id,
            arn=f"{run.datastore.arn}/imageset/{image_set_id}",
            study_instance_uid=file.study_instance_uid,
            series_instance_uid=file.series_instance_uid,
            identity=file.identity,
            series_number=file.series_number,
            is_primary=is_primary,
            created_at=now,
            updated_at=now,
            versions=[(1, now, "CREATED")],
        )
        run.datastore.image_sets[image_set_id] = image_set
        run.touched[image_set_id] = image_set
        run.created.add(image_set_id)
        return image_set


def _reason(error: Exception) -> str:
    if isinstance(error, JobFailedError):
        return str(error)
    if isinstance(error, StorageError):
        return f"{error.code}: {error.message}"
    return f"Internal error: {type(error).__name__}: {error}"


def split_s3_uri(uri: str) -> tuple[str, str]:
    """The bucket and the key prefix of an S3 URI."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, prefix
