"""A process that plans the keys of a layout, or parses the pages that S3 lists them on; prints its seconds of CPU.

``plan`` does what a step of the function does with each page that boto3 gives it. ``parse`` is boto3's paginator on the
same keys as S3 sends them, without a network.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from benchmarks.layouts import LAYOUTS, SIZE, page_of
from benchmarks.processes import peak_megabytes
from healthimaging_import.bulk.listing import files_of
from healthimaging_import.bulk.plan import PlanWriter
from healthimaging_import.bulk.planner import Limits, Planner

_PAGE = 1000


def main(what: str, layout: str, count: str) -> None:
    """Do it and print what it took."""
    keys = islice(LAYOUTS[layout](), int(count))
    document = plan(keys) if what == "plan" else {"seconds": parse(list(keys))}
    sys.stdout.write("\n" + json.dumps(document) + "\n")


def plan(keys: Iterator[str]) -> dict[str, Any]:
    """Plan them, a page at a time."""
    planner, writer = Planner("images", "a/", Limits()), PlanWriter("images")
    seconds = 0.0
    while names := list(islice(keys, _PAGE)):
        page = page_of(names)
        began = time.process_time()
        for _ in writer.add(planner.feed(files_of(page))):
            pass
        seconds += time.process_time() - began
    for _ in writer.add(planner.finish()):
        pass
    others = planner.any_prefix.jobs if planner.any_prefix else 0
    return {"seconds": seconds, "jobs": writer.jobs, "jobs_by_any_prefix": others, "peak": peak_megabytes()}


def parse(keys: list[str]) -> float:
    """Return the seconds that boto3's paginator takes."""
    import boto3  # noqa: PLC0415 - planning shall not have its memory
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415

    pages = [_xml(keys[at : at + _PAGE], is_last=at + _PAGE >= len(keys)) for at in range(0, len(keys), _PAGE)]
    waiting = iter(pages)

    class _Raw(io.BytesIO):
        def stream(self, **_: object) -> Iterator[bytes]:
            yield self.read()

    def answer(**_: object) -> AWSResponse:
        return AWSResponse("https://s3", 200, {"content-type": "application/xml"}, _Raw(next(waiting)))

    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106 - no network
    client.meta.events.register("before-send.s3.ListObjectsV2", answer)
    began = time.process_time()
    found = sum(len(page["Contents"]) for page in client.get_paginator("list_objects_v2").paginate(Bucket="images"))
    seconds = time.process_time() - began
    if found != len(keys):
        raise RuntimeError(f"boto3 read {found} keys of {len(keys)}")
    return seconds


def _xml(keys: list[str], *, is_last: bool) -> bytes:
    more = "<IsTruncated>false</IsTruncated>"
    if not is_last:
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{keys[-1]}</NextContinuationToken>"
    items = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-11-28T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{index:032x}&quot;</ETag><Size>{SIZE}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for index, key in enumerate(keys)
    )
    return f'<?xml version="1.0"?><ListBucketResult><Name>images</Name>{more}{items}</ListBucketResult>'.encode()


main(*sys.argv[1:])
