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
    assert 600 == len(read_denial(f"{DENIED} on resource: arn:aws:iam::111122223333:role/{'r' * 1000}")[0])


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


KINDS = [
    ("an", "identity-based policy"),
    ("a", "resource-based policy"),
    ("a", "session policy"),
    ("a", "service control policy"),
    ("a", "resource control policy"),
    ("a", "VPC endpoint policy"),
    ("the", "role trust policy"),
    ("a", "permissions boundary"),
]
POLICY_ARNS = [
    "arn:aws:organizations::987654321098:policy/o-qv5af4abcd/service_control_policy/p-2kgnabcd",
    "arn:aws-us-gov:organizations::777788889999:policy/o-exampleorgid/resource_control_policy/p-examplepolicyid",
    "arn:aws:organizations::aws:policy/service_control_policy/p-FullAWSAccess",
    "arn:aws:iam::111122223333:policy/path/of/Deny+=,.@-Images",
    "arn:aws-cn:iam::aws:policy/AWSCompromisedKeyQuarantineV3",
]
CONSOLE = (
    ". Go to https://us-east-1.console.aws.amazon.com/iam/home?region=us-east-1#/authorization-details/EXAMPLE1a2b for "
    "complete details, or call the GetRequestAuthorizationDetails API with the following authorization id: EXAMPLE1a2b"
)
MORE = ["", ".", CONSOLE]
"""What AWS may write after the reason."""
RESOURCES = {
    "s3:PutObject": ('"arn:aws:s3:::source/in/DOE^JANE/1.dcm"', "..."),
    "s3:ListBucket": ('"arn:aws:s3:::source"', "..."),
    "kms:Decrypt": (KMS_KEY := "arn:aws:kms:us-east-1:111122223333:key/0123-4567", KMS_KEY),
    "kms:GenerateDataKey": (f'"{KMS_KEY}"', f'"{KMS_KEY}"'),
    "sns:Publish": (TOPIC := "arn:aws:sns:us-east-1:111122223333:Topic", TOPIC),
}
KMS_REASON = (
    "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based "
    "policy explicitly denies access"
)
IMPORT = "User: arn:aws:sts::111122223333:assumed-role/Import/x is not authorized to perform: "


@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("action", RESOURCES)
@pytest.mark.parametrize(("article", "kind"), KINDS)
def test_a_denial_names_the_action_and_the_kind_of_policy(article: str, kind: str, action: str, more: str) -> None:
    resource, told = RESOURCES[action]
    for why in (f" because no {kind} allows the {action} action", f" with an explicit deny in {article} {kind}"):
        assert (
            f"{IMPORT}{action} on resource: {told}{why}"
            == read_denial(f"{IMPORT}{action} on resource: {resource}{why}{more}")[0]
        )
        assert f"{IMPORT}{action}{why}" == read_denial(f"{IMPORT}{action}{why}{more}")[0]


@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("introduced", [": ", ", with policy ARN: "])
@pytest.mark.parametrize("arn", POLICY_ARNS)
@pytest.mark.parametrize("action", RESOURCES)
def test_a_denial_names_the_policy(action: str, arn: str, introduced: str, more: str) -> None:
    """https://aws.amazon.com/blogs/security/enhanced-access-denied-error-messages-with-policy-arns."""
    resource, told = RESOURCES[action]
    for article, kind in KINDS:
        why = f" with an explicit deny in {article} {kind}"
        assert (
            f"{IMPORT}{action} on resource: {told}{why}: {arn}"
            == read_denial(f"{IMPORT}{action} on resource: {resource}{why}{introduced}{arn}{more}")[0]
        )
        assert f"{IMPORT}{action}{why}: {arn}" == read_denial(f"{IMPORT}{action}{why}{introduced}{arn}{more}")[0]


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:s3:::source/DOE",
        "arn:aws:iam::111122223333:role/DOE",
        "arn:aws:iam::111122223333:policy/DOE^JANE",
        "arn:aws:iam::111122223333:policy/D\u00d6E",
        "arn:aws:kms:us-east-1:111122223333:key/DOE",
        "DOE",
    ],
)
@pytest.mark.parametrize("resource", ['"arn:aws:s3:::source/1"', "arn:aws:s3:::source/1"])
def test_what_is_no_policys_arn_is_left_out(resource: str, arn: str) -> None:
    why = " with an explicit deny in a session policy"
    told = read_denial(f"{OBJECT_DENIED} on resource: {resource}{why}: {arn}")[0]
    assert "DOE" not in told
    assert arn == "DOE" or f"{OBJECT_DENIED} on resource: ...{why}" == told


@pytest.mark.parametrize("why", [
    " with an explicit deny in an identity-based policy: arn:aws:iam::111122223333:policy/DOE-JANE",
    " with an explicit deny in a session policy, with policy ARN: arn:aws:iam::aws:policy/DOE.",
    " because no identity-based policy allows the s3:DOE action",
    " because no identity-based policy allows the s3:DOE action. Go to https://DOE",
])  # fmt: skip
@pytest.mark.parametrize("end", ["", " with an explicit deny in a VPC endpoint policy: arn:aws:s3:::DOE"])
@pytest.mark.parametrize(
    "name", ["arn:aws:s3:::source/in{}", '"arn:aws:s3:::source/in{}"', '"arn:aws:s3:::b/in"{}"', "{}"]
)
def test_a_name_that_reads_like_a_reason_tells_nothing_of_itself(name: str, why: str, end: str) -> None:
    told = read_denial(f"{OBJECT_DENIED} on resource: {name.format(why)}{end}")[0]
    assert "DOE" not in told
    assert told.startswith(f"{OBJECT_DENIED} on resource: ...")


@pytest.mark.parametrize("on", ["this resource", "the resource associated with this ciphertext"])
@pytest.mark.parametrize("why", [KMS_REASON, "because no identity-based policy allows the kms:Decrypt action"])
def test_what_kms_says_of_a_key_is_repeated(on: str, why: str) -> None:
    said = f"{IMPORT}kms:Decrypt on {on} {why}"
    told, remedy = read_denial(said)
    assert said == told
    assert remedy.startswith("the role lacks kms:Decrypt on the bucket's KMS key")


def test_a_denial_with_the_longest_names_that_cdk_makes_is_told_whole() -> None:
    who = f"arn:aws-us-gov:sts::111122223333:assumed-role/{'R' * 64}/{'s' * 64}"
    key = "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-" + "0" * 32
    policy = f"arn:aws-us-gov:organizations::111122223333:policy/o-{'0' * 32}/service_control_policy/p-{'0' * 32}"
    said = (
        f"User: {who} is not authorized to perform: kms:GenerateDataKeyWithoutPlaintext on resource: {key} "
        f"with an explicit deny in a service control policy: {policy}"
    )
    assert said == read_denial(said)[0]


@pytest.mark.parametrize(
    ("action", "why", "expected"),
    [
        ("kms:Decrypt", "", "the role lacks kms:Decrypt on the bucket's KMS key: pass the bucket with its encryption_"),
        ("s3:PutObject", " with an explicit deny in a resource-based policy", "the bucket's policy denies the request"),
        (
            "s3:PutObject",
            f" with an explicit deny in a resource-based policy{CONSOLE}",
            "the bucket's policy denies the request",
        ),
        (
            "kms:Decrypt",
            f" with an explicit deny in a service control policy: {POLICY_ARNS[0]}",
            "the role lacks kms:Decrypt on the bucket's KMS key",
        ),
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
