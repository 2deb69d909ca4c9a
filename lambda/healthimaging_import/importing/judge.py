"""The verdict on a job that has ended: pure, and the same for an import on deploy and for a job of a bulk import."""

from __future__ import annotations

from collections import Counter

from healthimaging_import.aws.redact import redact
from healthimaging_import.contract import Verdict
from healthimaging_import.importing.jobs import Job
from healthimaging_import.importing.manifest import Manifest
from healthimaging_import.importing.verdict import UNREAD, Tolerance

MANIFEST_PATIENCE_SECONDS = {"COMPLETED": 120, "FAILED": 10}
"""How long a manifest may be late. A job that failed early never writes one."""
_MOST_CAUSES = 3
_IF_FAILED_EARLY = (
    "if it failed at once, give the data access role more rights, s3:GetEncryptionConfiguration first, or ask less of "
    "its trust with trust_conditions (docs/recovering.md)"
)


def judge(job: Job, manifest: Manifest | None, tolerance: Tolerance, *, unread: str = "") -> tuple[Verdict, str]:
    """Return the verdict and why it is not SUCCEEDED.

    Args:
        job: a job that has ended.
        manifest: what it says it did, with its warnings; None where it left none for as long as it was waited for.
        tolerance: what may go wrong.
        unread: why the manifest that it left could not be read.
    """
    if unread:
        return Verdict.UNKNOWN, f"ended with {job.status}, but {unread}"
    if manifest is None:
        message = f" ({redact(job.message)})" if job.message else ""
        verdict = Verdict.UNKNOWN if job.status == "COMPLETED" else Verdict.FAILED
        advice = "" if verdict is Verdict.UNKNOWN else f"; {_IF_FAILED_EARLY}"
        return verdict, f"ended with {job.status}{message} and left no manifest{advice}"
    problems = tolerance.problems(job.status, manifest.counts)
    if problems:
        return Verdict.FAILED, f"ended with {job.status} but {' and '.join(problems)}"
    return Verdict.SUCCEEDED, ""


def describe_causes(causes: Counter[str], failures_uri: str) -> str:
    """Name the most frequent causes of rejection, and where to read the rest."""
    if not causes:
        return ""
    among = " in the part that was read" if UNREAD in causes else ""
    known = Counter({cause: count for cause, count in causes.items() if cause != UNREAD})
    frequent = ", ".join(f"{cause} ({count})" for cause, count in known.most_common(_MOST_CAUSES))
    return f"; most frequent{among}: {frequent}; all: {failures_uri.rstrip('/')}/failure.ndjson"
