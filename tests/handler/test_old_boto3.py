"""importConfiguration is younger than a Lambda runtime's boto3: the packaged model makes it work there all the same.

``make install-cloud`` puts a boto3 as old as a runtime's into .cloud/runtime; a process of its own uses it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
RUNTIME = ROOT / ".cloud" / "runtime"
PROGRAM = """
import json, sys
import boto3
from botocore.exceptions import ParamValidationError
from healthimaging_import.aws import clients
from healthimaging_import.importing.request import ImportRequest

class SentError(BaseException):
    pass

def look(request, **_):
    raise SentError(json.dumps({"url": request.url, "body": json.loads(request.body)}))

def start(client):
    client.meta.events.register("before-send.medical-imaging.StartDICOMImportJob", look)
    try:
        client.start_dicom_import_job(**request.start_parameters(1))
    except SentError as sent:
        return json.loads(str(sent))
    except ParamValidationError as error:
        return {"refused": str(error)}

request = ImportRequest(
    scope="stack/Import", datastore_id="0" * 32, data_access_role_arn="arn:aws:iam::111122223333:role/Import",
    input_bucket="source", input_prefix="studies/", output_bucket="results", output_prefix="imports/",
    metadata_mappings=({"studyInstanceUID": "1.2.3", "metadataFilePath": "a.json"},),
)
print(json.dumps({
    "version": boto3.__version__,
    "place": boto3.__file__,
    "packaged": start(clients._create_client("medical-imaging", {})),
    "own": start(boto3.client("medical-imaging")),
}))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    if not (RUNTIME / "boto3").is_dir():
        pytest.fail("the boto3 of a Lambda runtime is missing in .cloud/runtime: run `make install-cloud` first")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(RUNTIME), str(ROOT / "lambda")]),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert 0 == done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_boto3_that_is_tried_is_an_old_one(seen: dict[str, Any]) -> None:
    assert Path(seen["place"]).is_relative_to(RUNTIME)
    assert (1, 40) == tuple(int(part) for part in seen["version"].split(".")[:2])


def test_the_packaged_model_sends_the_import_configuration(seen: dict[str, Any]) -> None:
    assert seen["packaged"]["url"].endswith(f"/startDICOMImportJob/datastore/{'0' * 32}")
    assert {
        "dicomJsonMetadataImportConfiguration": {
            "dicomMetadataMappings": [{"studyInstanceUID": "1.2.3", "metadataFilePath": "a.json"}]
        }
    } == seen["packaged"]["body"]["importConfiguration"]


def test_fails_with_the_old_boto3s_own_model(seen: dict[str, Any]) -> None:
    assert 'Unknown parameter in input: "importConfiguration"' in seen["own"]["refused"]
