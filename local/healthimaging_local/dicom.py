"""DICOM P10 files: what an import reads of one, and the DICOM JSON it keeps.

Parsed by pydicom with ``force=False``: a file without the P10 preamble is not a DICOM P10 file, whatever it holds.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pydicom
from pydicom import config
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import UID

from healthimaging_local.inflation import TooLargeError, check_inflated_size, gunzip
from healthimaging_local.pixels import Warned, examine

# An import has to live with values that DICOM does not allow; pydicom would quote them in warnings and in its log.
config.settings.reading_validation_mode = config.IGNORE
config.settings.writing_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

STUDY_INSTANCE_UID = "0020000D"
SERIES_INSTANCE_UID = "0020000E"
SOP_INSTANCE_UID = "00080018"

# What image sets are grouped by (developer guide, "Understanding image sets"), besides the two UIDs.
_STUDY_LEVEL = {
    "00080020": "StudyDate",
    "00080050": "AccessionNumber",
    "00100020": "PatientID",
    "00200010": "StudyID",
}
_SERIES_NUMBER = "00200011"
# The longest values that can be imported (developer guide, "DICOM element constraints").
_LONGEST = {
    "00100010": ("PatientName", 256),
    "00100020": ("PatientID", 256),
    "00100030": ("PatientBirthDate", 18),
    "00100040": ("PatientSex", 16),
    STUDY_INSTANCE_UID: ("StudyInstanceUID", 256),
    "00200010": ("StudyID", 256),
    "00081030": ("StudyDescription", 256),
    "00080050": ("AccessionNumber", 256),
    "00080020": ("StudyDate", 18),
    "00080030": ("StudyTime", 28),
    SOP_INSTANCE_UID: ("SOPInstanceUID", 256),
    SERIES_INSTANCE_UID: ("SeriesInstanceUID", 256),
}
_INVALID_UID_FORMAT = (45570, "INVALID_UID_FORMAT")
_INVALID_DICOM_VALUE_LENGTH = (45571, "INVALID_DICOM_VALUE_LENGTH")
# PS3.5, table 6.2-1.
_LONGEST_OF_VR = {
    "AE": 16,
    "AS": 4,
    "CS": 16,
    "DA": 8,
    "DS": 16,
    "DT": 26,
    "IS": 12,
    "LO": 64,
    "LT": 10240,
    "PN": 64 * 3 + 2,
    "SH": 16,
    "ST": 1024,
    "TM": 16,
}
_BULK = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
_MOST_INLINE_BYTES = 1024


class NotImportableError(Exception):
    """Why one file is rejected; the text goes to failure.ndjson."""


@dataclass(frozen=True)
class ParsedFile:
    """One DICOM P10 file without its bulk data."""

    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    attributes: Mapping[str, dict[str, Any]]
    frames: tuple[bytes, ...] = ()
    warnings: tuple[Warned, ...] = ()

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """The study level values that all instances of an image set share."""
        return identity_of(self.attributes)

    @property
    def series_number(self) -> str:
        """The series level value that they share."""
        return series_number_of(self.attributes)


def identity_of(attributes: Mapping[str, dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    """The study level values by which image sets are grouped."""
    return tuple((name, text_of(attributes, tag)) for tag, name in _STUDY_LEVEL.items())


def series_number_of(attributes: Mapping[str, dict[str, Any]]) -> str:
    """The series level value by which image sets are grouped."""
    return text_of(attributes, _SERIES_NUMBER)


def parse(body: bytes, encoding: str = "") -> ParsedFile:
    """Read one object; raise ``NotImportableError`` for what the service would reject."""
    if "gzip" in encoding.lower():
        raise NotImportableError("The object is stored with Content-Encoding gzip, which cannot be imported")
    try:
        check_inflated_size(body)
        dataset = pydicom.dcmread(io.BytesIO(body), force=False, stop_before_pixels=True)
        attributes = DicomJson(dataset)
        syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    except InvalidDicomError as error:
        raise NotImportableError("The file is not a DICOM P10 file: the DICM preamble is missing") from error
    except TooLargeError as error:
        raise NotImportableError(f"The file is deflated. {error}") from error
    except Exception as error:
        raise NotImportableError(f"The file cannot be read as DICOM P10: {type(error).__name__}") from error
    if not syntax:
        raise NotImportableError("The file meta information lacks TransferSyntaxUID")
    file = _parsed(attributes, str(syntax))
    pixels = examine(body, str(syntax))
    return replace(file, frames=pixels.frames, warnings=(*_element_warnings(dataset), *pixels.warnings))


def _element_warnings(dataset: Dataset) -> Iterator[Warned]:
    """UIDs that are none, and values that are longer than their value representation takes."""
    uids, long = [], []
    for tag in dataset.keys():  # noqa: SIM118 - a dataset iterates over elements
        with contextlib.suppress(Exception):  # an element that cannot be read is not the file's end
            element = dataset[tag]
            values = element.value if isinstance(element.value, MultiValue) else [element.value]
            texts = [str(value).rstrip(" \0") for value in values if value is not None]
            name = element.keyword or f"{int(tag):08X}"
            if element.VR == "UI":
                uids += [name] * any(text and not UID(text).is_valid for text in texts)
            elif element.VR in _LONGEST_OF_VR:
                long += [name] * any(len(text) > _LONGEST_OF_VR[element.VR] for text in texts)
    if uids:
        yield _INVALID_UID_FORMAT, f"Not a valid UID: {', '.join(uids)}"
    if long:
        yield _INVALID_DICOM_VALUE_LENGTH, f"Longer than the value representation takes: {', '.join(long)}"


def _parsed(attributes: Mapping[str, dict[str, Any]], syntax: str) -> ParsedFile:
    uids = {}
    for name, tag in (
        ("SOPInstanceUID", SOP_INSTANCE_UID),
        ("StudyInstanceUID", STUDY_INSTANCE_UID),
        ("SeriesInstanceUID", SERIES_INSTANCE_UID),
    ):
        uids[name] = text_of(attributes, tag)
        if not uids[name]:
            raise NotImportableError(f"Required DICOM element {name} is missing or empty")
    for tag, (name, longest) in _LONGEST.items():
        length = len(text_of(attributes, tag))
        if length > longest:
            raise NotImportableError(f"DICOM element {name} has {length} characters, at most {longest} are allowed")
    return ParsedFile(uids["SOPInstanceUID"], uids["StudyInstanceUID"], uids["SeriesInstanceUID"], syntax, attributes)


class DicomJson(Mapping[str, dict[str, Any]]):
    """DICOM JSON (PS3.18 F.2) of a dataset, element by element when asked: a job needs a dozen of some hundred.

    Bulk data is left out, and so is a value that JSON cannot hold: the file is still good.
    """

    def __init__(self, dataset: Dataset) -> None:
        """Read from ``dataset``, which must not change any more."""
        self._dataset = dataset

    def __getitem__(self, tag: str) -> dict[str, Any]:
        """One element, by its eight hex digits."""
        try:
            element = self._dataset[int(tag, 16)]
            bulk = element.VR in _BULK and len(element.value or b"") > _MOST_INLINE_BYTES
            document: dict[str, Any] = {} if bulk else element.to_json_dict(None, 0)
        except Exception as error:
            raise KeyError(tag) from error
        if bulk:
            raise KeyError(tag)
        return document

    def __iter__(self) -> Iterator[str]:
        """All tags, those of bulk data included."""
        return (f"{int(tag):08X}" for tag in self._dataset.keys())  # noqa: SIM118 - a dataset iterates over elements

    def __len__(self) -> int:
        """How many elements there are."""
        return len(self._dataset)

    def present(self) -> dict[str, dict[str, Any]]:
        """Everything that can be read, by tag."""
        found = {}
        for tag in self:
            with contextlib.suppress(KeyError):
                found[tag] = self[tag]
        return found


def with_json_metadata(file: ParsedFile, elements: Mapping[str, dict[str, Any]]) -> ParsedFile:
    """The file with the elements of a DICOM JSON document in place of its own; its three UIDs stay as they are."""
    kept = {STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID}
    try:
        wanted = {tag: item for tag, item in elements.items() if tag.upper() not in kept}
        changes = DicomJson(Dataset.from_json(wanted)).present()
    except Exception as error:
        raise NotImportableError(f"The DICOM JSON metadata cannot be read: {type(error).__name__}") from error
    attributes = dict(sorted({**present(file.attributes), **changes}.items()))
    return replace(_parsed(attributes, file.transfer_syntax_uid), frames=file.frames, warnings=file.warnings)


def present(attributes: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All elements of an instance that can be written as JSON."""
    return attributes.present() if isinstance(attributes, DicomJson) else dict(attributes)


