"""The source: counted no further than needed, refused with the numbers, unpacked by range."""

from __future__ import annotations

import io
import itertools
import random
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.stub import Stubber

from healthimaging_import.aws.clients import Aws
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.request import Asset, ImportRequest
from healthimaging_import.importing.starting import survey
from healthimaging_import.importing.unpack import unpack
from healthimaging_import.service_model import Quotas
from tests.handler.fake_aws import SOURCE, FakeAws, StorageFault

RequestFor = Callable[..., ImportRequest]
MEGABYTE = 1024**2


def plenty() -> float:
    return 600.0


# -- looking ---------------------------------------------------------------------------------------------------------


def test_a_survey_counts_files_and_bytes_under_the_prefix(calls: Aws, aws: FakeAws, request_for: RequestFor) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"123")
    aws.put(SOURCE, "studies/deep/er/2.dcm", b"12345")
    aws.put(SOURCE, "studies-old/3.dcm", b"1")
    aws.put(SOURCE, "other.dcm", b"1")
    assert 2 == survey(calls, request_for(quotas=Quotas(files=2, total_bytes=8, file_bytes=5)))


def test_folder_markers_are_no_files(calls: Aws, aws: FakeAws, request_for: RequestFor) -> None:
    aws.put(SOURCE, "studies/")
    aws.put(SOURCE, "studies/a/")
    assert 0 == survey(calls, request_for())


def test_an_object_that_holds_something_is_a_file_whatever_its_name(
    calls: Aws, aws: FakeAws, request_for: RequestFor
) -> None:
    aws.put(SOURCE, "studies/odd/", b"1")
    aws.put(SOURCE, "studies/empty.dcm")
    assert 2 == survey(calls, request_for())


@pytest.mark.parametrize(("limit", "pages"), [(3, 2), (4, 3), (5, 3), (99, 50)])
def test_a_survey_stops_one_past_the_limit(
    calls: Aws, aws: FakeAws, request_for: RequestFor, limit: int, pages: int
) -> None:
    aws.page_size = 2
    for number in range(100):
        aws.put(SOURCE, f"studies/{number:03}", b"1")
    with pytest.raises(TerminalError, match=f"at least {limit + 1} files are"):
        survey(calls, request_for(quotas=Quotas(files=limit)))
    assert pages == aws.count("S3.ListObjectsV2")


def test_a_survey_stops_where_the_bytes_are_too_many(calls: Aws, aws: FakeAws, request_for: RequestFor) -> None:
    aws.page_size = 1
    for number in range(10):
        aws.put(SOURCE, f"studies/{number}", b"12345")
    with pytest.raises(TerminalError, match="at least 10 bytes are"):
        survey(calls, request_for(quotas=Quotas(total_bytes=9)))
    assert 2 == aws.count("S3.ListObjectsV2")


AT_THE_LIMIT = Quotas(files=4, total_bytes=100, file_bytes=40)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([10] * 9, "at least 5 files are under the input prefix, one import job takes 4"),
        ([40, 40, 21, 1], "at least 101 bytes are under the input prefix, one job takes 100"),
        ([1, 41], "a file under the input prefix has 41 bytes, it may have 40"),
    ],
)
def test_fails_beyond_each_limit_with_the_numbers(
    calls: Aws, aws: FakeAws, request_for: RequestFor, sizes: list[int], expected: str
) -> None:
    for number, size in enumerate(sizes):
        aws.put(SOURCE, f"studies/{number}", b"1" * size)
    with pytest.raises(TerminalError) as refused:
        survey(calls, request_for(quotas=AT_THE_LIMIT))
    advice = "import it with BulkDicomImport, which takes any number, or pass quotas= if AWS has raised yours"
    if expected.startswith("a file"):
        advice = "move it out of the prefix, or pass quotas= if AWS has raised yours"
    assert f"no job was started: {expected}; {advice}" == str(refused.value)


def test_what_is_exactly_at_each_limit_is_taken(calls: Aws, aws: FakeAws, request_for: RequestFor) -> None:
    for number, size in enumerate([40, 40, 10, 10]):
        aws.put(SOURCE, f"studies/{number}", b"1" * size)
    assert 4 == survey(calls, request_for(quotas=AT_THE_LIMIT))


