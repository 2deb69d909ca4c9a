"""SearchImageSets of the local HealthImaging."""

from __future__ import annotations

from typing import Any

import pytest

CT, MR, ECG = "CT_small.dcm", "MR_small.dcm", "waveform_ecg.dcm"


@pytest.fixture
def store(imaging: Any, sample: Any) -> str:
    identifier: str = imaging.datastore()
    for name in (CT, MR):
        imaging.storage.put("source", f"in/{name}", sample(name))
    imaging.run(identifier)
    return identifier


def patients(imaging: Any, store: str, *filters: dict[str, Any], **more: Any) -> list[str]:
    criteria = {**({"filters": list(filters)} if filters else {}), **more}
    return [item["DICOMTags"]["DICOMPatientId"] for item in imaging.search(store, **criteria)]


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("EQUAL", [{"DICOMPatientId": "1CT1"}], ["1CT1"]),
        ("EQUAL", [{"DICOMPatientId": "1CT1"}, {"DICOMPatientId": "4MR1"}], ["1CT1", "4MR1"]),
        ("EQUAL", [{"DICOMPatientId": "nobody"}], []),
        ("EQUAL", [{"DICOMStudyId": "4MR1"}], ["4MR1"]),
        ("EQUAL", [{"DICOMStudyInstanceUID": "1.3.6.1.4.1.5962.1.2.4.20040826185059.5457"}], ["4MR1"]),
        ("EQUAL", [{"isPrimary": True}], ["1CT1", "4MR1"]),
        ("BETWEEN", [{"createdAt": 0}, {"createdAt": 4102444800}], ["1CT1", "4MR1"]),
        ("BETWEEN", [{"updatedAt": "2001-01-01"}, {"updatedAt": "2001-01-02T00:00:00Z"}], []),
        (
            "BETWEEN",
            [
                {"DICOMStudyDateAndTime": {"DICOMStudyDate": "20040101"}},
                {"DICOMStudyDateAndTime": {"DICOMStudyDate": "20040201"}},
            ],
            ["1CT1"],
        ),
    ],
)
def test_a_filter_finds_what_it_names(
    imaging: Any, store: str, operator: str, values: list[Any], expected: list[str]
) -> None:
    assert expected == sorted(patients(imaging, store, {"operator": operator, "values": values}))


def test_two_filters_must_both_be_met(imaging: Any, store: str) -> None:
    both = [
        {"operator": "EQUAL", "values": [{"DICOMPatientId": "1CT1"}]},
        {"operator": "EQUAL", "values": [{"DICOMStudyId": "4MR1"}]},
    ]
    assert [] == patients(imaging, store, *both)


@pytest.mark.parametrize(
    "search_filter",
    [
        {"operator": "BETWEEN", "values": [{"createdAt": 0}]},
        {"operator": "BETWEEN", "values": [{"DICOMPatientId": "a"}, {"DICOMPatientId": "b"}]},
        {"operator": "EQUAL", "values": [{"DICOMPatientId": "a"}, {"DICOMStudyId": "b"}]},
        {"operator": "EQUAL", "values": [{"DICOMPatientId": "a", "DICOMStudyId": "b"}]},
        {"operator": "LIKE", "values": [{"DICOMPatientId": "a"}]},
        {"operator": "BETWEEN", "values": [{"createdAt": "soon"}, {"createdAt": "later"}]},
    ],
)
def test_fails_for_a_filter_that_makes_no_sense(imaging: Any, store: str, search_filter: dict[str, Any]) -> None:
    answer = imaging.send("POST", f"/datastore/{store}/searchImageSets", {"filters": [search_filter]})
    assert (400, "ValidationException") == (answer.status, answer.headers["x-amzn-errortype"])


@pytest.mark.parametrize(("order", "expected"), [("ASC", ["1CT1", "4MR1"]), ("DESC", ["4MR1", "1CT1"])])
def test_results_are_sorted(imaging: Any, store: str, order: str, expected: list[str]) -> None:
    sort = {"sortField": "DICOMStudyDateAndTime", "sortOrder": order}
    assert expected == patients(imaging, store, sort=sort)


def test_results_come_in_pages(imaging: Any, store: str) -> None:
    path = f"/datastore/{store}/searchImageSets"
    first = imaging.ask("POST", path, maxResults="1")
    second = imaging.ask("POST", path, maxResults="1", nextToken=first["nextToken"])
    ids = {page["imageSetsMetadataSummaries"][0]["imageSetId"] for page in (first, second)}
    assert (2, False) == (len(ids), "nextToken" in second)
