"""The operations on image sets: search, read, delete."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from healthimaging_import.service_model import ServiceModel
from healthimaging_local.datastores import DatastoreOperations
from healthimaging_local.dicom import keyword_attributes, text_of
from healthimaging_local.errors import ServiceError, not_found
from healthimaging_local.paging import page
from healthimaging_local.pixels import stored_transfer_syntax
from healthimaging_local.ports import Caller
from healthimaging_local.search import found_image_sets
from healthimaging_local.state import Datastore, ImageSet, Instance

_PATIENT_PREFIX = "Patient"
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")


class ImageSetOperations(DatastoreOperations):
    """What the ``runtime-`` endpoint answers on AWS; locally there is one endpoint for all."""

    def SearchImageSets(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """The image sets that meet every filter, primary and other ones unless a filter says which."""
        datastore = self.datastore(request["datastoreId"], caller)
        criteria = request.get("searchCriteria") or {}
        with self._state.lock:
            matches = found_image_sets(datastore, criteria)
            found, token = page(matches, request)
            summaries = [self._search_summary(datastore, image_set) for image_set in found]
        return {"imageSetsMetadataSummaries": summaries, "sort": criteria.get("sort"), "nextToken": token}

    def GetImageSet(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """The properties of an image set in one version, the latest by default."""
        datastore, image_set = self._image_set(request, caller)
        version = self._version(image_set, request)
        state, workflow_status = self._statuses(image_set, version)
        return {
            "datastoreId": datastore.id,
            "imageSetId": image_set.id,
            "versionId": str(version[0]),
            "imageSetState": state,
            "imageSetWorkflowStatus": workflow_status,
            "createdAt": image_set.created_at,
            "updatedAt": version[1],
            "deletedAt": None if image_set.is_deleting(self._state.now()) else image_set.deleted_at,
            "imageSetArn": image_set.arn,
            "isPrimary": image_set.is_primary,
        }

    def GetImageSetMetadata(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """The metadata document of a version, gzip compressed JSON."""
        datastore, image_set = self._image_set(request, caller)
        version = self._version(image_set, request)
        if image_set.deleted_at is not None:
            raise not_found("image set", image_set.id)
        document = json.dumps(_metadata(datastore, image_set, image_set.content(version[0]))).encode()
        return {
            "imageSetMetadataBlob": gzip.compress(document, mtime=0),
            "contentType": "application/json",
            "contentEncoding": "gzip",
        }

    def ListImageSetVersions(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """All versions of an image set, newest first."""
        _, image_set = self._image_set(request, caller)
        versions, token = page(list(reversed(image_set.versions)), request)
        statuses = [self._statuses(image_set, version) for version in versions]
        return {
            "imageSetPropertiesList": [
                {
                    "imageSetId": image_set.id,
                    "versionId": str(number),
                    "imageSetState": state,
                    "ImageSetWorkflowStatus": status,
                    "createdAt": image_set.created_at,
                    "updatedAt": at,
                    "isPrimary": image_set.is_primary,
                }
                for (number, at, _), (state, status) in zip(versions, statuses, strict=True)
            ],
            "nextToken": token,
        }

    def DeleteImageSet(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """Delete an image set; it stays readable, first as DELETING (``image_set_seconds``), but is no longer found."""
        datastore, image_set = self._image_set(request, caller)
        with self._state.lock:
            if image_set.deleted_at is not None:
                raise ServiceError("ConflictException", f"Image set {image_set.id} is already deleted")
            now = self._state.now()
            image_set.begin_version("DELETED", now)
            image_set.deleted_at = now + self._state.settings.image_set_seconds
            image_set.instances.clear()
            image_set.contents.clear()
            self._state.tags.pop(image_set.arn, None)
        self._announcer.image_set(datastore, image_set, "deleting")
        self._announcer.image_set(datastore, image_set, "deleted")
        state, workflow_status = self._statuses(image_set, image_set.versions[-1])
        return {
            "datastoreId": datastore.id,
            "imageSetId": image_set.id,
            "imageSetState": state,
            "imageSetWorkflowStatus": workflow_status,
        }

    def _image_set(self, request: dict[str, Any], caller: Caller) -> tuple[Datastore, ImageSet]:
        datastore = self.datastore(request["datastoreId"], caller)
        image_set = datastore.image_sets.get(request["imageSetId"])
        if image_set is None or self._is_forgotten(image_set):
            raise not_found("image set", request["imageSetId"])
        return datastore, image_set

    def _is_forgotten(self, image_set: ImageSet) -> bool:
        seconds = self._state.settings.deleted_image_set_seconds
        return bool(seconds and image_set.deleted_at and self._state.now() >= image_set.deleted_at + seconds)

    def _statuses(self, image_set: ImageSet, version: tuple[int, float, str]) -> tuple[str, str]:
        """``imageSetState`` and ``imageSetWorkflowStatus`` of one version."""
        status = version[2]
        if status == "DELETED":
            return ("LOCKED", "DELETING") if image_set.is_deleting(self._state.now()) else (status, status)
        return "ACTIVE", status

    @staticmethod
    def _version(image_set: ImageSet, request: dict[str, Any]) -> tuple[int, float, str]:
        wanted = request.get("versionId")
        for version in reversed(image_set.versions):
            if wanted in (None, str(version[0])):
                return version
        raise not_found(f"version {wanted} of image set", image_set.id)

    @staticmethod
    def _search_summary(datastore: Datastore, image_set: ImageSet) -> dict[str, Any]:
        study = [
            other
            for other in datastore.live_image_sets()
            if other.study_instance_uid == image_set.study_instance_uid and other.is_primary == image_set.is_primary
        ]
        first = next(iter(image_set.instances.values()))
        texts = {
            "DICOMPatientId": "00100020",
            "DICOMPatientName": "00100010",
            "DICOMPatientBirthDate": "00100030",
            "DICOMPatientSex": "00100040",
            "DICOMStudyId": "00200010",
            "DICOMStudyDescription": "00081030",
            "DICOMAccessionNumber": "00080050",
            "DICOMSeriesModality": "00080060",
            "DICOMSeriesBodyPart": "00180015",
            "DICOMStudyDate": "00080020",
            "DICOMStudyTime": "00080030",
        }
        tags: dict[str, Any] = {name: text_of(first.attributes, tag) for name, tag in texts.items()}
        number = text_of(first.attributes, "00200011")
        return {
            "imageSetId": image_set.id,
            "version": image_set.version,
            "createdAt": image_set.created_at,
            "updatedAt": image_set.updated_at,
            "lastAccessedAt": image_set.updated_at,
            "storageTier": "FREQUENT_ACCESS",
            "isPrimary": image_set.is_primary,
            "DICOMTags": _allowed(
                {
                    **{name: value for name, value in tags.items() if value},
                    "DICOMStudyInstanceUID": image_set.study_instance_uid,
                    "DICOMSeriesInstanceUID": image_set.series_instance_uid,
                    "DICOMSeriesNumber": int(number) if _INTEGER.fullmatch(number) else None,
                    "DICOMNumberOfStudyRelatedSeries": len({other.series_instance_uid for other in study}),
                    "DICOMNumberOfStudyRelatedInstances": sum(len(other.instances) for other in study),
                }
            ),
        }


def _allowed(tags: Mapping[str, Any]) -> dict[str, Any]:
    """The tags whose values the model lets an answer hold: what is longer, or no UID, is left out."""
    model = ServiceModel.load()
    return {
        name: value
        for name, value in tags.items()
        if value is not None and not model.violations("DICOMTags", {name: value})
    }


def _metadata(datastore: Datastore, image_set: ImageSet, instances: Mapping[str, Instance]) -> dict[str, Any]:
    """The document in the layout of the developer guide ("Getting image set metadata"), all by keyword."""
    first = next(iter(instances.values()))
    everything = keyword_attributes(first.attributes)
    patient = {name: value for name, value in everything.items() if name.startswith(_PATIENT_PREFIX)}
    study = {name: value for name, value in everything.items() if name.startswith("Study") or name == "AccessionNumber"}
    series = {name: value for name, value in everything.items() if name.startswith("Series") or name == "Modality"}
    upper = {*patient, *study, *series}
    return {
        "SchemaVersion": "1.1",
        "DatastoreID": datastore.id,
        "ImageSetID": image_set.id,
        "Patient": {"DICOM": patient},
        "Study": {
            "DICOM": study,
            "Series": {
                image_set.series_instance_uid: {
                    "DICOM": series,
                    "Instances": {
                        instance.sop_instance_uid: _instance_metadata(datastore, image_set, instance, upper)
                        for instance in instances.values()
                    },
                }
            },
        },
    }


def _instance_metadata(
    datastore: Datastore, image_set: ImageSet, instance: Instance, upper: set[str]
) -> dict[str, Any]:
    own = {name: value for name, value in keyword_attributes(instance.attributes).items() if name not in upper}
    return {
        "DICOM": own,
        "DICOMVRs": {},
        "StoredTransferSyntaxUID": stored_transfer_syntax(
            instance.transfer_syntax_uid, datastore.lossless_storage_format
        ),
        "ImageFrames": [{"ID": frame_id(image_set, instance, number)} for number in range(len(instance.frames))],
    }


def frame_id(image_set: ImageSet, instance: Instance, number: int) -> str:
    """The id of one frame: the same for the same place in the same image set."""
    text = f"{image_set.id}/{instance.sop_instance_uid}/{number}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
