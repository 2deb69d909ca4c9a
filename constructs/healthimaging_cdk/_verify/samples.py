"""Sample files: DICOM P10 of nobody, the same bytes on every machine."""

from __future__ import annotations

import hashlib
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

_EDGE = 8


def p10_file(study: str, instance: int = 1) -> bytes:
    """Return one small CT image of a study of that name."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = _uid(study, "series", str(instance))
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID = _uid(study)
    image.SeriesInstanceUID = _uid(study, "series")
    image.PatientName, image.PatientID = "Sample^File", "SAMPLE"
    image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20260101", "120000", "1", ""
    image.Modality, image.SeriesNumber, image.InstanceNumber = "CT", 1, instance
    image.Rows = image.Columns = _EDGE
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.PixelData = bytes(2 * _EDGE * _EDGE)
    file = BytesIO()
    image.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _uid(*names: str) -> UID:
    digest = hashlib.sha256("/".join(("healthimaging-cdk", *names)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")
