"""What of a DICOM file is imported, grouped and warned of: the developer guide's tables, and files that are damaged."""

from __future__ import annotations

import io
import json
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate

from healthimaging_local.dicom import NotImportableError, ParsedFile, parse
from healthimaging_local.pixels import SUPPORTED_TRANSFER_SYNTAXES
from tests.local.conftest import FILES
from tests.local.test_local_imports import changed, lines

# The files are made with values that pydicom warns of.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CT = "CT_small.dcm"


JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG = b"\xff\xd8\xff\xe0 frame \xff\xd9"


def warned(content: bytes) -> list[int]:
    """The codes of the warnings that a file is imported with."""
    return [code for (code, _), _ in parse(content).warnings]


def rewritten(content: bytes, change: Any) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content))
    change(dataset)
    target = io.BytesIO()
    pydicom.dcmwrite(target, dataset)
    return target.getvalue()


@pytest.mark.parametrize("element", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("uid", ["1.2.826.0.1.3680043.8.498.05", "1.2.3..4", "1." + "2" * 80])
def test_an_invalid_uid_is_imported_with_a_warning(imaging: Any, sample: Any, element: str, uid: str) -> None:
    imaging.storage.put("source", "in/1.dcm", changed(sample(CT), **{element: uid}))
    store = imaging.datastore()
    job = imaging.run(store)
    (line,) = lines(imaging, job, "WARNING/warning.ndjson")
    (warning,) = line["importResponse"]["warnings"]
    assert (45570, "INVALID_UID_FORMAT", 1) == (
        warning["warning_reason_code"],
        warning["type"],
        len(imaging.search(store)),
    )


def test_fails_for_a_uid_that_is_missing(sample: Any) -> None:
    with pytest.raises(NotImportableError, match="SeriesInstanceUID is missing or empty"):
        parse(changed(sample(CT), SeriesInstanceUID=""))


@pytest.mark.parametrize(
    ("element", "value", "image_sets"),
    [
        ("StudyDate", "20010101", [True, False]),
        ("AccessionNumber", "other", [True, False]),
        ("PatientID", "other", [True, False]),
        ("StudyID", "other", [True, False]),
        ("SeriesNumber", "77", [True, False]),
        ("StudyInstanceUID", "1.2.3", [True, True]),
        ("SeriesInstanceUID", "1.2.3", [True, True]),
        ("PatientName", "Other^Name", [True]),
        ("PatientBirthDate", "20010101", [True]),
        ("PatientSex", "O", [True]),
        ("StudyTime", "010203", [True]),
        ("StudyDescription", "other", [True]),
    ],
)
def test_image_sets_are_grouped_by_the_elements_of_the_guide(
    imaging: Any, sample: Any, element: str, value: str, image_sets: list[bool]
) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    imaging.storage.put("source", "in/2.dcm", changed(sample(CT), SOPInstanceUID="1.2.3", **{element: value}))
    job = imaging.run(imaging.datastore())
    assert image_sets == [item["isPrimary"] for item in imaging.manifest(job)["imageSetsSummary"]]


def test_the_transfer_syntaxes_of_the_guide_are_supported() -> None:
    base = "1.2.840.10008.1.2"
    assert 34 == len(SUPPORTED_TRANSFER_SYNTAXES)
    assert {base, f"{base}.1.99", f"{base}.5", f"{base}.4.51", f"{base}.4.57"} <= SUPPORTED_TRANSFER_SYNTAXES
    assert {f"{base}.4.53", f"{base}.4.55", f"{base}.1.98", f"{base}.4.94"}.isdisjoint(SUPPORTED_TRANSFER_SYNTAXES)


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55", "1.2.840.10008.1.2.1.98", "1.2.3"]
)
def test_another_transfer_syntax_is_stored_as_it_is_with_a_warning(sample: Any, syntax: str) -> None:
    assert [45344] == warned(encapsulated(sample(CT), [JPEG], syntax=syntax))


def test_a_value_longer_than_its_representation_takes_is_a_warning(sample: Any) -> None:
    assert [45571] == warned(changed(sample(CT), StudyDescription="x" * 65))
    assert [] == warned(changed(sample(CT), StudyDescription="x" * 64))


