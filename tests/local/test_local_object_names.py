"""Keys that strangers give their objects."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.test_local_cloud import Scene, allow, refusal
from tests.local.test_local_cloud import scene as scene  # noqa: PLC0414 - a fixture
from tests.local.test_local_rights import session

pytestmark = pytest.mark.cloud


@pytest.mark.patch("wildcards_match_every_character")
@pytest.mark.patch("objects_are_asked_about_by_their_whole_key")
@pytest.mark.parametrize("key", ["in/a\nb.dcm", "in/", "in//a.dcm", "in/ü +.dcm"])
def test_a_job_reads_an_object_whatever_its_key(scene: Scene, sample: Any, key: str) -> None:
    scene.s3.put_object(Bucket=scene.source, Key=key, Body=sample("MR_small.dcm"))
    job = scene.run()
    summary = scene.manifest(job)
    assert ("COMPLETED", 3, 2) == (
        job["jobStatus"],
        summary["numberOfScannedFiles"],
        summary["numberOfImportedFiles"],
    ), job["message"]


@pytest.mark.patch("objects_are_asked_about_by_their_whole_key")
def test_fails_to_read_another_key_that_ends_with_a_slash(scene: Scene) -> None:
    for key in ("in/x", "in/x/"):
        scene.s3.put_object(Bucket=scene.source, Key=key, Body=b"1")
    rights = allow("s3:GetObject", f"arn:aws:s3:::{scene.source}/in/x")
    client = scene.cloud.client("s3", **session(scene, f"{scene.name}-one", rights))
    client.get_object(Bucket=scene.source, Key="in/x")
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket=scene.source, Key="in/x/")
    assert "AccessDenied" == refusal(caught)[0]


@pytest.mark.patch("keys_are_limited")
def test_fails_to_write_a_key_of_more_than_1024_bytes(scene: Scene) -> None:
    scene.s3.put_object(Bucket=scene.results, Key="é" * 512, Body=b"1")
    with pytest.raises(ClientError) as caught:
        scene.s3.put_object(Bucket=scene.results, Key="é" * 512 + "e", Body=b"1")
    assert "KeyTooLongError" == refusal(caught)[0]
