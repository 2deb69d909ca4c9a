"""AWS's free text, reduced to words that can be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthimaging_import.wording import plain


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("The file is not a DICOM P10 file", "The file is not a DICOM P10 file"),
        ("Value DOE^JANE is invalid", "Value ... is invalid"),
        ("cannot read s3://source/studies/DOE.dcm", "cannot read ..."),
        ("1.2.840.113619 is missing", "... is missing"),
        ("born 19700101, named DOE^JANE", "..."),
        ("", ""),
    ],
)
def test_words_of_the_service_stay_and_values_go(said: str, expected: str) -> None:
    assert expected == plain(said)


def test_a_reduced_text_is_short() -> None:
    assert 120 == len(plain("file is invalid " * 100))


@given(st.lists(st.sampled_from(["DOE^JANE", "Doe", "19700101", "1.2.840.1", "jane.doe@example.org", "ID-0815"])))
def test_nothing_of_a_patient_comes_through(values: list[str]) -> None:
    assert plain(" ".join(["file", *values])) in ("file", "file ...")
