"""Local files: the zip that CDK uploads, unpacked under the input prefix before the import."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.errors import StepError, TerminalError
from healthimaging_import.importing.request import Asset, ImportRequest

_DAMAGED = "the zip of local files is damaged, encrypted or compressed in an unknown way; build the asset again"
_READ_AHEAD = 4 * 1024**2


def unpack(aws: Aws, request: ImportRequest, first: int, time_left: Callable[[], float]) -> int | None:
    """Copy the members of the asset's zip under the input prefix, from number ``first`` on.

    Reads the zip by range, so neither memory nor disk bounds its size. Writing a member again changes nothing.

    Returns:
        None when all members are there, else the number of the member to go on with.

    Raises:
        TerminalError: the zip cannot be read, or a name in it leaves its folder or is that of another member.
    """
    if request.asset is None:
        return None
    file = _RangedObject(aws, request.asset)
    with _unzipping():
        archive = zipfile.ZipFile(io.BufferedReader(file, _READ_AHEAD))
    members = [member for member in archive.infolist() if not member.is_dir()]
    keys = [request.input_prefix + _relative(member.filename) for member in members]
    if len(set(keys)) < len(keys):
        raise TerminalError(
            "two files in the zip of local files have the same name; rename one and build the asset again"
        )
    for number, member in enumerate(members[first:], start=first):
        if time_left() <= 0:
            return number
        with _unzipping():
            body = archive.open(member)
        with body:
            aws.call(
                "s3", "UploadFileobj", bool, purpose="input bucket",
                Fileobj=_Stream(body), Bucket=request.input_bucket, Key=keys[number],
            )  # fmt: skip
    return None


@contextmanager
def _unzipping() -> Iterator[None]:
    """Tell a zip that cannot be read from one that S3 did not hand over."""
    try:
        yield
    except StepError:
        raise
    except Exception:  # noqa: BLE001 - zipfile and what it decompresses with raise some ten kinds, with names in them
        raise TerminalError(_DAMAGED) from None


def _relative(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/"):
        raise TerminalError("a name in the zip of local files leaves its folder; build the asset again")
    return "/".join(parts)


class _Stream:
    """A file that can only be read on: one that can seek is read twice, once to find its end."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member

    def read(self, size: int = -1) -> bytes:
        with _unzipping():
            return self._member.read(size)


class _RangedObject(io.RawIOBase):
    """An S3 object as a file that can be read from anywhere: each read is a ranged request."""

    def __init__(self, aws: Aws, asset: Asset) -> None:
        super().__init__()
        self._aws, self._object = aws, {"Bucket": asset.bucket, "Key": asset.key}
        self._size = aws.call("s3", "HeadObject", lambda it: int(it["ContentLength"]), purpose="asset", **self._object)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer, which typing cannot name before 3.12
        end = min(self._position + len(buffer), self._size)
        if self._position >= end:
            return 0
        data = self._aws.call(
            "s3", "GetObject", lambda answer: bytes(answer["Body"].read()), purpose="asset",
            Range=f"bytes={self._position}-{end - 1}", **self._object,
        )  # fmt: skip
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