def test_the_owner_of_a_foreign_bucket_is_checked(calls: Aws, request_for: RequestFor) -> None:
    with Stubber(calls.client("s3")) as stubber:
        expected = {
            "Bucket": SOURCE,
            "Prefix": "studies/",
            "ExpectedBucketOwner": "444455556666",
            "OptionalObjectAttributes": ["RestoreStatus"],
        }
        stubber.add_response("list_objects_v2", {"IsTruncated": False}, expected)
        assert 0 == survey(calls, request_for(input_owner_account_id="444455556666"))
        stubber.assert_no_pending_responses()


# -- archives --------------------------------------------------------------------------------------------------------

RESTORED = "<RestoreExpiryDate>2030-01-01T00:00:00Z</RestoreExpiryDate>"


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_fails_for_archived_objects_with_the_numbers_and_what_to_do(
    calls: Aws, aws: FakeAws, request_for: RequestFor, storage_class: str
) -> None:
    for number in range(3):
        aws.put(SOURCE, f"studies/{number}", b"1")
    aws.archive("studies/1", storage_class)
    expected = (
        "no job was started: 1 of 3 objects under the input prefix are in the storage class GLACIER or DEEP_ARCHIVE, "
        "which HealthImaging cannot read; restore them (aws s3api restore-object) or move them out of the prefix, then "
        "deploy again"
    )
    with pytest.raises(TerminalError) as raised:
        survey(calls, request_for())
    assert expected == str(raised.value)


@pytest.mark.parametrize(
    ("storage_class", "restore_status", "archived"),
    [
        ("STANDARD", "", 0),
        ("STANDARD_IA", "", 0),
        ("INTELLIGENT_TIERING", "", 0),
        # Read in milliseconds, for all its name.
        ("GLACIER_IR", "", 0),
        ("GLACIER", "", 1),
        ("GLACIER", "<IsRestoreInProgress>true</IsRestoreInProgress>", 1),
        ("GLACIER", f"<IsRestoreInProgress>true</IsRestoreInProgress>{RESTORED}", 1),
        ("GLACIER", f"<IsRestoreInProgress>false</IsRestoreInProgress>{RESTORED}", 0),
        ("DEEP_ARCHIVE", "<IsRestoreInProgress>false</IsRestoreInProgress>", 1),
    ],
)
def test_what_can_be_read_is_not_archived(
    calls: Aws, aws: FakeAws, request_for: RequestFor, storage_class: str, restore_status: str, *, archived: int
) -> None:
    aws.put(SOURCE, "studies/1", b"1")
    aws.archive("studies/1", storage_class, restore_status and f"<RestoreStatus>{restore_status}</RestoreStatus>")
    if archived:
        with pytest.raises(TerminalError, match="1 of 1 objects under the input prefix are in the storage class"):
            survey(calls, request_for())
    else:
        assert 1 == survey(calls, request_for())


def test_folder_markers_in_an_archive_are_no_files(calls: Aws, aws: FakeAws, request_for: RequestFor) -> None:
    aws.put(SOURCE, "studies/a/")
    aws.archive("studies/a/")
    assert 0 == survey(calls, request_for())


def test_fails_at_once_without_the_bucket(propagating: Aws, request_for: RequestFor) -> None:
    with pytest.raises(TerminalError, match=r"answered NoSuchBucket.*: the bucket does not exist"):
        survey(propagating, request_for(input_bucket="missing"))


def test_a_denied_listing_may_pass_while_iam_propagates(
    calls: Aws, propagating: Aws, aws: FakeAws, request_for: RequestFor
) -> None:
    aws.fail("S3.ListObjectsV2", "AccessDenied", 403, times=2)
    with pytest.raises(RetryableError):
        survey(propagating, request_for())
    with pytest.raises(TerminalError, match=r"s3:ListBucket .input bucket. answered AccessDenied"):
        survey(calls, request_for())


@pytest.mark.parametrize(("owner", "named"), [("444455556666", True), ("111122223333", False), (None, False)])
def test_a_denied_listing_in_another_account_names_who_else_has_to_allow_it(
    calls: Aws, aws: FakeAws, request_for: RequestFor, owner: str | None, *, named: bool
) -> None:
    aws.fail("S3.ListObjectsV2", "AccessDenied", 403)
    with pytest.raises(TerminalError) as refused:
        survey(calls, request_for(input_owner_account_id=owner))
    expected = "the input bucket has to belong to account 444455556666, which has to allow what the outputs SourceBu"
    assert named == (expected in str(refused.value))


# -- unpacking -------------------------------------------------------------------------------------------------------


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


MEMBER = "DOE^JANE.dcm"


