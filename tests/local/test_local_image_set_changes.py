"""CopyImageSet, UpdateImageSetMetadata, GetImageFrame, and what DICOMweb is answered."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pydicom
import pytest

from tests.local.conftest import FILES
from tests.local.test_local_imports import changed

CT = "CT_small.dcm"


@pytest.fixture
def store(imaging: Any, sample: Any) -> str:
    identifier: str = imaging.datastore()
    for number in (1, 2):
        content = changed(sample(CT), SOPInstanceUID=f"1.2.{number}", InstanceNumber=str(number))
        imaging.storage.put("source", f"in/{number}.dcm", content)
    imaging.run(identifier)
    return identifier


def only(imaging: Any, store: str) -> str:
    (found,) = imaging.search(store)
    return str(found["imageSetId"])


def copy(imaging: Any, store: str, source: str, version: str = "1", /, *, query: Any = None, **more: Any) -> Any:
    copies = more.pop("copies", None)
    wanted = {"latestVersionId": version, **({"DICOMCopies": {"copiableAttributes": copies}} if copies else {})}
    body = {"sourceImageSet": wanted, **more}
    return imaging.send("POST", f"/datastore/{store}/imageSet/{source}/copyImageSet", body, **(query or {}))


def update(imaging: Any, store: str, image_set: str, updates: dict[str, Any], version: str = "1", **query: str) -> Any:
    path = f"/datastore/{store}/imageSet/{image_set}/updateImageSetMetadata"
    return imaging.send("POST", path, updates, latestVersion=version, **query)


def elements(member: str = "updatableAttributes", **document: Any) -> dict[str, Any]:
    content = json.dumps({"SchemaVersion": "1.1", **document}).encode()
    return {"DICOMUpdates": {member: base64.b64encode(content).decode()}}


def metadata(imaging: Any, store: str, image_set: str, **query: str) -> Any:
    path = f"/datastore/{store}/imageSet/{image_set}/getImageSetMetadata"
    return json.loads(gzip.decompress(imaging.send("POST", path, **query).body))


def get(imaging: Any, store: str, image_set: str) -> Any:
    return imaging.ask("POST", f"/datastore/{store}/imageSet/{image_set}/getImageSet")


def code(answer: Any) -> tuple[int, str]:
    return answer.status, answer.headers.get("x-amzn-errortype", "")


def test_a_copy_is_a_new_image_set_that_is_not_primary(imaging: Any, store: str) -> None:
    source = only(imaging, store)
    answer = json.loads(copy(imaging, store, source).body)
    target = answer["destinationImageSetProperties"]["imageSetId"]
    assert target != source
    found = get(imaging, store, target)
    assert (False, "COPIED", "1") == (found["isPrimary"], found["imageSetWorkflowStatus"], found["versionId"])
    assert ("2", True) == (get(imaging, store, source)["versionId"], get(imaging, store, source)["isPrimary"])
    (first,) = metadata(imaging, store, target)["Study"]["Series"].values()
    assert ["1.2.1", "1.2.2"] == sorted(first["Instances"])
    names = [name for name, _, _ in imaging.bus.sent if "Cop" in name]
    assert names == [
        "Image Set Copying With Read Only Access",
        "Image Set Copying",
        "Image Set Copied",
        "Image Set Copied",
    ]


def test_a_copy_can_be_promoted_and_can_take_some_instances(imaging: Any, store: str) -> None:
    source = only(imaging, store)
    (series,) = metadata(imaging, store, source)["Study"]["Series"]
    copies = json.dumps({"SchemaVersion": "1.1", "Study": {"Series": {series: {"Instances": {"1.2.2": {}}}}}})
    answer = json.loads(copy(imaging, store, source, copies=copies, query={"promoteToPrimary": "true"}).body)
    target = answer["destinationImageSetProperties"]["imageSetId"]
    assert get(imaging, store, target)["isPrimary"]
    (first,) = metadata(imaging, store, target)["Study"]["Series"].values()
    assert ["1.2.2"] == list(first["Instances"])


def test_fails_to_copy_by_an_old_version_or_into_another_series_without_force(
    imaging: Any, store: str, sample: Any
) -> None:
    source = only(imaging, store)
    assert (409, "ConflictException") == code(copy(imaging, store, source, "7"))
    imaging.storage.put("source", "other/1.dcm", changed(sample(CT), SeriesInstanceUID="1.2.3", SOPInstanceUID="1.2.9"))
    imaging.run(store, inputS3Uri="s3://source/other/")
    other = next(it["imageSetId"] for it in imaging.search(store) if it["imageSetId"] != source)
    into = {"destinationImageSet": {"imageSetId": other, "latestVersionId": "1"}}
    assert (409, "ConflictException") == code(copy(imaging, store, source, **into))
    assert 200 == copy(imaging, store, source, query={"force": "true"}, **into).status
    (first,) = metadata(imaging, store, other)["Study"]["Series"].values()
    assert ["1.2.1", "1.2.2", "1.2.9"] == sorted(first["Instances"])


def test_an_update_changes_adds_and_removes_elements_and_can_be_reverted(imaging: Any, store: str) -> None:
    image_set = only(imaging, store)
    answer = update(imaging, store, image_set, elements(Patient={"DICOM": {"PatientName": "New^Name"}}))
    assert ("2", "UPDATING") == tuple(
        json.loads(answer.body)[it] for it in ("latestVersionId", "imageSetWorkflowStatus")
    )
    removed = elements("removableAttributes", Study={"DICOM": {"StudyDescription": None}})
    update(imaging, store, image_set, removed, "2")
    now = metadata(imaging, store, image_set)
    assert ("New^Name", False) == (now["Patient"]["DICOM"]["PatientName"], "StudyDescription" in now["Study"]["DICOM"])
    before = metadata(imaging, store, image_set, version="1")
    assert "New^Name" != before["Patient"]["DICOM"]["PatientName"]
    update(imaging, store, image_set, {"revertToVersionId": "1"}, "3")
    assert before == metadata(imaging, store, image_set)
    assert ("4", "UPDATED") == tuple(
        get(imaging, store, image_set)[it] for it in ("versionId", "imageSetWorkflowStatus")
    )


def test_an_update_of_one_instance_leaves_the_others(imaging: Any, store: str) -> None:
    image_set = only(imaging, store)
    (series,) = metadata(imaging, store, image_set)["Study"]["Series"]
    one = {"Series": {series: {"Instances": {"1.2.1": {"DICOM": {"ImageComments": "seen"}}}}}}
    update(imaging, store, image_set, elements(Study=one))
    instances = metadata(imaging, store, image_set)["Study"]["Series"][series]["Instances"]
    assert ["seen", "Uncompressed"] == [instances[sop]["DICOM"].get("ImageComments") for sop in ("1.2.1", "1.2.2")]


def test_an_update_of_the_patient_id_regroups(imaging: Any, store: str) -> None:
    update(imaging, store, only(imaging, store), elements(Patient={"DICOM": {"PatientID": "new"}}))
    wanted = {"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "new"}]}]}
    assert 1 == len(imaging.search(store, **wanted))


@pytest.mark.parametrize(
    ("updates", "version", "expected"),
    [
        (elements(Study={"DICOM": {"StudyDescription": "x"}}), "9", (409, "ConflictException")),
        (elements(Study={"DICOM": {"StudyInstanceUID": "1.2"}}), "1", (400, "ValidationException")),
        (elements(Study={"DICOM": {"StudyID": "1"}}), "1", (400, "ValidationException")),
        (elements(Patient={"DICOM": {"NoSuchThing": "1"}}), "1", (400, "ValidationException")),
        (elements(Study={"DICOM": {"ProcedureCodeSequence": []}}), "1", (400, "ValidationException")),
        ({"DICOMUpdates": {"updatableAttributes": "bm90IEpTT04="}}, "1", (400, "ValidationException")),
        ({"revertToVersionId": "8"}, "1", (404, "ResourceNotFoundException")),
    ],
)
def test_fails_to_update_what_the_guide_forbids(
    imaging: Any, store: str, updates: Any, version: str, expected: tuple[int, str]
) -> None:
    image_set = only(imaging, store)
    before = metadata(imaging, store, image_set)
    assert expected == code(update(imaging, store, image_set, updates, version))
    assert before == metadata(imaging, store, image_set)


def test_force_changes_uids(imaging: Any, store: str) -> None:
    image_set = only(imaging, store)
    update(imaging, store, image_set, elements(Study={"DICOM": {"StudyInstanceUID": "1.2.99"}}), force="true")
    assert "1.2.99" == imaging.search(store)[0]["DICOMTags"]["DICOMStudyInstanceUID"]


@pytest.mark.parametrize(
    ("name", "frames", "kind", "stored"),
    [
        (CT, 1, "application/octet-stream", "1.2.840.10008.1.2.4.202"),
        ("SC_rgb_rle_2frame.dcm", 2, "application/octet-stream", "1.2.840.10008.1.2.4.202"),
        ("SC_rgb_jpeg_dcmtk.dcm", 1, "image/jpeg", "1.2.840.10008.1.2.4.50"),
    ],
)
def test_each_frame_can_be_read(imaging: Any, name: str, frames: int, kind: str, stored: str) -> None:
    content = (FILES / name).read_bytes()
    imaging.storage.put("source", "in/1.dcm", content)
    store = imaging.datastore()
    imaging.run(store)
    image_set = only(imaging, store)
    (series,) = metadata(imaging, store, image_set)["Study"]["Series"].values()
    (instance,) = series["Instances"].values()
    path = f"/datastore/{store}/imageSet/{image_set}/getImageFrame"
    answers = [imaging.send("POST", path, {"imageFrameId": frame["ID"]}) for frame in instance["ImageFrames"]]
    assert ([200] * frames, stored) == ([it.status for it in answers], instance["StoredTransferSyntaxUID"])
    assert {kind} == {it.headers["Content-Type"] for it in answers}
    if name == CT:
        assert pydicom.dcmread(FILES / name).PixelData == answers[0].body
    assert (404, "ResourceNotFoundException") == code(imaging.send("POST", path, {"imageFrameId": "0" * 32}))


@pytest.mark.parametrize("path", ["/studies", "/studies/1.2.3/series/1.2.4/instances/1.2.5", "/instances"])
def test_fails_for_dicomweb_in_words(imaging: Any, store: str, path: str) -> None:
    answer = imaging.send("GET", f"/datastore/{store}{path}")
    assert ((404, "UnknownOperationException"), True) == (code(answer), b"DICOMweb is not part" in answer.body)
