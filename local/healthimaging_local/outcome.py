"""What a job writes to its output folder: job-output-manifest.json and one ndjson file for each kind of result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from healthimaging_local.dicom import ParsedFile
from healthimaging_local.ports import ObjectStorage
from healthimaging_local.state import ImageSet, ImportJob


@dataclass
class Outcome:
    """The results of one job, file by file."""

    scanned: int = 0
    successes: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    matches: dict[str, int] = field(default_factory=dict)
    image_sets: dict[str, ImageSet] = field(default_factory=dict)

    def succeed(self, key: str, image_set: ImageSet, file: ParsedFile) -> None:
        """Note one imported file with its warnings."""
        response = {"imageSetId": image_set.id, "isPrimary": image_set.is_primary}
        self.successes.append({"inputFile": key, "importResponse": response})
        self.image_sets[image_set.id] = image_set
        self.matches[image_set.id] = self.matches.get(image_set.id, 0) + 1
        warnings = [
            {"warning_reason_code": code, "type": kind, "message": text} for (code, kind), text in file.warnings
        ]
        if warnings:
            self.warnings.append({"inputFile": key, "importResponse": {**response, "warnings": warnings}})

    def fail(self, key: str, message: str) -> None:
        """Note one rejected file."""
        exception = {"exceptionType": "ValidationException", "message": message}
        self.failures.append({"inputFile": key, "exception": exception})

    def manifest(self, job: ImportJob) -> dict[str, Any]:
        """The content of job-output-manifest.json."""
        folder = job.output_s3_uri
        summary = {
            "jobId": job.id,
            "datastoreId": job.request["datastoreId"],
            "inputS3Uri": job.request["inputS3Uri"],
            "outputS3Uri": folder,
            "successOutputS3Uri": f"{folder}SUCCESS/",
            "failureOutputS3Uri": f"{folder}FAILURE/",
            **({"warningsOutputS3Uri": f"{folder}WARNING/"} if self.warnings else {}),
            "numberOfScannedFiles": self.scanned,
            "numberOfImportedFiles": len(self.successes),
            "numberOfFilesWithCustomerError": len(self.failures),
            "numberOfFilesWithServerError": 0,
            "numberOfGeneratedImageSets": len(self.image_sets),
            "imageSetsSummary": [
                {
                    "imageSetId": image_set.id,
                    "imageSetVersion": image_set.version,
                    "isPrimary": image_set.is_primary,
                    "numberOfMatchedSOPInstances": self.matches[image_set.id],
                }
                for image_set in self.image_sets.values()
            ],
        }
        return {"jobSummary": summary}


def write_outcome(storage: ObjectStorage, job: ImportJob, outcome: Outcome) -> None:
    """Write the result files, those with lines only, and the manifest last: who sees it finds the rest."""
    bucket, _, folder = job.output_s3_uri.removeprefix("s3://").partition("/")
    for name, lines in (
        ("SUCCESS/success.ndjson", outcome.successes),
        ("FAILURE/failure.ndjson", outcome.failures),
        ("WARNING/warning.ndjson", outcome.warnings),
    ):
        if lines:
            storage.write(bucket, folder + name, _ndjson(lines), "application/x-ndjson")
    manifest = json.dumps(outcome.manifest(job)).encode()
    storage.write(bucket, f"{folder}job-output-manifest.json", manifest, "application/json")


def _ndjson(lines: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