def altered(at_entry: int, at_directory: int, value: int) -> bytes:
    """A zip of one deflated member with a byte changed in its local header and in the central directory."""
    made = bytearray(zipped({MEMBER: b"one" * 100}))
    made[made.find(b"PK\x03\x04") + at_entry] = value
    made[made.find(b"PK\x01\x02") + at_directory] = value
    return bytes(made)


def with_other_content(method: int) -> bytes:
    """A zip whose member begins with other bytes than were written."""
    made = bytearray(zipped({MEMBER: b"one" * 100}, method))
    begin = made.find(MEMBER.encode()) + len(MEMBER)
    made[begin : begin + 8] = bytes(byte ^ 0xFF for byte in made[begin : begin + 8])
    return bytes(made)


def broken_zips() -> dict[str, bytes]:
    noise = zipped({MEMBER: random.Random(1).randbytes(1000)})
    return {
        "none": b"not a zip",
        "empty": b"",
        "encrypted": altered(6, 8, 1),
        "compression that nobody knows": altered(8, 10, 99),
        "compression that is too old": altered(8, 10, 1),
        "another compression than it says": altered(8, 10, 12),
        "lzma that is none": altered(8, 10, 14),
        "deflate": with_other_content(zipfile.ZIP_DEFLATED),
        "checksum": with_other_content(zipfile.ZIP_STORED),
        "name that is no text": altered(7, 9, 8).replace(MEMBER.encode(), b"DOE^JANE\xff\xff\xff\xff"),
        "truncated": noise[:200] + noise[-200:],
        "without its end": noise[:-10],
        "without its beginning": noise[300:],
    }


@pytest.mark.parametrize("kind", broken_zips())
def test_fails_for_a_zip_that_cannot_be_read_without_a_name_from_it(
    calls: Aws, aws: FakeAws, request_for: RequestFor, kind: str
) -> None:
    aws.put("assets", "local.zip", broken_zips()[kind])
    with pytest.raises(TerminalError) as refused:
        unpack(calls, request_for(asset=Asset("assets", "local.zip")), 0, plenty)
    expected = "the zip of local files is damaged, encrypted or compressed in an unknown way; build the asset again"
    assert expected == str(refused.value)
    assert [] == aws.keys(SOURCE)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["a//1.dcm", "./a/1.dcm", "a/./1.dcm", "a/1.dcm"])
def test_fails_for_two_members_of_one_key_before_anything_is_written(
    calls: Aws, aws: FakeAws, request_for: RequestFor, name: str
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/1.dcm", b"one")
        archive.writestr(name, b"two")
    aws.put("assets", "local.zip", file.getvalue())
    with pytest.raises(TerminalError) as refused:
        unpack(calls, request_for(asset=Asset("assets", "local.zip")), 0, plenty)
    expected = "two files in the zip of local files have the same name; rename one and build the asset again"
    assert expected == str(refused.value)
    assert [] == aws.keys(SOURCE)


@pytest.mark.slow
@pytest.mark.parametrize("reads", range(3))
def test_an_asset_that_s3_does_not_hand_over_is_not_taken_for_a_damaged_one(
    calls: Aws, aws: FakeAws, with_asset: RequestFor, reads: int
) -> None:
    request = with_asset({"1": random.Random(1).randbytes(24 * MEGABYTE)}, zipfile.ZIP_STORED)
    serve, seen = aws._GetObject, itertools.count()

    def sometimes(*arguments: Any) -> Any:
        if next(seen) == reads:
            raise StorageFault(503, "SlowDown")
        return serve(*arguments)

    aws._GetObject = sometimes
    with pytest.raises(RetryableError, match=r"s3:GetObject .asset. answered SlowDown"):
        unpack(calls, request, 0, plenty)


@pytest.fixture
def with_asset(aws: FakeAws, request_for: RequestFor) -> Callable[..., ImportRequest]:
    def make(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> ImportRequest:
        aws.put("assets", "local.zip", zipped(members, method))
        return request_for(asset=Asset("assets", "local.zip"))

    return make


def test_members_are_unpacked_under_the_prefix_with_their_folders(
    calls: Aws, aws: FakeAws, with_asset: RequestFor
) -> None:
    request = with_asset({"1.dcm": b"one", "a/": b"", "a/b/2.dcm": b"two", "./c/3 ü.dcm": b"three", "empty": b""})
    assert unpack(calls, request, 0, plenty) is None
    expected = {
        "studies/1.dcm": b"one",
        "studies/a/b/2.dcm": b"two",
        "studies/c/3 ü.dcm": b"three",
        "studies/empty": b"",
    }
    assert expected == {key: body for (bucket, key), body in aws.objects.items() if bucket == SOURCE}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "//x", "a/../../x", "a/.."])
