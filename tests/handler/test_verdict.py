"""The verdict: numbers from a manifest, reasons from ndjson, and what a tolerance says of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthimaging_import.errors import TerminalError
from healthimaging_import.importing.job_output import causes, lines_of, read_manifest, warning_codes
from healthimaging_import.importing.verdict import UNREAD, Counts, Tolerance

SUMMARY: dict[str, Any] = {
    "jobId": "j",
    "datastoreId": "0" * 32,
    "inputS3Uri": "s3://source/DOE^JANE/",
    "outputS3Uri": "s3://results/f/",
    "successOutputS3Uri": "s3://results/f/SUCCESS/",
    "failureOutputS3Uri": "s3://results/f/FAILURE/",
    "warningsOutputS3Uri": "s3://results/f/WARNING/",
    "numberOfScannedFiles": 10,
    "numberOfImportedFiles": 6,
    "numberOfFilesWithCustomerError": 3,
    "numberOfFilesWithServerError": 1,
    "numberOfGeneratedImageSets": 2,
    "imageSetsSummary": [
        {"imageSetId": "a", "imageSetVersion": 1, "isPrimary": True, "numberOfMatchedSOPInstances": 5},
        {"imageSetId": "b", "isPrimary": False, "numberOfMatchedSOPInstances": 1},
    ],
}
COUNTS = Counts(scanned=10, imported=6, customer_errors=3, server_errors=1, image_sets=2, non_primary_image_sets=1)


def manifest(**changes: Any) -> bytes:
    summary = {name: value for name, value in {**SUMMARY, **changes}.items() if value is not None}
    return json.dumps({"jobSummary": summary}).encode()


def test_a_manifest_is_read_with_its_counts_and_folders() -> None:
    read = read_manifest(manifest())
    assert COUNTS == read.counts
    assert "s3://results/f/FAILURE/" == read.failures_uri
    assert "s3://results/f/WARNING/" == read.warnings_uri
    assert (4, 1) == (read.counts.rejected, read.counts.primary_image_sets)


def test_members_that_may_be_missing_may_be_missing() -> None:
    read = read_manifest(manifest(warningsOutputS3Uri=None, imageSetsSummary=None, numberOfFilesWithServerError=None))
    assert "" == read.warnings_uri
    assert Counts(scanned=10, imported=6, customer_errors=3, image_sets=2) == read.counts


def test_image_sets_of_a_manifest_that_does_not_know_primary_are_primary() -> None:
    read = read_manifest(manifest(imageSetsSummary=[{"imageSetId": "a"}, {"imageSetId": "b"}]))
    assert (2, 0) == (read.counts.primary_image_sets, read.counts.non_primary_image_sets)


@pytest.mark.parametrize("said", [False, "false"])
def test_image_sets_that_are_not_primary_count_though_none_was_generated(said: Any) -> None:
    counts = read_manifest(manifest(numberOfGeneratedImageSets=0, imageSetsSummary=[{"isPrimary": said}] * 3)).counts
    assert (3, 0) == (counts.non_primary_image_sets, counts.primary_image_sets)
    assert ["3 image sets are not primary"] == Tolerance(non_primary_image_sets=False).problems("COMPLETED", counts)


@pytest.mark.parametrize(
    ("counts", "rejected"),
    [
        (Counts(10, 1), 9),
        (Counts(10, 6, 3, 1), 4),
        (Counts(10, 6, 1, 1), 4),
        (Counts(10, 9, 3), 3),
        (Counts(0, 3), 0),
        (Counts(0, 3, 1), 1),
    ],
)
def test_a_file_that_was_scanned_and_not_imported_was_rejected_for_whatever_reason(
    counts: Counts, rejected: int
) -> None:
    assert rejected == counts.rejected
    strict = Tolerance(rejected_files=0, rejected_percent=0)
    assert (2 if rejected else 0) == len(strict.problems("COMPLETED", counts))


def test_files_that_nothing_is_said_of_are_told_apart() -> None:
    expected = (
        "10 files scanned, 1 imported, 9 rejected (3 customer errors, 1 server errors, 5 without a reason), "
        "1 image sets"
    )
    assert expected == Counts(10, 1, 3, 1, 1).sentence()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"jobSummary": null}',
        b'{"jobSummary": []}',
        b'{"jobSummary": "DOE^JANE"}',
        b"\xff\xfe\x00",
        manifest(numberOfImportedFiles="DOE^JANE"),
        manifest(numberOfImportedFiles=[1]),
        manifest(numberOfImportedFiles=-1),
        manifest(numberOfFilesWithCustomerError=-5, numberOfFilesWithServerError=5),
        manifest(numberOfImportedFiles=6.0),
        manifest(numberOfImportedFiles=True),
        manifest(numberOfImportedFiles=2**53 + 1),
        manifest().replace(b": 10,", b": 1e999,"),
        manifest().replace(b": 10,", b": NaN,"),
        manifest().replace(b": 10,", b": " + b"9" * 5000 + b","),
        manifest().replace(b"[{", b"[" * 100_000 + b"{"),
        manifest(imageSetsSummary=["DOE^JANE"]),
        manifest(imageSetsSummary=7),
    ],
)
def test_fails_for_a_manifest_that_cannot_be_read_without_its_text(body: bytes) -> None:
    with pytest.raises(TerminalError) as refused:
        read_manifest(body)
    assert "job-output-manifest.json cannot be read; look at the job's output folder" == str(refused.value)


def test_the_sentence_names_every_number() -> None:
    expected = (
        "10 files scanned, 6 imported, 4 rejected (3 customer errors, 1 server errors), 2 image sets, "
        "1 not primary, warnings 45344 (2), 45062 (1)"
    )
    counts = Counts(10, 6, 3, 1, 2, 1, {"45062": 1, "45344": 2})
    assert expected == counts.sentence()


@pytest.mark.parametrize(
    ("warnings", "listed"), [({UNREAD: 1}, "not read"), ({UNREAD: 1, "45344": 2}, "45344 (2), more not read")]
)
def test_warnings_that_were_not_read_are_said_to_be(warnings: dict[str, int], listed: str) -> None:
    counts = Counts(1, 1, warnings=warnings)
    assert listed == counts.warning_list()
    assert counts.sentence().endswith(f", warnings {listed}")


def test_the_sentence_is_silent_about_what_did_not_happen() -> None:
    expected = "1 files scanned, 1 imported, 0 rejected (0 customer errors, 0 server errors), 1 image sets"
    assert expected == Counts(1, 1, 0, 0, 1).sentence()


@pytest.mark.parametrize(
    ("tolerance", "counts", "expected"),
    [
        (Tolerance(), Counts(10, 1, 9), []),
        (Tolerance(), Counts(10, 0, 10), ["it imported nothing"]),
        (Tolerance(), Counts(), ["it imported nothing"]),
        (Tolerance(rejected_files=2), Counts(10, 8, 1, 1), []),
        (Tolerance(rejected_files=1), Counts(10, 8, 1, 1), ["2 rejected files are more than 1"]),
        (Tolerance(rejected_files=0), Counts(10, 10), []),
        (Tolerance(rejected_files=0), Counts(10, 9, 1), ["1 rejected files are more than 0"]),
        (Tolerance(rejected_percent=10), Counts(10, 9, 1), []),
        (Tolerance(rejected_percent=9.5), Counts(10, 9, 1), ["1 of 10 rejected are more than 9.5 %"]),
        (Tolerance(rejected_percent=0), Counts(10, 10), []),
        (Tolerance(non_primary_image_sets=False), Counts(1, 1, 0, 0, 1, 1), ["1 image sets are not primary"]),
        (Tolerance(non_primary_image_sets=False), Counts(1, 1, 0, 0, 1, 0), []),
        (Tolerance(warnings=False), Counts(1, 1, warnings={"45344": 1}), ["there are warnings: 45344 (1)"]),
        (Tolerance(warnings=False), Counts(1, 1), []),
        (Tolerance(warnings=False), Counts(1, 1, warnings={UNREAD: 1}), ["its warnings were not read"]),
        (
            Tolerance(warnings=False),
            Counts(1, 1, warnings={UNREAD: 1, "45344": 2}),
            ["there are warnings: 45344 (2), more not read"],
        ),
        (Tolerance(), Counts(1, 1, warnings={UNREAD: 1}), []),
    ],
)
def test_a_tolerance_decides_about_some_and_nothing_imported_is_never_good(
    tolerance: Tolerance, counts: Counts, expected: list[str]
) -> None:
    assert expected == tolerance.problems("COMPLETED", counts)


def test_a_job_that_did_not_run_to_its_end_has_not_succeeded() -> None:
    assert ["it did not run to its end"] == Tolerance().problems("FAILED", Counts(1, 1))


def test_every_reason_is_given() -> None:
    strict = Tolerance(rejected_files=0, rejected_percent=0, non_primary_image_sets=False, warnings=False)
    assert 5 == len(strict.problems("COMPLETED", Counts(10, 0, 10, 0, 1, 1, {"47513": 1})))


def failure(kind: Any, message: Any = "x") -> bytes:
    exception = {"exceptionType": kind, "message": message}
    return json.dumps({"inputFile": "DOE^JANE.dcm", "exception": exception}).encode()


def test_causes_are_counted_by_type_and_words() -> None:
    missing = "Required DICOM element is missing"
    lines = [failure("ValidationException", missing)] * 2 + [failure("InternalException", missing)]
    found = causes(lines)
    assert [2, 1] == [count for _, count in found.most_common()]
    assert found.most_common()[0][0].startswith("ValidationException: ")


def test_a_cause_without_a_message_is_its_type() -> None:
    assert {"ValidationException": 1} == causes([failure("ValidationException", None)])


@pytest.mark.parametrize("kind", ["DOE^JANE", "", None, 7, "JaneDoe", "a" * 65 + "Exception", "DOE^JANEException"])
def test_a_type_that_is_none_is_an_error(kind: Any) -> None:
    assert {"error"} == {cause.partition(":")[0] for cause in causes([failure(kind)])}


DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"7", b'{"exception": null}', b'{"exception": []}', b"\xff", b'{"exception": ' + DEEP]
)
def test_lines_that_cannot_be_read_are_counted(line: bytes) -> None:
    assert {"unreadable line": 2} == causes([line, line])


@given(st.text(alphabet="ABEFGHJKLNQRTUWYZ^0123456789ÄÖÜ", min_size=5))
def test_no_value_written_in_capitals_or_digits_comes_through(value: str) -> None:
    (cause,) = causes([failure("ValidationException", f"Value {value} of the element is invalid")])
    assert value not in cause


def warned(*codes: Any) -> bytes:
    warnings = [{"warning_reason_code": code, "type": "X", "message": "DOE^JANE"} for code in codes]
    return json.dumps({"inputFile": "DOE^JANE.dcm", "importResponse": {"warnings": warnings}}).encode()


def test_warnings_are_counted_once_a_file_by_their_code() -> None:
    assert {"45344": 2, "45062": 1} == warning_codes([warned(45344, "45344"), warned(45062, 45344)])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        warned("DOE^JANE"),
        warned(None),
        warned(-1),
        warned(19700101),
        warned(float("inf")),
        b'{"importResponse": {}}',
        b'{"importResponse": ' + DEEP,
    ],
)
def test_warnings_that_cannot_be_read_are_counted(line: bytes) -> None:
    assert {"unreadable": 1} == warning_codes([line])


# -- lists as they arrive --------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line and line.strip())), st.integers(1, 9))
def test_lines_are_the_same_however_a_list_arrives(written: list[bytes], size: int) -> None:
    body = b"\n".join(written)
    chunks = [body[first : first + size] for first in range(0, len(body), size)]
    assert written == list(lines_of(chunks))


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n\n", b"  \n"])
def test_a_list_of_nothing_has_no_lines(body: bytes) -> None:
    assert [] == list(lines_of([body]))


def test_twelve_thousand_warnings_are_twelve_thousand() -> None:
    line = {"inputFile": "x" * 900, "importResponse": {"warnings": [{"warning_reason_code": 45344}]}}
    chunk = json.dumps(line).encode() + b"\n"
    assert {"45344": 12_000} == warning_codes(lines_of(itertools.repeat(chunk, 12_000)))


def test_a_list_that_is_far_too_long_is_read_for_a_while_and_said_to_be_cut() -> None:
    arrived = itertools.count()

    def many() -> Iterator[bytes]:
        line = json.dumps({"x": "x" * 900_000, "importResponse": {"warnings": [{"warning_reason_code": 45344}]}})
        for _ in zip(range(100), arrived, strict=False):
            yield line.encode() + b"\n"

    found = warning_codes(lines_of(many()))
    assert {"45344", UNREAD} == set(found)
    assert 1 == found[UNREAD]
    assert 30 < found["45344"] == next(arrived) - 1 < 40


@pytest.mark.parametrize("counted", [causes, warning_codes])
def test_a_list_that_was_cut_is_said_to_be(counted: Any) -> None:
    assert {UNREAD: 1} == counted([None])


def test_a_line_that_is_too_long_is_not_kept_and_not_read() -> None:
    lines = list(lines_of([b"a\n", *[b"{" * 65536] * 64, b"\nb\n"]))
    assert [b"a", b"b"] == [lines[0], lines[-1]]
    assert 3 == len(lines)
    assert 1024**2 == len(lines[1] or b"")
    assert {"unreadable": 3} == warning_codes(lines)
