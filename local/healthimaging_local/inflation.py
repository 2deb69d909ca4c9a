"""Deflated files of strangers: how much they inflate to is found out before anything holds it."""

from __future__ import annotations

import gzip
import io
import zlib

from pydicom import filereader
from pydicom.uid import DeflatedExplicitVRLittleEndian

MOST_INFLATED_BYTES = 256 * 1024**2
"""What a deflated dataset, or a gzipped metadata file, may inflate to. AWS documents no limit."""

_CHUNK = 1024**2


class TooLargeError(ValueError):
    """It inflates to more than is allowed."""

    def __init__(self) -> None:
        """Name the limit."""
        super().__init__(f"It inflates to more than {MOST_INFLATED_BYTES} bytes")


def gunzip(body: bytes) -> bytes:
    """Return what was gzipped.

    Raises:
        ValueError: It inflates to too much, or is no gzip.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            content = file.read(MOST_INFLATED_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError("It is no gzip") from error
    if len(content) > MOST_INFLATED_BYTES:
        raise TooLargeError
    return content


def check_inflated_size(body: bytes) -> None:
    """Refuse a P10 file of the deflated transfer syntax whose dataset pydicom should not inflate as a whole.

    Raises:
        ValueError: It inflates to too much, or cannot be inflated.
    """
    stream = io.BytesIO(body)
    filereader.read_preamble(stream, force=False)
    # Exactly what dcmread does before it inflates: a file must not show one beginning here and another one there.
    meta = filereader._read_file_meta_info(stream)  # noqa: SLF001 - pydicom is pinned in the emulator's environment
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    filereader._read_command_set_elements(stream)  # noqa: SLF001 - as above
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    rest, size = stream.read(), 0
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, _CHUNK))
            rest = inflater.unconsumed_tail
            if size > MOST_INFLATED_BYTES:
                raise TooLargeError
    except zlib.error as error:
        raise ValueError("It cannot be inflated") from error
