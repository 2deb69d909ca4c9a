"""The source of an import, counted before a job starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.contract import DEFAULT_INPUT_PREFIX
from healthimaging_import.errors import TerminalError
from healthimaging_import.importing.request import ImportRequest
from healthimaging_import.service_model import Quotas

_PREFIX_PLACEHOLDER = "INPUT_PREFIX"
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""The storage classes whose objects cannot be read before they are restored."""


def upload_command(bucket: str, prefix: str) -> str:
    """Return the command that uploads a folder to the source.

    A prefix that the user chose may name a patient, so a placeholder stands for it. The default names nobody.
    """
    shown = prefix if prefix == DEFAULT_INPUT_PREFIX else _PREFIX_PLACEHOLDER
    return f"aws s3 cp --recursive FOLDER s3://{bucket}/{shown}"


@dataclass
class Survey:
    """What is under the input prefix; ``complete`` is False when listing stopped because it is too much."""

    files: int = 0
    total_bytes: int = 0
    largest: int = 0
    archived: int = 0
    complete: bool = True

    def exceeds(self, quotas: Quotas) -> bool:
        """Whether it is more than one job takes."""
        return self.files > quotas.files or self.total_bytes > quotas.total_bytes or self.largest > quotas.file_bytes

    def check_quotas(self, quotas: Quotas) -> None:
        """Refuse what one job does not take, with the numbers.

        Raises:
            TerminalError: too many files, too many bytes, a file too large, or archived objects.
        """
        counted = "" if self.complete else "at least "
        advice = "import it with BulkDicomImport, which takes any number, or pass quotas= if AWS has raised yours"
        if self.files > quotas.files:
            problem = f"{counted}{self.files} files are under the input prefix, one import job takes {quotas.files}"
        elif self.largest > quotas.file_bytes:
            problem = f"a file under the input prefix has {self.largest} bytes, it may have {quotas.file_bytes}"
            advice = "move it out of the prefix, or pass quotas= if AWS has raised yours"
        elif self.total_bytes > quotas.total_bytes:
            total = f"{counted}{self.total_bytes} bytes"
            problem = f"{total} are under the input prefix, one job takes {quotas.total_bytes}"
        elif self.archived:
            problem = (
                f"{self.archived} of {self.files} objects under the input prefix are in the storage class GLACIER or "
                "DEEP_ARCHIVE, which HealthImaging cannot read"
            )
            advice = "restore them (aws s3api restore-object) or move them out of the prefix, then deploy again"
        else:
            return
        raise TerminalError(f"no job was started: {problem}; {advice}")


def survey(aws: Aws, request: ImportRequest) -> Survey:
    """Count the files under the input prefix, and stop one past what a job takes.

    Folder markers (keys that end in ``/`` and hold nothing) are no files.
    """
    found = Survey()
    owner = {"ExpectedBucketOwner": request.input_owner_account_id} if request.input_owner_account_id else {}
    for files in aws.pages(
        "s3", "ListObjectsV2", _files, purpose="input bucket", if_denied=request.cross_account_advice,
        Bucket=request.input_bucket, Prefix=request.input_prefix, OptionalObjectAttributes=["RestoreStatus"], **owner,
    ):  # fmt: skip
        for size, is_archived in files:
            found.files += 1
            found.total_bytes += size
            found.largest = max(found.largest, size)
            found.archived += is_archived
            if found.exceeds(request.quotas):
                found.complete = False
                return found
    return found


def _files(page: Mapping[str, Any]) -> list[tuple[int, bool]]:
    """Return the size of each file of a page, and whether it is archived."""
    items = page.get("Contents", ())
    return [(int(it["Size"]), _is_archived(it)) for it in items if int(it["Size"]) or not it["Key"].endswith("/")]


def _is_archived(item: Mapping[str, Any]) -> bool:
    restored = item.get("RestoreStatus") or {}
    is_readable = "RestoreExpiryDate" in restored and not restored.get("IsRestoreInProgress")
    return item.get("StorageClass") in _ARCHIVED and not is_readable
