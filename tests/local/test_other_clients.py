"""Clients that nobody here wrote: the AWS CLI with every HealthImaging command, and AWS's Python utilities."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest

from healthimaging_import.service_model import ServiceModel
from healthimaging_local import Account
from healthimaging_local.service import HealthImaging
from tests.conftest import ROOT
from tests.deployment import P10_FILES

pytestmark = [pytest.mark.cloud, pytest.mark.long]

CLIENTS = ROOT / ".clients" / "bin"


def run(account: Account, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    if not CLIENTS.is_dir():
        pytest.fail("the clients are missing in .clients: run `make install-clients` first")
    path = f"{CLIENTS}{os.pathsep}{os.environ['PATH']}"
    environ = {**account.child_environ(), "PATH": path, "AWS_PAGER": ""}
    ended = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=600, check=False)
    assert not check or ended.returncode == 0, f"{' '.join(words)}\n{ended.stdout}\n{ended.stderr}"
    return ended


class Cli:
    """`aws medical-imaging`, which remembers the commands that it was given."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.used: set[str] = set()

    def __call__(self, command: str, *options: str, **arguments: str) -> Any:
        ended = self.ask(command, *options, **arguments)
        assert ended.returncode == 0, f"{command}: {ended.stderr}"
        return json.loads(ended.stdout or "{}")

    def ask(self, command: str, *options: str, **arguments: str) -> subprocess.CompletedProcess[str]:
        self.used.add(command)
        words = [word for name, value in arguments.items() for word in (f"--{name.replace('_', '-')}", value)]
        full = ("aws", "medical-imaging", command, *words, *options, "--output", "json")
        return run(self.account, *full, check=False)

    def if_known(self, operation: str, command: str, *options: str, **arguments: str) -> Any:
        """The answer, or nothing where the local cloud lacks the operation and says so."""
        if hasattr(HealthImaging, operation):
            return self(command, *options, **arguments)
        assert "UnknownOperationException" in self.ask(command, *options, **arguments).stderr
        return None


def upload_and_role(account: Account, *names: str) -> tuple[dict[str, str], str]:
    """A bucket with these files, as the places of an import; and a role that HealthImaging may assume for it."""
    bucket = f"clients-{account.id}"
    account.s3.create_bucket(Bucket=bucket)
    for name in names:
        account.s3.put_object(Bucket=bucket, Key=f"in/{name}", Body=(P10_FILES / name).read_bytes())
    trust = {"Effect": "Allow", "Principal": {"Service": "medical-imaging.amazonaws.com"}, "Action": "sts:AssumeRole"}
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    iam = account.client("iam")
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName="importer", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_role_policy(RoleName="importer", PolicyName="all", PolicyDocument=policy)
    return {"input_s3_uri": f"s3://{bucket}/in/", "output_s3_uri": f"s3://{bucket}/out/"}, str(role)


def import_with(aws: Cli, *names: str) -> tuple[str, dict[str, Any]]:
    """A store, and the job that imported the files into it, both by the AWS CLI."""
    places, role = upload_and_role(aws.account, *names)
    store = aws("create-datastore", datastore_name="cli", tags="team=imaging")["datastoreId"]
    job = aws("start-dicom-import-job", datastore_id=store, job_name="cli", data_access_role_arn=role, **places)
    for _ in range(600):
        found = aws("get-dicom-import-job", datastore_id=store, job_id=job["jobId"])["jobProperties"]
        if found["jobStatus"] in ("COMPLETED", "FAILED"):
            return store, found
        time.sleep(0.5)
    raise AssertionError("the job did not end")


@pytest.fixture
def aws(healthimaging_account: Account) -> Cli:
    return Cli(healthimaging_account)