def json_metadata_datasets(body: bytes, encoding: str = "") -> list[dict[str, dict[str, Any]]]:
    """The datasets of a DICOM JSON metadata file: one object, or a list with one object an instance."""
    try:
        document = json.loads(gunzip(body) if "gzip" in encoding.lower() else body)
    except TooLargeError as error:
        raise NotImportableError(f"The DICOM JSON metadata file is gzipped. {error}") from error
    except (ValueError, RecursionError) as error:
        raise NotImportableError("The DICOM JSON metadata file is not JSON") from error
    datasets = document if isinstance(document, list) else [document]
    if not datasets or not all(map(_is_dicom_json, datasets)):
        raise NotImportableError("The DICOM JSON metadata file holds no DICOM JSON object")
    return datasets


def _is_dicom_json(document: object) -> bool:
    return isinstance(document, dict) and all(
        isinstance(element, dict) and isinstance(element.get("Value", []), list) for element in document.values()
    )


def text_of(attributes: Mapping[str, dict[str, Any]], tag: str) -> str:
    """The first value of an element as text, empty when there is none."""
    values = attributes.get(tag, {}).get("Value") or [""]
    value = values[0]
    if isinstance(value, dict):
        value = value.get("Alphabetic", "")
    return "" if value is None else str(value)


def keyword_attributes(attributes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The elements by keyword, a single value as itself and several as a list; private ones stay under their tag."""
    named: dict[str, Any] = {}
    for tag, element in present(attributes).items():
        values = [
            v.get("Alphabetic") if isinstance(v, dict) and "Alphabetic" in v else v for v in element.get("Value", [])
        ]
        named[keyword_for_tag(tag) or tag] = values[0] if len(values) == 1 else values or None
    return named
