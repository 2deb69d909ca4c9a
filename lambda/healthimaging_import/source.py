"""The source of an import: looked at before a job starts, and unpacked first when it is a zip of local files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from healthimaging_import.faults import explained
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.request import Asset, ImportRequest
from healthimaging_import.rules import Quotas

_DAMAGED = "the zip of local files is damaged, encrypted or compressed in an unknown way; build the asset again"
_READ_AHEAD = 4 * 1024**2


@dataclass(frozen=True)
class Survey:
    """What lies under the input prefix; ``complete`` is False when listing stopped because it is too much."""

    files: int = 0
    total_bytes: int = 0
    largest: int = 0
    complete: bool = True

    @property
    def empty(self) -> bool:
        """Whether there is nothing to import."""
        return self.files == 0

    def refuse_beyond(self, quotas: Quotas) -> None:
        """Refuse what one job does not take, with the numbers.

        Raises:
            Refused: too many files, too many bytes, or a file too large.
        """
        counted = "" if self.complete else "at least "
        if self.files > quotas.files:
            msg = f"{counted}{self.files} files lie under the input prefix, one import job takes {quotas.files}"
        elif self.largest > quotas.file_bytes:
            msg = f"a file of {self.largest} bytes lies under the input prefix, one file may have {quotas.file_bytes}"
        elif self.total_bytes > quotas.total_bytes:
            msg = f"{counted}{self.total_bytes} bytes lie under the input prefix, one job takes {quotas.total_bytes}"
        else:
            return
        advice = "split the source by prefix into several imports, or pass quotas= if AWS has raised yours"
        raise Refused(f"no job was started: {msg}; {advice}")


def survey(s3: Any, request: ImportRequest, *, settling: bool = False) -> Survey:  # noqa: ANN401
    """Count the files under the input prefix, and stop one past what a job takes.

    Folder markers (keys that end in ``/`` and hold nothing) are no files.
    """
    quotas = request.quotas
    files = total = largest = 0
    arguments = {"Bucket": request.input_bucket, "Prefix": request.input_prefix}
    if request.input_owner_account_id:
        arguments["ExpectedBucketOwner"] = request.input_owner_account_id
    with explained("s3", "s3:ListBucket (input bucket)", settling=settling, if_denied=request.others_to_ask):
        for page in s3.get_paginator("list_objects_v2").paginate(**arguments):
            for item in page.get("Contents", ()):
                size = int(item["Size"])
                if size == 0 and item["Key"].endswith("/"):
                    continue
                files += 1
                total += size
                largest = max(largest, size)
                if files > quotas.files or total > quotas.total_bytes or largest > quotas.file_bytes:
                    return Survey(files, total, largest, complete=False)
    return Survey(files, total, largest)


def unpack(
    s3: Any,  # noqa: ANN401 - boto3 clients are made at run time
    request: ImportRequest,
    first: int,
    time_left: Callable[[], float],
    *,
    settling: bool = False,
) -> int | None:
    """Copy the members of the asset's zip under the input prefix, from number ``first`` on.

    Reads the zip by range, so neither memory nor disk bounds its size. Writing a member again changes nothing.

    Args:
        s3: an S3 client.
        request: the import, with an asset.
        first: how many members are done.
        time_left: answers the seconds this invocation may still use.
        settling: whether IAM may still be catching up with the role.

    Returns:
        None when all members are there, else the number of the member to go on with.

    Raises:
        Refused: the zip cannot be read, or a name in it leaves its folder or is that of another member.
    """
    asset = request.asset
    if asset is None:
        return None
    file = _RangedObject(s3, asset, settling=settling)
    with _unzipping(file):
        archive = zipfile.ZipFile(io.BufferedReader(file))
    members = [member for member in archive.infolist() if not member.is_dir()]
    keys = [request.input_prefix + _relative(member.filename) for member in members]
    if len(set(keys)) < len(keys):
        raise Refused("two files in the zip of local files have the same name; rename one and build the asset again")
    for number, member in enumerate(members[first:], start=first):
        if time_left() <= 0:
            return number
        with _unzipping(file):
            body = archive.open(member)
        with body, explained("s3", "s3:PutObject (input bucket)", settling=settling):
            s3.upload_fileobj(_Stream(body, file), request.input_bucket, keys[number])
    return None


@contextmanager
def _unzipping(file: _RangedObject) -> Iterator[None]:
    """Tell a zip that cannot be read from one that S3 did not hand over."""
    try:
        yield
    except Exception:  # noqa: BLE001 - zipfile and what it decompresses with raise some ten kinds, with names in them
        if file.failure:
            raise file.failure from None
        raise Refused(_DAMAGED) from None


def _relative(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/"):
        raise Refused("a name in the zip of local files leaves its folder; build the asset again")
    return "/".join(parts)


class _Stream:
    """A file that can only be read on: one that can seek is read twice, once to find its end."""

    def __init__(self, member: IO[bytes], file: _RangedObject) -> None:
        self._member, self._file = member, file

    def read(self, size: int = -1) -> bytes:
        with _unzipping(self._file):
            return self._member.read(size)


class _RangedObject(io.RawIOBase):
    """An S3 object as a file that can be read from anywhere, by ranged requests of a few MiB that are kept."""

    def __init__(self, s3: Any, asset: Asset, *, settling: bool) -> None:  # noqa: ANN401
        super().__init__()
        self._s3, self._place, self._settling = s3, {"Bucket": asset.bucket, "Key": asset.key}, settling
        with self._explained():
            self._size = int(s3.head_object(**self._place)["ContentLength"])
        self.failure: Refused | TryLater | None = None
        """What a read failed with: zipfile takes a lost connection for the end of a broken zip."""
        self._position = 0
        self._window_at = 0
        self._window = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer, which typing cannot name before 3.12
        begin = self._position - self._window_at
        if not 0 <= begin < len(self._window):
            if self._position >= self._size:
                return 0
            self._fetch(max(len(buffer), _READ_AHEAD))
            begin = 0
        data = self._window[begin : begin + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _fetch(self, wanted: int) -> None:
        last = min(self._position + wanted, self._size) - 1
        try:
            with self._explained():
                answer = self._s3.get_object(**self._place, Range=f"bytes={self._position}-{last}")
                self._window, self._window_at = answer["Body"].read(), self._position
        except (Refused, TryLater) as failure:
            self.failure = failure
            raise

    def _explained(self) -> AbstractContextManager[None]:
        return explained("s3", "s3:GetObject (asset)", settling=self._settling)
