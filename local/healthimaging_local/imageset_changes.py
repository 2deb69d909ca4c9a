"""The operations that change image sets: copy, update, and the frames of what is there."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from healthimaging_local.dicom import (
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    identity_of,
    present,
    series_number_of,
    text_of,
)
from healthimaging_local.errors import ServiceError, not_found
from healthimaging_local.imagesets import ImageSetOperations, frame_id
from healthimaging_local.pixels import content_type
from healthimaging_local.ports import Caller, Json
from healthimaging_local.state import Datastore, ImageSet, Instance

_ONLY_BY_FORCE = {STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID, "00200010"}
_PIXEL_DATA = "7FE00010"

Changes = list[tuple[tuple[str, str], dict[str, Json]]]
"""Elements by keyword for a series and an instance, each empty where all are meant."""


class ImageSetChanges(ImageSetOperations):
    """CopyImageSet, UpdateImageSetMetadata and GetImageFrame. They take effect at once."""

    def CopyImageSet(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """Copy instances into a new image set or another one (guide, "Copying an image set")."""
        datastore, source = self._image_set({**request, "imageSetId": request["sourceImageSetId"]}, caller)
        wanted = request["copyImageSetInformation"]
        with self._state.lock:
            _check_version(source, wanted["sourceImageSet"]["latestVersionId"])
            chosen = _chosen(source, wanted["sourceImageSet"].get("DICOMCopies", {}).get("copiableAttributes"))
            target = self._destination(datastore, source, wanted.get("destinationImageSet"), request, caller)
            source.begin_version("COPIED", self._state.now())
            for instance in chosen:
                target.instances[instance.sop_instance_uid] = replace(instance)
            if request.get("promoteToPrimary"):
                target.is_primary = True
        self._announcer.image_set(datastore, source, "copying with read only access")
        self._announcer.image_set(datastore, target, "copying")
        self._announcer.image_set(datastore, source, "copied")
        self._announcer.image_set(datastore, target, "copied")
        return {
            "datastoreId": datastore.id,
            "sourceImageSetProperties": _properties(source, "COPYING_WITH_READ_ONLY_ACCESS"),
            "destinationImageSetProperties": _properties(target, "COPYING"),
        }

    def UpdateImageSetMetadata(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """Change, add or remove elements, or go back to a version (guide, "Updating image set metadata")."""
        datastore, image_set = self._image_set(request, caller)
        updates = request["updateImageSetMetadataUpdates"]
        force = bool(request.get("force"))
        with self._state.lock:
            _check_version(image_set, request["latestVersionId"])
            if "revertToVersionId" in updates:
                earlier = self._version(image_set, {"versionId": updates["revertToVersionId"]})
                contents = image_set.content(earlier[0])
                image_set.begin_version("UPDATED", self._state.now())
                image_set.instances = dict(contents)
                _regroup(image_set)
            else:
                changes = _changes(updates["DICOMUpdates"], force=force)
                affected = [image_set]
                if request.get("includeStudyImageSets"):
                    affected = _of_study(datastore, image_set)
                for one in affected:
                    one.begin_version("UPDATED", self._state.now())
                    _apply(one, changes)
                    _regroup(one)
        for what in ("updating", "updated"):
            self._announcer.image_set(datastore, image_set, what)
        return {
            "datastoreId": datastore.id,
            "imageSetId": image_set.id,
            "latestVersionId": str(image_set.version),
            "imageSetState": "LOCKED",
            "imageSetWorkflowStatus": "UPDATING",
            "createdAt": image_set.created_at,
            "updatedAt": image_set.updated_at,
        }

    def GetImageFrame(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """One frame as it came in its file: nothing is transcoded here."""
        _, image_set = self._image_set(request, caller)
        wanted = request["imageFrameInformation"]["imageFrameId"]
        for instance in image_set.instances.values():
            for number, frame in enumerate(instance.frames):
                if frame_id(image_set, instance, number) == wanted:
                    return {"imageFrameBlob": frame, "contentType": content_type(instance.transfer_syntax_uid)}
        raise not_found("image frame", wanted)

    def _destination(
        self,
        datastore: Datastore,
        source: ImageSet,
        wanted: Mapping[str, str] | None,
        request: dict[str, Any],
        caller: Caller,
    ) -> ImageSet:
        if wanted is not None:
            _, target = self._image_set({**request, "imageSetId": wanted["imageSetId"]}, caller)
            _check_version(target, wanted["latestVersionId"])
            same = (target.group, target.identity) == (source.group, source.identity)
            if not same and not request.get("force"):
                message = "The metadata of the two image sets is inconsistent at patient, study or series level"
                raise ServiceError("ConflictException", message)
            target.begin_version("COPIED", self._state.now())
            return target
        now = self._state.now()
        image_set_id = self._state.new_id("imageset", caller)
        target = replace(
            source,
            id=image_set_id,
            arn=f"{datastore.arn}/imageset/{image_set_id}",
            is_primary=False,
            created_at=now,
            updated_at=now,
            version=1,
            workflow_status="COPIED",
            versions=[(1, now, "COPIED")],
            instances={},
            contents={},
        )
        datastore.image_sets[image_set_id] = target
        return target


def _check_version(image_set: ImageSet, latest: str) -> None:
    if image_set.deleted_at is not None:
        raise not_found("image set", image_set.id)
    if latest != str(image_set.version):
        message = f"Image set {image_set.id} has the latest version {image_set.version}, the request names {latest}"
        raise ServiceError("ConflictException", message)


def _properties(image_set: ImageSet, status: str) -> dict[str, Any]:
    return {
        "imageSetId": image_set.id,
        "latestVersionId": str(image_set.version),
        "imageSetState": "LOCKED",
        "imageSetWorkflowStatus": status,
        "createdAt": image_set.created_at,
        "updatedAt": image_set.updated_at,
        "imageSetArn": image_set.arn,
    }


def _chosen(source: ImageSet, copiable: str | None) -> list[Instance]:
    """The instances that are to be copied, all unless ``copiableAttributes`` names some."""
    if copiable is None:
        return list(source.instances.values())
    try:
        series = json.loads(copiable)["Study"]["Series"]
        named = [sop for item in series.values() for sop in item["Instances"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServiceError("ValidationException", "copiableAttributes is not a subset of image set metadata") from error
    unknown = sorted(set(named) - set(source.instances))
    if unknown:
        raise ServiceError(
            "ValidationException", f"copiableAttributes names {len(unknown)} instances that are not there"
        )
    return [source.instances[sop] for sop in named]


def _changes(updates: Mapping[str, str], *, force: bool) -> Changes:
    """The elements to set (or, with None, to remove), from both blobs of a request."""
    found: Changes = []
    for member, removes in (("removableAttributes", True), ("updatableAttributes", False)):
        for where, elements in _levels(_document(updates[member])) if member in updates else ():
            for keyword in elements:
                _check_element(keyword, force=force)
            found.append((where, dict.fromkeys(elements) if removes else elements))
    return found


def _document(blob: str) -> Json:
    try:
        document = json.loads(base64.b64decode(blob, validate=True))
        if not isinstance(document, dict):
            raise ValueError(type(document).__name__)  # noqa: TRY301, TRY004 - one answer for all that is no document
    except (ValueError, binascii.Error) as error:
        raise ServiceError("ValidationException", "DICOMUpdates is not base64 of a JSON object") from error
    return document


def _levels(document: Json) -> Iterator[tuple[tuple[str, str], dict[str, Json]]]:
    study = document.get("Study") or {}
    yield ("", ""), (document.get("Patient") or {}).get("DICOM") or {}
    yield ("", ""), study.get("DICOM") or {}
    for series, item in (study.get("Series") or {}).items():
        yield (series, ""), item.get("DICOM") or {}
        for sop, instance in (item.get("Instances") or {}).items():
            yield (series, sop), instance.get("DICOM") or {}


def _check_element(keyword: str, *, force: bool) -> None:
    tag = _tag(keyword)
    if tag == _PIXEL_DATA:
        raise ServiceError("ValidationException", "PixelData cannot be updated")
    if force:
        return
    if not tag:
        raise ServiceError("ValidationException", f"{keyword} is not an attribute of DICOM")
    if tag in _ONLY_BY_FORCE:
        raise ServiceError("ValidationException", f"{keyword} can be updated with force only")
    if dictionary_VR(tag) == "SQ":
        raise ServiceError("ValidationException", f"{keyword} is a sequence, which can be updated with force only")


def _tag(keyword: str) -> str:
    number = tag_for_keyword(keyword)
    return f"{number:08X}" if number is not None else ""


def _apply(image_set: ImageSet, changes: Changes) -> None:
    for sop, instance in image_set.instances.items():
        attributes = present(instance.attributes)
        for (series, only), elements in changes:
            if series not in {"", image_set.series_instance_uid} or only not in {"", sop}:
                continue
            for keyword, value in elements.items():
                tag = _tag(keyword) or keyword
                if value is None:
                    attributes.pop(tag, None)
                else:
                    attributes[tag] = _element(tag, value)
        image_set.instances[sop] = replace(instance, attributes=dict(sorted(attributes.items())))


def _element(tag: str, value: Json) -> dict[str, Json]:
    representation = dictionary_VR(tag) if tag.isalnum() and len(tag) == 8 else "UN"  # noqa: PLR2004 - hex digits
    values = value if isinstance(value, list) else [value]
    if representation == "PN":
        values = [{"Alphabetic": item} if isinstance(item, str) else item for item in values]
    return {"vr": representation, "Value": values}


def _of_study(datastore: Datastore, image_set: ImageSet) -> list[ImageSet]:
    return [
        other
        for other in datastore.live_image_sets()
        if (other.study_instance_uid, other.is_primary) == (image_set.study_instance_uid, image_set.is_primary)
    ]


def _regroup(image_set: ImageSet) -> None:
    """Take over what an update has made of the values that image sets are grouped by."""
    attributes = next(iter(image_set.instances.values())).attributes
    image_set.study_instance_uid = text_of(attributes, STUDY_INSTANCE_UID)
    image_set.series_instance_uid = text_of(attributes, SERIES_INSTANCE_UID)
    image_set.identity = identity_of(attributes)
    image_set.series_number = series_number_of(attributes)
