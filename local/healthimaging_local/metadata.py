"""The DICOM JSON metadata files that ``dicomJsonMetadataImportConfiguration`` maps to studies and series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from healthimaging_local.dicom import SOP_INSTANCE_UID, NotImportableError, ParsedFile, json_metadata_datasets, text_of
from healthimaging_local.errors import StorageError
from healthimaging_local.ports import ObjectStorage

_MISSING = ("NoSuchKey", "404", "NotFound")


class MetadataFiles:
    """The mappings of one job; each file is read once, when the first instance needs it."""

    def __init__(
        self, storage: ObjectStorage, bucket: str, prefix: str, owner: str, request: Mapping[str, Any]
    ) -> None:
        """Take the mappings of a StartDICOMImportJob request; paths are relative to its ``inputS3Uri``."""
        self._storage = storage
        self._bucket = bucket
        self._owner = owner
        configuration = request.get("importConfiguration") or {}
        mappings = configuration.get("dicomJsonMetadataImportConfiguration", {}).get("dicomMetadataMappings", [])
        folder = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        self._keys = {
            (mapping["studyInstanceUID"], mapping.get("seriesInstanceUID", "")): folder + mapping["metadataFilePath"]
            for mapping in mappings
        }
        self._datasets: dict[str, list[dict[str, dict[str, Any]]]] = {}

    def names(self, key: str) -> bool:
        """Whether an object is one of the metadata files, which are not DICOM P10 files themselves."""
        return key in self._keys.values()

    def elements_for(self, file: ParsedFile) -> dict[str, dict[str, Any]]:
        """The elements to lay over one instance; a mapping of its series goes before one of its study."""
        series = (file.study_instance_uid, file.series_instance_uid)
        key = self._keys.get(series) or self._keys.get((file.study_instance_uid, ""))
        if not key:
            return {}
        elements: dict[str, dict[str, Any]] = {}
        for dataset in self._read(key):
            instance = text_of(dataset, SOP_INSTANCE_UID)
            if instance in ("", file.sop_instance_uid):
                elements.update(dataset)
        return elements

    def _read(self, key: str) -> list[dict[str, dict[str, Any]]]:
        if key not in self._datasets:
            try:
                content = self._storage.read(self._bucket, key, self._owner)
            except StorageError as error:
                if error.code not in _MISSING:
                    raise
                raise NotImportableError("The DICOM JSON metadata file of the instance is not found") from error
            self._datasets[key] = json_metadata_datasets(content.body, content.encoding)
        return self._datasets[key]
