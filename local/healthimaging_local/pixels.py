"""The pixel data of a P10 file: its frames, and what HealthImaging warns of ("HealthImaging warning codes").

Nothing is decoded: frames are cut out of the element, and the first bytes of each are looked at.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets

TRANSCODING_EXCEPTION = (45312, "TRANSCODING_EXCEPTION")
FRAMES_EXTRACTION_FAILURE = (45328, "FRAMES_EXTRACTION_FAILURE")
FRAME_NUMBER_MISMATCH = (45329, "FRAME_NUMBER_MISMATCH")
INVALID_OFFSET_TABLE = (45330, "INVALID_OFFSET_TABLE")
UNSUPPORTED_TRANSFER_SYNTAX = (45344, "UNSUPPORTED_TRANSFER_SYNTAX")

HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
_JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"

_BASE = "1.2.840.10008.1.2"
_NATIVE = frozenset({_BASE, f"{_BASE}.1", f"{_BASE}.1.99", f"{_BASE}.2"})
_JPEG = frozenset(f"{_BASE}.4.{number}" for number in (50, 51, 57, 70, 80, 81))
_JPEG_2000 = frozenset(f"{_BASE}.4.{number}" for number in (90, 91, 92, 93, 201, 202, 203))
_RLE = f"{_BASE}.5"
_VIDEO = frozenset(
    [f"{_BASE}.4.{number}" for number in range(100, 109)] + [f"{_BASE}.4.{number}.1" for number in range(100, 107)]
)
SUPPORTED_TRANSFER_SYNTAXES = _NATIVE | _JPEG | _JPEG_2000 | _VIDEO | {_RLE}
"""The table of the developer guide, "Supported transfer syntaxes"."""
_KEPT = frozenset({f"{_BASE}.4.50", f"{_BASE}.4.91", f"{_BASE}.4.203"}) | _VIDEO
"""Those that the table marks: stored as they are. All others are transcoded."""

_CONTENT_TYPES = {f"{_BASE}.4.50": "image/jpeg", f"{_BASE}.4.91": "image/j2c", f"{_BASE}.4.203": "image/jphc"}
_STARTS = {
    **dict.fromkeys(_JPEG, (b"\xff\xd8",)),
    **dict.fromkeys(_JPEG_2000, (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")),
}
_MOST_RLE_SEGMENTS = 15
_BITS_PER_BYTE = 8
_BITS = (1, 8, 16, 32, 64)

Warned = tuple[tuple[int, str], str]
"""Code and type of a warning, and its text."""


@dataclass(frozen=True)
class Pixels:
    """The frames that could be cut out, and what is wrong with them."""

    frames: tuple[bytes, ...] = ()
    warnings: tuple[Warned, ...] = ()


class _DamagedError(Exception):
    def __init__(self, kind: tuple[int, str], text: str) -> None:
        super().__init__(text)
        self.warning: Warned = (kind, text)


def stored_transfer_syntax(syntax: str, storage_format: str) -> str:
    """The transfer syntax that frames have in a store (``losslessStorageFormat``) when they came in ``syntax``."""
    if syntax in _KEPT or syntax not in SUPPORTED_TRANSFER_SYNTAXES:
        return syntax
    return _JPEG_2000_LOSSLESS if storage_format == "JPEG_2000_LOSSLESS" else HTJ2K_LOSSLESS_RPCL


def content_type(syntax: str) -> str:
    """What GetImageFrame calls a frame that is stored as it came."""
    return _CONTENT_TYPES.get(syntax, "application/octet-stream")


def examine(body: bytes, syntax: str) -> Pixels:
    """Cut the pixel data of a file into frames; whatever is wrong becomes a warning, the file is still good."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(body), force=False, specific_tags=_TAGS)
    except Exception as error:  # noqa: BLE001 - a file of a stranger; its header was read before
        return Pixels(warnings=((FRAMES_EXTRACTION_FAILURE, f"Pixel data cannot be read: {type(error).__name__}"),))
    if "PixelData" not in dataset:
        return Pixels()
    if syntax not in SUPPORTED_TRANSFER_SYNTAXES:
        text = f"Transfer syntax {syntax} is not supported, stored as it is"
        return Pixels((bytes(dataset.PixelData or b""),), ((UNSUPPORTED_TRANSFER_SYNTAX, text),))
    try:
        return Pixels(tuple(_frames(dataset, syntax)))
    except _DamagedError as error:
        return Pixels((bytes(dataset.PixelData or b""),), (error.warning,))
    except Exception as error:  # noqa: BLE001 - as above
        text = f"Frames cannot be taken out of the pixel data: {type(error).__name__}"
        return Pixels(warnings=((FRAMES_EXTRACTION_FAILURE, text),))


