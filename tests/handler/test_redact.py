"""AWS's free text, reduced to words that can be shown."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from healthimaging_import.aws.redact import read_denial, redact


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
    assert expected == redact(said)


def test_a_redacted_text_is_short() -> None:
    assert 120 == len(redact("file is invalid " * 100))


@given(st.lists(st.sampled_from(["DOE^JANE", "Doe", "19700101", "1.2.840.1", "jane.doe@example.org", "ID-0815"])))
def test_nothing_of_a_patient_comes_through(values: list[str]) -> None:
    assert redact(" ".join(["file", *values])) in ("file", "file ...")


def test_a_limit_that_healthimaging_names_is_told() -> None:
    assert "FILE_COUNTS_LIMIT ..." == redact("FILE_COUNTS_LIMIT DOE^JANE")
    assert "..." == redact("DOE_LIMIT")


# -- denials ---------------------------------------------------------------------------------------------------------

DENIED = "User: arn:aws:sts::111122223333:assumed-role/Import/x is not authorized to perform: iam:PassRole"


@pytest.mark.parametrize(
    "said",
    [
        DENIED,
        f"{DENIED} on resource: arn:aws:iam::111122223333:role/a/Import",
        f"{DENIED} on resource: arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/1-2-3",
        f"{DENIED} on resource: arn:aws:medical-imaging:us-east-1:111122223333:datastore/{'0' * 32}",
        f"{DENIED} on resource: arn:aws:states:us-east-1:111122223333:stateMachine:Engine",
        f"{DENIED} because no identity-based policy allows the iam:PassRole action",
        f"{DENIED} because no permissions boundary allows the iam:PassRole action",
        f"{DENIED} on resource: arn:aws:iam::111122223333:role/R with an explicit deny in a service control policy",
    ],
)
def test_iams_own_sentence_is_repeated(said: str) -> None:
    assert said == read_denial(said)[0]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"{DENIED} on resource: arn:aws:s3:::source/DOE^JANE/1.dcm", f"{DENIED} on resource: ..."),
        (f"{DENIED} on resource: https://source.s3.amazonaws.com/DOE^JANE", f"{DENIED} on resource: ..."),
        (
            f"{DENIED} on resource: arn:aws:s3:us-east-1:111122223333:accesspoint/ap/object/DOE^JANE",
            f"{DENIED} on resource: ...",
        ),
        (f"{DENIED} on resource: S3://source/DOE^JANE", f"{DENIED} on resource: ..."),
        (
            f"{DENIED} on resource: arn:aws:s3express:us-east-1:111122223333:bucket/b--x-s3/DOE",
            f"{DENIED} on resource: ...",
        ),
        (
            f"{DENIED} on resource: arn:aws:iam::111122223333:role/R\u00c4;DOE because no doe jane",
            f"{DENIED} on resource: ...",
        ),
        (
            f"{DENIED} on resource: DOE because no identity-based policy allows the s3:GetObject action/1.dcm",
            f"{DENIED} on resource: ...",
        ),
        (
            f"{DENIED} on resource: arn:aws:iam::111122223333:role/R for DOE^JANE",
            f"{DENIED} on resource: arn:aws:iam::111122223333:role/R for ...",
        ),
        (f"{DENIED}/DOE^JANE", "User ... is not authorized to perform ..."),
        ("The data access role may not read object DOE^JANE/1.dcm", "The data access role ... not read object ..."),
        ("https://source.s3.amazonaws.com/DOE^JANE", "..."),
        ("", ""),
    ],
)
def test_of_all_other_denials_no_name_is_told(said: str, expected: str) -> None:
    assert expected == read_denial(said)[0]


def test_a_denial_is_short() -> None:
    assert 400 == len(read_denial(f"{DENIED} on resource: arn:aws:iam::111122223333:role/{'r' * 1000}")[0])


OBJECT_DENIED = "User: arn:aws:sts::111122223333:assumed-role/Import/x is not authorized to perform: s3:GetObject"


@given(st.text(alphabet="aé /.,');^", min_size=1))
@example("DOE JANE/1.dcm")
@example("O'NEIL/1.dcm")
@example("DOE, JANE (1).dcm")
@example(" with an explicit deny in a resource-based policy")
@example(" because no identity-based policy allows the s3:DOE action")
def test_no_part_of_any_key_comes_through(key: str) -> None:
    for why in (
        " because no identity-based policy allows the s3:GetObject action",
        " with an explicit deny in a resource-based policy",
    ):
        for resource in (f"arn:aws:s3:::source/{key}/1", f'"arn:aws:s3:::source/{key}/1"', f"{key}/1"):
            told, _ = read_denial(f"{OBJECT_DENIED} on resource: {resource}{why}")
            assert f"{OBJECT_DENIED} on resource: ...{why}" == told
            assert f"{OBJECT_DENIED} on resource: ..." == read_denial(f"{OBJECT_DENIED} on resource: {resource}")[0]


@pytest.mark.parametrize(
    ("action", "why", "expected"),
    [
        ("kms:Decrypt", "", "the role lacks kms:Decrypt on the bucket's KMS key: pass the bucket with its encryption_"),
        ("s3:PutObject", " with an explicit deny in a resource-based policy", "the bucket's policy denies the request"),
        ("s3:GetObject", " with an explicit deny in a resource-based policy", ""),
        ("s3:PutObject", " with an explicit deny in a service control policy", ""),
        ("s3:PutObject", "", ""),
    ],
)
def test_a_denial_that_has_one_remedy_names_it(action: str, why: str, expected: str) -> None:
    said = f"{OBJECT_DENIED.replace('s3:GetObject', action)} on resource: arn:aws:s3:::b/DOE{why}"
    _, remedy = read_denial(said)
    assert remedy.startswith(expected)
    assert bool(remedy) == bool(expected)