def test_the_aws_cli_does_every_command(aws: Cli, tmp_path: Path) -> None:
    store, job = import_with(aws, "CT_small.dcm", "MR_small.dcm")
    assert "COMPLETED" == job["jobStatus"]
    summaries = aws("list-dicom-import-jobs", datastore_id=store)["jobSummaries"]
    assert [job["jobId"]] == [it["jobId"] for it in summaries]

    arn = aws("get-datastore", datastore_id=store)["datastoreProperties"]["datastoreArn"]
    assert [store] == [it["datastoreId"] for it in aws("list-datastores")["datastoreSummaries"]]
    aws("tag-resource", resource_arn=arn, tags="stage=test")
    aws("untag-resource", resource_arn=arn, tag_keys="team")
    assert {"stage": "test"} == aws("list-tags-for-resource", resource_arn=arn)["tags"]

    criteria = json.dumps({"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "1CT1"}]}]})
    (ct,) = aws("search-image-sets", datastore_id=store, search_criteria=criteria)["imageSetsMetadataSummaries"]
    where = {"datastore_id": store, "image_set_id": ct["imageSetId"]}
    assert "ACTIVE" == aws("get-image-set", **where)["imageSetState"]
    blob = tmp_path / "metadata.gz"
    aws("get-image-set-metadata", str(blob), **where)
    metadata = json.loads(gzip.decompress(blob.read_bytes()))
    assert "1CT1" == metadata["Patient"]["DICOM"]["PatientID"]

    (series,) = metadata["Study"]["Series"].values()
    (instance,) = series["Instances"].values()
    frame = f"imageFrameId={instance['ImageFrames'][0]['ID']}"
    aws.if_known("GetImageFrame", "get-image-frame", str(tmp_path / "frame"), image_frame_information=frame, **where)
    changes = {"SchemaVersion": "1.1", "Study": {"DICOM": {"StudyDescription": "changed"}}}
    content = json.dumps(changes)  # version 1 of the CLI encodes it itself
    aws.if_known(
        "UpdateImageSetMetadata",
        "update-image-set-metadata",
        latest_version_id="1",
        update_image_set_metadata_updates=json.dumps({"DICOMUpdates": {"updatableAttributes": content}}),
        **where,
    )
    (mr,) = [
        it
        for it in aws("search-image-sets", datastore_id=store)["imageSetsMetadataSummaries"]
        if it["imageSetId"] != ct["imageSetId"]
    ]
    copied = aws.if_known(
        "CopyImageSet",
        "copy-image-set",
        datastore_id=store,
        source_image_set_id=mr["imageSetId"],
        copy_image_set_information=json.dumps({"sourceImageSet": {"latestVersionId": "1"}}),
    )
    versions = aws("list-image-set-versions", **where)["imageSetPropertiesList"]
    assert ct["imageSetId"] == versions[0]["imageSetId"]

    sets = [ct["imageSetId"], mr["imageSetId"]]
    if copied:
        sets.append(copied["destinationImageSetProperties"]["imageSetId"])
    for image_set in sets:
        deleted = aws("delete-image-set", datastore_id=store, image_set_id=image_set)
        assert deleted["imageSetState"] in ("LOCKED", "DELETED")
    for _ in range(600):
        if aws.ask("delete-datastore", datastore_id=store).returncode == 0:
            break
        time.sleep(0.5)
    assert [] == [
        it["datastoreId"] for it in aws("list-datastores")["datastoreSummaries"] if it["datastoreStatus"] == "ACTIVE"
    ]
    assert {_kebab(name) for name in ServiceModel.load().document["operations"]} == aws.used


def test_the_aws_cli_tells_the_error_of_the_service(aws: Cli) -> None:
    assert "(ResourceNotFoundException)" in aws.ask("get-datastore", datastore_id="0" * 32).stderr


READ_HEADERS = """
import logging, multiprocessing, os, sys
logging.basicConfig(level=logging.ERROR)
from AHItoDICOMInterface.AHItoDICOM import AHItoDICOM

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    helper = AHItoDICOM(AHI_endpoint=os.environ["AWS_ENDPOINT_URL"], fetcher_process_count=1, dicomizer_process_count=1)
    found = helper.DICOMizeByStudyInstanceUID(sys.argv[1], sys.argv[2], header_only=True)
    for instance in found:
        print(instance.PatientID, instance.SOPInstanceUID, instance.Rows, sep="|")
    print(helper.getImageSetToSeriesUIDMap(sys.argv[1], sys.argv[2])[0]["Modality"])
"""


def test_awss_python_utilities_make_dicom_instances_of_an_image_set(aws: Cli, tmp_path: Path) -> None:
    """``AHItoDICOMInterface`` searches a study, reads the metadata and makes instances of it again."""
    store, _ = import_with(aws, "CT_small.dcm")
    script = tmp_path / "read.py"
    script.write_text(READ_HEADERS, encoding="utf-8")
    original = pydicom.dcmread(P10_FILES / "CT_small.dcm")
    ended = run(aws.account, str(CLIENTS / "python"), str(script), store, str(original.StudyInstanceUID))
    expected = [f"{original.PatientID}|{original.SOPInstanceUID}|{original.Rows}", "CT"]
    assert expected == ended.stdout.splitlines(), ended.stderr


def _kebab(operation: str) -> str:
    words = operation.replace("DICOM", "Dicom")
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in words).lstrip("-")