_TAGS = [
    "BitsAllocated",
    "Columns",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelData",
    "Rows",
    "SamplesPerPixel",
]


def _number_of_frames(dataset: Dataset) -> int | None:
    """None for an element that is there and cannot be read."""
    try:
        return int(dataset.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        return None


def _frames(dataset: Dataset, syntax: str) -> list[bytes]:
    count = _number_of_frames(dataset)
    content = bytes(dataset.PixelData or b"")
    if syntax in _VIDEO:  # one stream, whatever NumberOfFrames says
        return [b"".join(fragment for _, fragment in _fragments(content)[1])]
    frames = _native(dataset, content, count) if syntax in _NATIVE else _encapsulated(content, count)
    if count is None or len(frames) != count:
        text = f"NumberOfFrames does not match the {len(frames)} frames of the pixel data"
        raise _DamagedError(FRAME_NUMBER_MISMATCH, text)
    for frame in frames:
        _check_start(frame, syntax)
    return frames


def _native(dataset: Dataset, content: bytes, count: int | None) -> list[bytes]:
    try:
        rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
        samples = int(dataset.get("SamplesPerPixel") or 1)
    except (AttributeError, TypeError, ValueError) as error:
        raise _DamagedError(TRANSCODING_EXCEPTION, "An attribute of the pixel data is missing or unreadable") from error
    if bits not in _BITS or rows < 1 or columns < 1 or samples not in {1, 3, 4}:
        raise _DamagedError(TRANSCODING_EXCEPTION, "An attribute of the pixel data has a value that is not allowed")
    if str(dataset.get("PhotometricInterpretation", "")).endswith("_422"):
        samples = 2  # of each two pixels one has no colour
    all_bits = rows * columns * samples * bits
    if all_bits < _BITS_PER_BYTE:  # a file must not have more frames than bytes
        raise _DamagedError(TRANSCODING_EXCEPTION, "An attribute of the pixel data has a value that is not allowed")
    wanted = (all_bits * (count or 1) + _BITS_PER_BYTE - 1) // _BITS_PER_BYTE
    if len(content) < wanted:
        text = f"The pixel data has {len(content)} bytes, its attributes ask for {wanted}"
        raise _DamagedError(FRAMES_EXTRACTION_FAILURE, text)
    size = all_bits // _BITS_PER_BYTE if all_bits % _BITS_PER_BYTE == 0 else 0
    if not size:  # frames of single bits do not end at bytes
        return [content] * (count or 1)
    return [content[start : start + size] for start in range(0, len(content) - size + 1, size)]


def _encapsulated(content: bytes, count: int | None) -> list[bytes]:
    offsets, fragments = _fragments(content)
    if not fragments:
        raise _DamagedError(FRAMES_EXTRACTION_FAILURE, "The pixel data has no fragment")
    if offsets:
        return _by_offsets(fragments, offsets)
    if count == 1:
        return [b"".join(fragment for _, fragment in fragments)]
    return [fragment for _, fragment in fragments]


def _fragments(content: bytes) -> tuple[list[int], list[tuple[int, bytes]]]:
    """The basic offset table, and each fragment with its place as that table counts it."""
    stream = io.BytesIO(content)
    offsets = parse_basic_offsets(stream)
    place, placed = 0, []
    for fragment in generate_fragments(stream):
        placed.append((place, fragment))
        place += 8 + len(fragment)
    return offsets, placed


def _by_offsets(fragments: list[tuple[int, bytes]], offsets: list[int]) -> list[bytes]:
    places = {place for place, _ in fragments}
    if offsets[0] != 0 or sorted(set(offsets)) != offsets or not set(offsets) <= places:
        raise _DamagedError(INVALID_OFFSET_TABLE, "The offset table does not fit the fragments of the pixel data")
    ends = [*offsets[1:], fragments[-1][0] + 1]
    return [
        b"".join(fragment for place, fragment in fragments if begin <= place < end)
        for begin, end in zip(offsets, ends, strict=True)
    ]


def _check_start(frame: bytes, syntax: str) -> None:
    good = True
    if syntax == _RLE:
        good = len(frame) >= 64 and 1 <= int.from_bytes(frame[:4], "little") <= _MOST_RLE_SEGMENTS  # noqa: PLR2004
    elif syntax in _STARTS:
        good = frame.startswith(_STARTS[syntax])
    if not good:
        raise _DamagedError(TRANSCODING_EXCEPTION, "A frame is not encoded as the transfer syntax says")
