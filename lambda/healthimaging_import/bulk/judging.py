"""Judges a job of a bulk import by its manifest, as an import on deploy does, without a record."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.bulk.plan import PlannedJob
from healthimaging_import.bulk.totals import result_document
from healthimaging_import.contract import Verdict
from healthimaging_import.errors import RetryableError
from healthimaging_import.importing.job_output import (
    count_causes,
    count_warnings,
    manifest_or_reason,
    read_manifest_body,
)
from healthimaging_import.importing.jobs import Job
from healthimaging_import.importing.verdict import MANIFEST_PATIENCE_SECONDS, Counts, ImportResult, Tolerance, judge


def judge_job(aws: Aws, planned: PlannedJob, job_id: str, job: Job, now: float) -> dict[str, Any] | None:
    """Return what became of a job that has ended; None while its manifest may still come.

    Whether the whole run is good is decided at its end: a job's own verdict says only that it ran and imported.
    """
    ended_at = job.ended_at.timestamp() if job.ended_at else now
    is_late = now - ended_at >= MANIFEST_PATIENCE_SECONDS[job.status]
    body = read_manifest_body(aws, job.folder)
    if body is None and not is_late and job.ended_at:
        return None
    (manifest, unread), causes = manifest_or_reason(body), Counter[str]()
    if manifest is not None:
        try:
            warnings = count_warnings(aws, manifest, tolerated=True, is_late=is_late)
        except RetryableError:
            if not is_late:
                return None
            warnings = {}
        manifest = replace(manifest, counts=replace(manifest.counts, warnings=warnings))
        causes = count_causes(aws, manifest)
    counts = manifest.counts if manifest else None
    verdict, reason = judge(job.status, counts, Tolerance(), message=job.message, unread=unread)
    return result_document(
        verdict,
        numbers=numbers_of(planned, counts),
        causes=causes,
        warnings=counts.warnings if counts else {},
        reason=reason,
        n=planned.n,
        job_id=job_id,
        job_status=job.status,
        seconds=job.seconds,
        ended_at=ended_at,
        failures_uri=manifest.failures_uri if manifest else "",
        counts=asdict(counts) if counts else None,
    )


def lost_job(planned: PlannedJob, job_id: str, now: float) -> dict[str, Any]:
    """Return the result of a job that HealthImaging does not know any more."""
    return result_document(
        Verdict.UNKNOWN,
        numbers=numbers_of(planned, None),
        reason="HealthImaging does not know the job any more",
        n=planned.n,
        job_id=job_id,
        job_status="UNKNOWN",
        seconds=None,
        ended_at=now,
        failures_uri="",
        counts=None,
    )


def refused_job(planned: PlannedJob, reason: str, now: float) -> dict[str, Any]:
    """Return the result of a job that HealthImaging did not accept."""
    return {**lost_job(planned, "", now), "verdict": Verdict.FAILED.value, "reason": reason, "job_status": "REFUSED"}


def numbers_of(planned: PlannedJob, counts: Counts | None) -> dict[str, int]:
    """Count a job's files so that they add up: planned + appeared - vanished = imported + rejected + not judged."""
    numbers = {"planned": planned.files, "bytes": planned.bytes}
    if counts is None:
        return {**numbers, "not_judged": planned.files}
    scanned = max(counts.scanned, counts.imported)
    rejected = scanned - counts.imported
    by_customer = min(counts.customer_errors, rejected)
    by_server = min(counts.server_errors, rejected - by_customer)
    return {
        **numbers,
        "scanned": scanned,
        "imported": counts.imported,
        "customer_errors": by_customer,
        "server_errors": by_server,
        "without_reason": rejected - by_customer - by_server,
        "image_sets": counts.image_sets,
        "non_primary_image_sets": counts.non_primary_image_sets,
        "appeared": max(0, scanned - planned.files),
        "vanished": max(0, planned.files - scanned),
    }


def import_result(result: dict[str, Any]) -> ImportResult:
    """Return a result as metrics take it."""
    members = {name: result[name] for name in ("job_id", "job_status", "seconds")}
    return ImportResult.decode({**members, "counts": result["counts"] or {}})