def test_fails_for_a_name_that_leaves_its_folder(calls: Aws, aws: FakeAws, with_asset: RequestFor, name: str) -> None:
    request = with_asset({name: b"hostile"})
    with pytest.raises(TerminalError) as refused:
        unpack(calls, request, 0, plenty)
    assert "a name in the zip of local files leaves its folder; build the asset again" == str(refused.value)
    assert [] == aws.keys(SOURCE)


def test_unpacking_stops_when_the_time_is_up_and_goes_on_there(
    calls: Aws, aws: FakeAws, with_asset: RequestFor
) -> None:
    request = with_asset({f"{number}.dcm": bytes([number]) for number in range(5)})
    seconds = iter([1.0, 1.0, 0.0])
    assert 2 == unpack(calls, request, 0, lambda: next(seconds))
    assert ["studies/0.dcm", "studies/1.dcm"] == aws.keys(SOURCE)
    assert unpack(calls, request, 2, plenty) is None
    assert [f"studies/{number}.dcm" for number in range(5)] == aws.keys(SOURCE)
    assert 5 == aws.count("S3.PutObject")


def test_unpacking_again_changes_nothing(calls: Aws, aws: FakeAws, with_asset: RequestFor) -> None:
    request = with_asset({"1.dcm": b"one", "2.dcm": b"two"})
    unpack(calls, request, 0, plenty)
    before = dict(aws.objects)
    unpack(calls, request, 0, plenty)
    assert before == aws.objects


def test_nothing_is_unpacked_without_an_asset(calls: Aws, request_for: RequestFor) -> None:
    assert unpack(calls, request_for(), 0, plenty) is None


@pytest.mark.slow
def test_a_zip_is_read_only_where_it_is_needed(calls: Aws, aws: FakeAws, with_asset: RequestFor) -> None:
    noise = random.Random(1).randbytes(24 * MEGABYTE)
    request = with_asset({"large": noise, "small": b"1"}, zipfile.ZIP_STORED)
    unpack(calls, request, 1, plenty)
    assert ["studies/small"] == aws.keys(SOURCE)
    assert sum(call.sent for call in aws.calls if call.operation == "S3.GetObject") < 10 * MEGABYTE


@pytest.mark.slow
def test_a_large_member_is_streamed_in_parts(calls: Aws, aws: FakeAws, with_asset: RequestFor) -> None:
    noise = random.Random(1).randbytes(24 * MEGABYTE)
    request = with_asset({"large": noise}, zipfile.ZIP_STORED)
    unpack(calls, request, 0, plenty)
    assert noise == aws.objects[SOURCE, "studies/large"]
    assert aws.count("S3.UploadPart") >= 3
    assert max(call.sent for call in aws.calls if call.operation == "S3.GetObject") <= 16 * MEGABYTE


@pytest.mark.slow
def test_many_small_members_need_few_reads(calls: Aws, aws: FakeAws, with_asset: RequestFor) -> None:
    request = with_asset({f"{number}.dcm": b"1" * 100 for number in range(50)})
    unpack(calls, request, 0, plenty)
    assert 50 == aws.count("S3.PutObject")
    assert aws.count("S3.GetObject") <= 4


def test_fails_with_the_call_that_was_denied(calls: Aws, aws: FakeAws, with_asset: RequestFor) -> None:
    request = with_asset({"1.dcm": b"one"})
    aws.fail("S3.PutObject", "AccessDenied", 403)
    with pytest.raises(TerminalError, match=r"s3:PutObject .input bucket. answered AccessDenied"):
        unpack(calls, request, 0, plenty)
    aws.fail("S3.HeadObject", "403", 403)
    with pytest.raises(TerminalError, match=r"s3:GetObject .asset. answered 403"):
        unpack(calls, request, 0, plenty)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7, 12])
def test_a_zip_is_read_once(calls: Aws, aws: FakeAws, with_asset: RequestFor, size: int) -> None:
    noise = random.Random(1).randbytes(size * MEGABYTE)
    request = with_asset({"a": noise, "b": noise}, zipfile.ZIP_STORED)
    unpack(calls, request, 0, plenty)
    read = sum(call.sent for call in aws.calls if call.operation == "S3.GetObject")
    assert read < (2 * size + 12) * MEGABYTE
