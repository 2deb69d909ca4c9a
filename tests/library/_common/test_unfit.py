"""Buckets, prefixes and keys that AWS would refuse on the first deploy are refused at synth, by name."""

from __future__ import annotations

import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import DataAccessRole, Datastore, DicomImport, ImportSource

NO_POLICY = "has characters above U\\+00FF, which IAM takes in no policy"


def bucket(stack, name="images"):
    return s3.Bucket.from_bucket_name(stack, f"Bucket{name}", name)


@pytest.mark.parametrize("prefix", ["検査/2026/", "dicom\u2013phantoms/", "😀/"])
def test_fails_prefixes_that_iam_takes_in_no_policy(stack, prefix):
    with pytest.raises(ValueError, match=f"prefix {prefix!r} {NO_POLICY}"):
        ImportSource.bucket(bucket(stack), prefix)
    with pytest.raises(ValueError, match=f"prefix {prefix!r} {NO_POLICY}"):
        ImportSource.directory(".", prefix=prefix)
    with pytest.raises(ValueError, match=f"output_prefix {prefix!r} {NO_POLICY}"):
        DicomImport(stack, "Import", output_prefix=prefix)
    with pytest.raises(ValueError, match=f"input_prefix {prefix!r} {NO_POLICY}.*output_prefix {prefix!r}"):
        DataAccessRole(
            stack,
            "Role",
            datastore=Datastore(stack, "Store"),
            input_bucket=bucket(stack, "one"),
            input_prefix=prefix,
            output_bucket=bucket(stack, "two"),
            output_prefix=prefix,
        )


def test_prefixes_of_latin_1_are_accepted(stack):
    DicomImport(stack, "Import", source=ImportSource.bucket(bucket(stack), "Thorax/\u00c4rzte\u00ff/"))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("images-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias", "the alias of an access point"),
        ("images-o1n1z35d7pjb4ttp--ol-s3", "the alias of an Object Lambda access point"),
        ("images--use1-az4--x-s3", "a directory bucket"),
    ],
)
def test_fails_names_that_are_no_general_purpose_buckets(stack, name, what):
    expected = f"'{name}' is {what}: give the general purpose bucket itself"
    with pytest.raises(ValueError, match=f"bucket {expected}"):
        ImportSource.bucket(bucket(stack, name))
    with pytest.raises(ValueError, match=f"output_bucket {expected}"):
        DicomImport(stack, "Import", output_bucket=s3.Bucket.from_bucket_name(stack, "Output", name))


@pytest.mark.parametrize("spec", [kms.KeySpec.RSA_2048, kms.KeySpec.ECC_NIST_P256, kms.KeySpec.HMAC_256])
def test_fails_keys_that_no_data_store_takes(stack, spec):
    usage = kms.KeyUsage.GENERATE_VERIFY_MAC if spec == kms.KeySpec.HMAC_256 else kms.KeyUsage.SIGN_VERIFY
    key = kms.Key(stack, "Key", key_spec=spec, key_usage=usage)
    for of in (key, kms.Alias(stack, "Alias", alias_name="alias/a", target_key=key)):
        with pytest.raises(ValueError, match=r"encryption_key is a key of spec .*symmetric encryption keys alone"):
            Datastore(stack, "Store", encryption_key=of)
        with pytest.raises(ValueError, match="encryption_key is a key of spec"):
            DicomImport(stack, "Import", encryption_key=of)


def test_fails_an_id_where_an_arn_is_asked_for(stack):
    with pytest.raises(ValueError, match=r"must be an ARN, got an id: use Datastore.from_datastore_id "):
        Datastore.from_datastore_arn(stack, "Store", "0" * 32)
