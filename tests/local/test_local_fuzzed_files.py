"""A bad file rejects itself: never the job, never the process, whatever its bytes are."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from healthimaging_local.dicom import parse
from healthimaging_local.inflation import MOST_INFLATED_BYTES
from tests.deployment import P10_FILES
from tests.local.conftest import Imaging

# In the emulator pydicom's warnings are no errors either.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]

GOOD = (P10_FILES / "MR_small.dcm").read_bytes()
# Small ones of different transfer syntaxes, character sets, sequences and encapsulations.
SEEDS = {
    name: (P10_FILES / name).read_bytes()
    for name in (
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "image_dfl.dcm",
        "nested_priv_SQ.dcm",
        "reportsi.dcm",
        "rtplan.dcm",
        "test-SR.dcm",
        "UN_sequence.dcm",
    )
}


def mutate(draw: Any, body: bytes) -> bytes:
    """One to six changes: bytes replaced, taken out, put in, copied to elsewhere, or everything after a place lost.

    Most happen in the first two kilobytes, where the elements are.
    """
    for _ in range(draw(st.integers(1, 6))):
        size = len(body)
        at = draw(st.one_of(st.integers(min(size, 128), min(size, 2048)), st.integers(0, size)))
        kind = draw(st.sampled_from(["replace", "remove", "insert", "copy", "truncate", "length"]))
        if kind == "replace":
            value = draw(st.binary(min_size=1, max_size=8))
            body = body[:at] + value + body[at + len(value) :]
        elif kind == "remove":
            body = body[:at] + body[at + draw(st.integers(1, 64)) :]
        elif kind == "insert":
            body = body[:at] + draw(st.binary(min_size=1, max_size=32)) + body[at:]
        elif kind == "copy":
            begin = draw(st.integers(0, size))
            body = body[:at] + body[begin : begin + draw(st.integers(1, 256))] + body[at:]
        elif kind == "truncate":
            body = body[:at]
        else:  # a length field that leads somewhere else
            body = body[:at] + struct.pack("<I", draw(st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])))
            body += draw(st.binary(max_size=16))
    return body


@st.composite
def damaged(draw: Any) -> bytes:
    return mutate(draw, SEEDS[draw(st.sampled_from(sorted(SEEDS)))])


def import_beside_a_good_one(*bodies: bytes) -> tuple[dict[str, Any], list[str]]:
    """The summary of a job over these and a good file, and the keys it refused."""
    imaging = Imaging()
    imaging.storage.put("source", "in/good.dcm", GOOD)
    for number, body in enumerate(bodies):
        imaging.storage.put("source", f"in/{number}.dcm", body)
    job = imaging.run(imaging.datastore())
    assert "COMPLETED" == job["jobStatus"], job
    summary = imaging.manifest(job)
    refused = []
    if summary["numberOfFilesWithCustomerError"]:
        lines = imaging.result(job, "FAILURE/failure.ndjson").splitlines()
        refused = [json.loads(line)["inputFile"].rpartition("/")[2] for line in lines]
    imported = imaging.result(job, "SUCCESS/success.ndjson")
    assert b"good.dcm" in imported
    return summary, refused


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(bodies=st.lists(damaged(), min_size=1, max_size=8))
def test_damaged_files_are_imported_or_refused_one_by_one(bodies: list[bytes]) -> None:
    summary, refused = import_beside_a_good_one(*bodies)
    assert len(bodies) + 1 == summary["numberOfScannedFiles"]
    assert 0 == summary["numberOfFilesWithServerError"]
    assert summary["numberOfScannedFiles"] == summary["numberOfImportedFiles"] + len(refused)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=400), prefix=st.sampled_from([b"", bytes(128) + b"DICM", GOOD[:400]]))
def test_bytes_that_are_no_file_are_refused(body: bytes, prefix: bytes) -> None:
    summary, refused = import_beside_a_good_one(prefix + body)
    assert (2, 1, ["0.dcm"]) == (summary["numberOfScannedFiles"], summary["numberOfImportedFiles"], refused)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(body=damaged())
def test_an_image_set_of_a_damaged_file_can_be_read_and_searched(body: bytes) -> None:
    """What was imported can be asked for: no answer ends with an error of the server."""
    imaging = Imaging()
    imaging.storage.put("source", "in/0.dcm", body)
    store = imaging.datastore()
    assert "COMPLETED" == imaging.run(store)["jobStatus"]
    for found in imaging.search(store):
        image_set = f"/datastore/{store}/imageSet/{found['imageSetId']}"
        assert 200 == imaging.send("POST", f"{image_set}/getImageSetMetadata", {}).status
        assert 200 == imaging.send("POST", f"{image_set}/getImageSet", {}).status


def dataset(**elements: Any) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2", "1.2.1"
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def written(made: Dataset) -> bytes:
    target = io.BytesIO()
    pydicom.dcmwrite(target, made, enforce_file_format=True)
    return target.getvalue()


def nested_beyond_reason() -> bytes:
    """Sequences in sequences, two thousand deep, of undefined length."""
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return written(dataset()) + opening * 2000


def deflated(megabytes: int) -> bytes:
    """A dataset that begins as any other, and ends with an element of many zeros."""
    made = dataset()
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    body = written(made)
    head = io.BytesIO(body)
    pydicom.filereader.read_preamble(head, force=False)
    pydicom.filereader._read_file_meta_info(head)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    last = struct.pack("<HH2sHI", 0x7FE1, 0x0010, b"UN", 0, megabytes << 20)
    chunks = [packer.compress(zlib.decompress(body[head.tell() :], -zlib.MAX_WBITS) + last)]
    chunks += [packer.compress(bytes(1 << 20)) for _ in range(megabytes)]
    return body[: head.tell()] + b"".join([*chunks, packer.flush()])


def inflates_to_a_thousand_times_its_size() -> bytes:
    return deflated(64)


MEMORY = """
import io, resource, sys
from healthimaging_local.dicom import NotImportableError, json_metadata_datasets, parse

resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
body = sys.stdin.buffer.read()
try:
    print(len(parse(body).attributes) if sys.argv[1] == "p10" else json_metadata_datasets(body, "gzip"))
except NotImportableError as error:
    print(error)
"""


def in_a_gigabyte(kind: str, body: bytes) -> str:
    """What a process that has a gigabyte of memory says to a file."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY, kind],
        input=body, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout.decode().strip()  # fmt: skip


@pytest.mark.long
def test_fails_for_a_file_that_inflates_to_gigabytes() -> None:
    body = deflated(4095)
    assert len(body) < 5 << 20
    refused = f"It inflates to more than {MOST_INFLATED_BYTES} bytes"
    assert f"The file is deflated. {refused}" == in_a_gigabyte("p10", body)
    assert f"The DICOM JSON metadata file is gzipped. {refused}" == in_a_gigabyte("json", gzip.compress(bytes(1 << 30)))
    assert "5" == in_a_gigabyte("p10", deflated(1)), "one that is deflated with measure is read"


@pytest.mark.parametrize("junk", [b"", b"\x00\xff", bytes(64)])
def test_fails_for_a_deflated_file_that_cannot_be_inflated(junk: bytes) -> None:
    """Where the dataset begins is what pydicom takes for it: a command set before it hides nothing."""
    body = deflated(1)
    end = body.index(b"1.2.840.10008.1.2.1.99") + 22
    command = struct.pack("<HHI", 0, 0x0110, 2) + b"\x01\x00"
    for damaged_body in (body[:-20] + junk, body[: end + 40] + junk + body[end + 48 :], body[:end] + command + junk):
        summary, _ = import_beside_a_good_one(damaged_body)
        assert (2, 0) == (summary["numberOfScannedFiles"], summary["numberOfFilesWithServerError"])


def frames_of_one_bit() -> bytes:
    """More frames than bytes."""
    pixels: dict[str, Any] = {"Rows": 1, "Columns": 1, "BitsAllocated": 1, "SamplesPerPixel": 1}
    return written(
        dataset(**pixels, NumberOfFrames=1 << 23, PhotometricInterpretation="MONOCHROME2", PixelData=bytes(1 << 20))
    )


def test_frames_of_less_than_a_byte_are_not_cut_out() -> None:
    file = parse(frames_of_one_bit())
    assert (1, [45312]) == (len(file.frames), [kind[0] for kind, _ in file.warnings])


def many_values() -> bytes:
    return written(dataset(ImageType=["X" * 16] * 3500))


@pytest.mark.parametrize("make", [nested_beyond_reason, many_values, inflates_to_a_thousand_times_its_size])
def test_a_file_made_to_harm_harms_itself_alone(make: Any) -> None:
    summary, _ = import_beside_a_good_one(make())
    assert (2, 0) == (summary["numberOfScannedFiles"], summary["numberOfFilesWithServerError"])
