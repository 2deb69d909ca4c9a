"""A patient's name, planted wherever data comes from, and looked for wherever this library writes."""

from __future__ import annotations

import io
import json
from typing import Any

import pydicom
import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import DicomImport, ImportSource
from tests.deployment import P10_FILES, Account

pytestmark = pytest.mark.cloud

NAME = "DOE^JANE"
PREFIX = f"patients/{NAME}/"


def named_file() -> bytes:
    """A P10 file of the patient."""
    dataset = pydicom.dcmread(P10_FILES / "CT_small.dcm")
    dataset.PatientName = NAME
    body = io.BytesIO()
    dataset.save_as(body)
    return body.getvalue()


def watch_events(account: Account) -> str:
    """A queue that gets every event of this library; answers its URL."""
    queue = account.cloud.client("sqs").create_queue(QueueName="canary")["QueueUrl"]
    events = account.cloud.client("events")
    events.put_rule(Name="canary", EventPattern=json.dumps({"source": ["healthimaging-cdk"]}))
    arn = f"arn:aws:sqs:{account.cloud.region}:{account.cloud.account}:canary"
    events.put_targets(Rule="canary", Targets=[{"Id": "queue", "Arn": arn}])
    return str(queue)


def received(account: Account, queue: str) -> list[dict[str, Any]]:
    sqs = account.cloud.client("sqs")
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in messages]


def test_a_patients_name_comes_into_no_log_line_event_attribute_or_output(account):
    def app(run_id: str) -> App:
        app = App(analytics_reporting=False)
        stack = Stack(app, "Canary")
        bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "canary-images")
        DicomImport(stack, "Import", source=ImportSource.bucket(bucket, PREFIX), run_id=run_id)
        return app

    queue = watch_events(account)
    account.s3.create_bucket(Bucket="canary-images")
    account.deploy_one(app("nothing"))
    account.s3.put_object(Bucket="canary-images", Key=f"{PREFIX}{NAME}.txt", Body=NAME.encode())
    bad = account.deploy_one(app("all-bad"))
    account.s3.put_object(Bucket="canary-images", Key=f"{PREFIX}{NAME}.dcm", Body=named_file())
    account.cloud.inject("StartDICOMImportJob", "ThrottlingException", times=1, message=f"slow for {NAME}")
    good = account.deploy_one(app("some-good"))
    account.cloud.inject("GetObject", "InternalError", service="s3", times=1, message=f"lost {NAME}")
    account.cloud.inject(
        "StartDICOMImportJob", "ValidationException", times=1, message=f"bad s3://canary-images/{PREFIX}{NAME}.dcm"
    )
    refused = account.deploy_one(app("refused"))

    assert "1 imported" in good.output("Summary")
    assert "ValidationException" in refused.reason
    events = received(account, queue)
    assert {"SUCCEEDED", "FAILED"} == {event["detail"]["outcome"] for event in events}
    written = {
        "log": account.log_lines(),
        "outputs": json.dumps([good.outputs, bad.outputs, refused.outputs]),
        "reasons": "\n".join([*bad.reasons, *good.reasons, *refused.reasons]),
        "events": json.dumps(events),
        "records": _records(account, good.output("ManifestUri")),
    }
    found = [place for place, text in written.items() if "DOE" in text or "JANE" in text]
    assert ["records"] == found  # the request that is replayed holds the prefix; it stays in the output bucket


def _records(account: Account, manifest_uri: str) -> str:
    bucket, _, key = manifest_uri.removeprefix("s3://").partition("/")
    folder = key.rsplit("/", 2)[0]
    listed = account.s3.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/")["Contents"]
    records = [item["Key"] for item in listed if item["Key"].endswith(".json") and "manifest" not in item["Key"]]
    assert records
    return "\n".join(account.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in records)
