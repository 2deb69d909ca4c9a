"""The main job from end to end: real P10 files, the real CDK CLI, the ready-made app, on the local cloud."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from healthimaging_local.cloud import Cloud

ROOT = Path(__file__).resolve().parents[2]
CDK = ROOT / "tools" / "node_modules" / ".bin" / "cdk"
DATA_STACK, IMPORT_STACK = "HealthImagingData", "HealthImagingImport"
GOOD_FILES = (
    "693_J2KI.dcm",
    "CT_small.dcm",
    "JPEG2000.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "examples_ybr_color.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "reportsi.dcm",
    "rtdose.dcm",
    "waveform_ecg.dcm",
)
BAD_FILES = ("no_meta.dcm", "rtstruct.dcm")


class Demo:
    """Runs the steps, says what it does, and keeps the time."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self._cloud = cloud
        self._assembly = folder / "cdk.out"
        self._began = time.monotonic()
        self._environment = cloud.child_environ()
        self._environment["PATH"] = str(Path(sys.executable).parent) + os.pathsep + self._environment.get("PATH", "")
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(self) -> None:
        """Do it all, and fail if nothing was imported."""
        self._say(f"local cloud on {self._cloud.endpoint}, account {self._cloud.account}, IAM enforced")
        self._cdk("bootstrap", f"aws://{self._cloud.account}/{self._cloud.region}")
        self._cdk("synth", "--quiet", "--output", str(self._assembly))
        bucket = self._deploy(DATA_STACK)["InputBucketName"]
        self._upload(bucket)
        self._deploy(IMPORT_STACK)
        self._report()

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    def _cdk(self, *arguments: str) -> None:
        """Run the CDK CLI and show what CloudFormation reports while it works."""
        self._say("cdk " + " ".join(arguments[:2]))
        command = [str(CDK), *arguments]
        log: list[str] = []
        with subprocess.Popen(  # noqa: S603 - our own pinned CLI
            command, cwd=ROOT, env=self._environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            for line in process.stdout or ():
                log.append(line)
                columns = [column.strip() for column in line.split("|")]
                if len(columns) >= 6 and arguments[0] == "deploy" and _worth_showing(columns[3], columns[4]):  # noqa: PLR2004 - the CLI's event line
                    self._say(f"    {columns[3]:<20} {columns[4]}")
        if process.returncode != 0:
            print("".join(log))
            raise SystemExit(f"cdk {arguments[0]} failed with {process.returncode}")

    def _deploy(self, stack: str) -> dict[str, str]:
        outputs = self._assembly.parent / f"{stack}.json"
        self._cdk(
            "deploy", stack, "--exclusively", "--app", str(self._assembly), "--require-approval", "never",
            "--progress", "events", "--outputs-file", str(outputs),
        )  # fmt: skip
        found: dict[str, str] = json.loads(outputs.read_text())[stack]
        return found

    def _upload(self, bucket: str) -> None:
        import pydicom  # noqa: PLC0415 - slow, and only its files are wanted

        folder = Path(pydicom.__file__).parent / "data" / "test_files"
        s3 = self._cloud.client("s3")
        for name in (*GOOD_FILES, *BAD_FILES):
            s3.upload_file(str(folder / name), bucket, f"dicom/{name}")
        self._say(f"uploaded {len(GOOD_FILES)} DICOM P10 files and {len(BAD_FILES)} files that are none")

    def _report(self) -> None:
        resources = self._cloud.client("cloudformation").describe_stack_resources(StackName=IMPORT_STACK)
        kinds = {resource["ResourceType"] for resource in resources["StackResources"]}
        if "Custom::HealthImagingImport" not in kinds:
            raise SystemExit("the stack holds no import")
        outputs = {
            output["OutputKey"]: output["OutputValue"]
            for output in self._cloud.client("cloudformation").describe_stacks(StackName=IMPORT_STACK)["Stacks"][0][
                "Outputs"
            ]
        }
        datastore_id, job_id, manifest_uri = (
            next(value for key, value in outputs.items() if key.startswith(f"Import{name}"))
            for name in ("DatastoreId", "JobId", "ManifestUri")
        )
        healthimaging = self._cloud.client("medical-imaging")
        job = healthimaging.get_dicom_import_job(datastoreId=datastore_id, jobId=job_id)["jobProperties"]
        summary = json.loads(self._read(manifest_uri))["jobSummary"]
        image_sets = list(self._image_sets(healthimaging, datastore_id))
        print()
        print(f"data store   {datastore_id}")
        print(f"import job   {job_id}  {job['jobStatus']}")
        print(
            f"files        {summary['numberOfScannedFiles']} scanned, {summary['numberOfImportedFiles']} imported, "
            f"{summary['numberOfFilesWithCustomerError'] + summary['numberOfFilesWithServerError']} rejected"
        )
        for reason, count in self._rejections(summary).most_common():
            print(f"             {count} x {reason}")
        print(f"image sets   {len(image_sets)} found by a search of the store")
        for image_set in image_sets:
            tags = image_set["DICOMTags"]
            print(
                f"             {image_set['imageSetId']}  version {image_set['version']}  "
                f"{tags.get('DICOMSeriesModality', '-'):<6} study ...{tags['DICOMStudyInstanceUID'][-12:]}"
            )
        print(f"manifest     {manifest_uri}")
        print(f"took         {time.monotonic() - self._began:.1f} s")
        if not image_sets or summary["numberOfImportedFiles"] != len(GOOD_FILES):
            raise SystemExit("not every good file was imported")

    def _image_sets(self, healthimaging: Any, datastore_id: str) -> Iterator[dict[str, Any]]:  # noqa: ANN401
        for page in healthimaging.get_paginator("search_image_sets").paginate(datastoreId=datastore_id):
            yield from page["imageSetsMetadataSummaries"]

    def _rejections(self, summary: dict[str, Any]) -> Counter[str]:
        uri = summary.get("failureOutputS3Uri")
        if not uri:
            return Counter()
        lines = self._read(uri.rstrip("/") + "/failure.ndjson").splitlines()
        exceptions = [json.loads(line)["exception"] for line in lines]
        return Counter(f"{exception['exceptionType']}: {exception['message']}" for exception in exceptions)

    def _read(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body: bytes = self._cloud.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body


def _worth_showing(status: str, kind: str) -> bool:
    """The end of every resource, and also the beginning of what takes time."""
    return not status.endswith("_IN_PROGRESS") or kind.startswith("Custom::")


def main() -> None:
    """Run the demo; the local cloud is gone afterwards, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="healthimaging-demo-") as folder, Cloud(throttling=False) as cloud:
        Demo(cloud, Path(folder)).run()


if __name__ == "__main__":
    main()