@pytest.mark.parametrize(
    ("element", "longest"),
    [
        ("PatientName", 256),
        ("PatientID", 256),
        ("PatientSex", 16),
        ("StudyID", 256),
        ("StudyDescription", 256),
        ("AccessionNumber", 256),
    ],
)
def test_fails_for_a_value_longer_than_the_guide_allows(sample: Any, element: str, longest: int) -> None:
    parse(changed(sample(CT), **{element: "X" * longest}))
    with pytest.raises(NotImportableError, match=f"{element} has {longest + 1} characters"):
        parse(changed(sample(CT), **{element: "X" * (longest + 1)}))


def encapsulated(
    content: bytes, frames: list[bytes], *, number: Any = None, table: bool = True, syntax: str = JPEG_BASELINE
) -> bytes:
    def change(dataset: Any) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.NumberOfFrames = len(frames) if number is None else number
        dataset.PixelData = encapsulate(frames, has_bot=table)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True

    return rewritten(content, change)


def test_damaged_pixel_data_is_imported_with_the_warning_of_the_guide(sample: Any) -> None:
    content = sample(CT)

    def without_a_row(dataset: Any) -> None:
        dataset.PixelData = dataset.PixelData[:-256]

    def with_odd_bits(dataset: Any) -> None:
        dataset.BitsAllocated = 13

    def without_columns(dataset: Any) -> None:
        del dataset.Columns

    assert [] == warned(content)
    assert [45328] == warned(rewritten(content, without_a_row))
    assert [45312] == warned(rewritten(content, with_odd_bits))
    assert [45312] == warned(rewritten(content, without_columns))
    assert [] == warned(encapsulated(content, [JPEG] * 3))
    assert [45329] == warned(encapsulated(content, [JPEG] * 3, number=4))
    assert [45329] == warned(encapsulated(content, [JPEG] * 3, number=2, table=False))
    assert [45312] == warned(encapsulated(content, [JPEG, b"no JPEG at all"]))
    shifted = encapsulated(content, [JPEG] * 3).replace(
        b"\xfe\xff\x00\xe0\x0c\x00\x00\x00\x00\x00\x00\x00", b"\xfe\xff\x00\xe0\x0c\x00\x00\x00\x04\x00\x00\x00"
    )
    assert [45330] == warned(shifted)


def test_a_number_of_frames_that_cannot_be_read_does_not_reject_the_file() -> None:
    content = (FILES / "badVR.dcm").read_bytes()
    assert [45329] == warned(content)


def test_an_image_is_told_in_the_answers_only_as_the_model_allows(imaging: Any, sample: Any) -> None:
    content = changed(sample(CT), StudyInstanceUID="a.b", BodyPartExamined="B" * 129, Modality="M" * 33)
    imaging.storage.put("source", "in/1.dcm", content)
    store = imaging.datastore()
    imaging.run(store)
    (found,) = imaging.search(store)
    assert {"DICOMStudyInstanceUID", "DICOMSeriesBodyPart", "DICOMSeriesModality"}.isdisjoint(found["DICOMTags"])
    assert "DICOMSeriesInstanceUID" in found["DICOMTags"]


@pytest.mark.slow
@settings(max_examples=150)
@given(data=st.data())
def test_a_mutated_file_rejects_itself_at_most(data: st.DataObject) -> None:
    """Bytes are changed, left out and doubled: a file is either imported or refused in words."""
    content = bytearray(
        (FILES / data.draw(st.sampled_from([CT, "SC_rgb_rle_2frame.dcm", "JPEG2000.dcm"]))).read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["change", "cut", "double"])):
            case "change":
                content[place] = data.draw(st.integers(0, 255))
            case "cut":
                del content[place : place + data.draw(st.integers(1, 64))]
            case _:
                content[place:place] = content[place : place + data.draw(st.integers(1, 64))]
        content = content or bytearray(b"\0")
    try:
        file = parse(bytes(content))
    except NotImportableError:
        return
    assert isinstance(file, ParsedFile)
    json.dumps([file.identity, file.series_number, [text for _, text in file.warnings]])
