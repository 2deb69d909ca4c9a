"""The filters and the order of SearchImageSets (developer guide, "Searching image sets")."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from healthimaging_local.dicom import text_of
from healthimaging_local.errors import ServiceError
from healthimaging_local.ports import Json
from healthimaging_local.state import Datastore, ImageSet

_TAGS = {
    "DICOMPatientId": "00100020",
    "DICOMAccessionNumber": "00080050",
    "DICOMStudyId": "00200010",
}
_DATES = ("createdAt", "updatedAt", "DICOMStudyDateAndTime")
_A_PAIR = 2


def found_image_sets(datastore: Datastore, criteria: Mapping[str, Any]) -> list[ImageSet]:
    """The live image sets that meet every filter, in the order asked for (``updatedAt`` descending by default)."""
    filters = criteria.get("filters") or []
    for search_filter in filters:
        _check(search_filter)
    found = [image_set for image_set in datastore.live_image_sets() if all(_meets(image_set, item) for item in filters)]
    sort = criteria.get("sort") or {"sortField": "updatedAt", "sortOrder": "DESC"}
    return sorted(
        found,
        key=lambda image_set: (_sortable(_value(image_set, sort["sortField"])), image_set.id),
        reverse=sort["sortOrder"] == "DESC",
    )


def _check(search_filter: Mapping[str, Any]) -> None:
    values = search_filter["values"]
    names = {name for value in values for name in value}
    if len(names) != 1:
        raise ServiceError("ValidationException", "the values of one filter must all be of one attribute")
    between = search_filter["operator"] == "BETWEEN"
    if between and (len(values) != _A_PAIR or not names <= set(_DATES)):
        message = f"BETWEEN takes two values of one of {', '.join(_DATES)}"
        raise ServiceError("ValidationException", message)


def _meets(image_set: ImageSet, search_filter: Mapping[str, Any]) -> bool:
    ((name, _),) = search_filter["values"][0].items()
    wanted = [_wanted(name, value[name]) for value in search_filter["values"]]
    actual = _value(image_set, name)
    if search_filter["operator"] == "BETWEEN":
        return actual is not None and wanted[0] <= actual <= wanted[1]
    return actual in wanted


def _wanted(name: str, value: Json) -> Json:
    if name == "DICOMStudyDateAndTime":
        return (value["DICOMStudyDate"], value.get("DICOMStudyTime", ""))
    return _seconds(value) if name in _DATES else value


def _value(image_set: ImageSet, name: str) -> Json:
    own: dict[str, Json] = {
        "isPrimary": image_set.is_primary,
        "DICOMStudyInstanceUID": image_set.study_instance_uid,
        "DICOMSeriesInstanceUID": image_set.series_instance_uid,
        "createdAt": image_set.created_at,
        "updatedAt": image_set.updated_at,
    }
    if name in own:
        return own[name]
    attributes = next(iter(image_set.instances.values())).attributes
    if name == "DICOMStudyDateAndTime":
        return (text_of(attributes, "00080020"), text_of(attributes, "00080030"))
    return text_of(attributes, _TAGS[name])


def _sortable(value: Json) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _seconds(value: Json) -> float:
    """A timestamp as boto3 sends it in a body (seconds) or as the CLI may (ISO 8601)."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise ServiceError("ValidationException", f"{value!r} is not a timestamp") from error
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return float(value)
