"""The jobs of a run that were started: which of them have ended, and what became of those."""

from __future__ import annotations

from collections import deque

from healthimaging_import.bulk.context import RunContext
from healthimaging_import.bulk.judging import judge_job, lost_job
from healthimaging_import.bulk.pace import poll_interval
from healthimaging_import.bulk.state import RunningJob
from healthimaging_import.importing.jobs import UNKNOWN_JOB_PATIENCE_SECONDS, Job, get_known_job, list_running

_NEW_JOB_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 5.0


class Poller:
    """Polls the jobs of a run, and judges those that have ended."""

    def __init__(self, context: RunContext) -> None:
        """Take the run."""
        self._context = context
        self._polled_at = 0.0
        self._missing: deque[RunningJob] = deque()
        """Jobs that are not among those that run."""
        self._ended: dict[str, tuple[float, Job | None]] = {}
        """By the job's id: when to look for its manifest next, and what HealthImaging said of it."""

    @property
    def is_full(self) -> bool:
        """Whether no slot is free for a further job."""
        return len(self._context.state.running) - len(self._ended) >= self._context.settings.pace.concurrent_jobs

    def next_at(self) -> float:
        """Return when there is something to do; 0 for at once."""
        if self._missing:
            return 0.0
        poll_at = self._polled_at + poll_interval(self._context.state.times.mean, is_full=self.is_full)
        return min([poll_at, *(at for at, _ in self._ended.values())])

    def poll_soon(self) -> None:
        """Have the next thing to do be to poll, which reads the state again."""
        self._polled_at = 0.0

    def act(self, now: float) -> None:
        """Do the one thing that is due: judge a job, look at one that is not listed any more, or list what runs."""
        ready = next((job_id for job_id, (at, _) in self._ended.items() if at <= now), None)
        if ready is not None:
            self._judge(ready, now)
        elif self._missing:
            self._check(self._missing.popleft(), now)
        else:
            self._poll(now)

    def _poll(self, now: float) -> None:
        """See which jobs run. One that is not listed may be merely new: it is asked for before it is judged."""
        context = self._context
        running = list_running(context.aws, context.settings.datastore_id)
        known = running | self._ended.keys() | {job["job_id"] for job in self._missing}
        self._missing.extend(
            job for job in context.state.running if job["job_id"] not in known and now - job["at"] > _NEW_JOB_SECONDS
        )
        self._polled_at = now
        context.stored.reload()

    def _check(self, running: RunningJob, now: float) -> None:
        if running not in self._context.state.running:
            return
        job = get_known_job(self._context.aws, self._context.settings.datastore_id, running["job_id"])
        is_lost = job is None and now - running["at"] > UNKNOWN_JOB_PATIENCE_SECONDS
        if is_lost or (job and job.has_ended):
            self._ended[running["job_id"]] = (now, job)

    def _judge(self, job_id: str, now: float) -> None:
        context = self._context
        _, job = self._ended[job_id]
        running = next((it for it in context.state.running if it["job_id"] == job_id), None)
        if running is None:  # another step has judged it
            del self._ended[job_id]
            return
        planned = context.planned(running["n"])
        result = lost_job(planned, job_id, now) if job is None else judge_job(context.aws, planned, job_id, job, now)
        if result is None:
            self._ended[job_id] = (now + _LOOK_AGAIN_SECONDS, job)
            return
        context.note_result(running["n"], running["attempt"], result, running=running)
        self._ended.pop(job_id, None)
