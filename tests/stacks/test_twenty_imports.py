"""Twenty imports of one stack in an account that runs ten functions at once, as every new one does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Datastore, DicomImport, ImportSource
from healthimaging_local import Cloud
from tests.deployment import Account

pytestmark = [pytest.mark.cloud, pytest.mark.long]

IMPORTS = 20
SLOTS = 10


@pytest.fixture
def account():
    """An account of a cloud whose waits last as long as on AWS: what waits for a slot grows old meanwhile."""
    with Cloud(job_seconds=0.2, throttling=False) as cloud:
        yield Account(cloud)


def throttles(account) -> float:
    """How many calls of functions were throttled."""
    now = datetime.now(UTC)
    points = account.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Throttles",
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=7200,
        Statistics=["Sum"],
    )["Datapoints"]
    return sum(point["Sum"] for point in points)


def test_twenty_imports_of_one_stack_pass_where_ten_functions_run_at_once(account):
    account.cloud.settings(concurrent_executions=SLOTS, custom_resources_at_once=True)
    account.s3.create_bucket(Bucket="twenty-images")
    app = App(analytics_reporting=False)
    stack = Stack(app, "Twenty")
    images = s3.Bucket.from_bucket_name(stack, "Images", "twenty-images")
    store = Datastore(stack, "Store")
    for number in range(IMPORTS):
        account.upload("twenty-images", f"{number}/", "CT_small.dcm")
        DicomImport(stack, f"Import{number}", datastore=store, source=ImportSource.bucket(images, f"{number}/"))
    deployed = account.deploy_one(app)
    assert "CREATE_COMPLETE" == deployed.status, deployed
    jobs = account.jobs(account.resource_id("Twenty", "AWS::HealthImaging::Datastore"))
    assert (IMPORTS, {"COMPLETED"}) == (account.jobs_started(), {job["jobStatus"] for job in jobs})
    sources = [account.job(job["datastoreId"], job["jobId"])["inputS3Uri"] for job in jobs]
    assert sorted(f"s3://twenty-images/{number}/" for number in range(IMPORTS)) == sorted(sources)
    counts = [value for name, value in deployed.outputs.items() if "Summary" in name]
    assert IMPORTS == len([text for text in counts if "1 imported" in text])
    assert throttles(account) > 0
