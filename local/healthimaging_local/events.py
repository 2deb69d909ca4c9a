"""The events HealthImaging sends to EventBridge (developer guide, "Using Amazon EventBridge with HealthImaging")."""

from __future__ import annotations

from healthimaging_local.ports import EventBus
from healthimaging_local.state import Datastore, ImageSet, ImportJob

SOURCE = "aws.medical-imaging"
_VERSION = "1.0"
_JOB_EVENTS = {
    "SUBMITTED": "Import Job Submitted",
    "IN_PROGRESS": "Import Job In Progress",
    "COMPLETED": "Import Job Completed",
    "FAILED": "Import Job Failed",
}


class Announcer:
    """Sends the events; the bus decides what delivery means (AWS: best effort)."""

    def __init__(self, bus: EventBus) -> None:
        """Send to ``bus``."""
        self._bus = bus

    def job(self, datastore: Datastore, job: ImportJob) -> None:
        """One event for the status a job has now. No counts, no message: AWS sends none either."""
        self._bus.publish(
            job.caller,
            _JOB_EVENTS[job.status],
            datastore.arn,
            {
                "imagingVersion": _VERSION,
                "datastoreId": datastore.id,
                "jobId": job.id,
                "jobName": job.name,
                "jobStatus": job.status,
                "inputS3Uri": job.request["inputS3Uri"],
                "outputS3Uri": job.output_s3_uri,
            },
        )

    def datastore(self, datastore: Datastore, what: str) -> None:
        """``Data Store Creating | Created | Deleting | Deleted``."""
        self._bus.publish(
            datastore.caller,
            f"Data Store {what.capitalize()}",
            datastore.arn,
            {
                "imagingVersion": _VERSION,
                "datastoreId": datastore.id,
                "datastoreName": datastore.name,
                "datastoreStatus": {"created": "ACTIVE"}.get(what, what.upper()),
            },
        )

    def image_set(self, datastore: Datastore, image_set: ImageSet, what: str) -> None:
        """``Image Set Created | Updated | Copied | Deleted`` and so on; the guide spells the id ``imagesetId``."""
        self._bus.publish(
            datastore.caller,
            f"Image Set {what.title()}",
            image_set.arn,
            {
                "imagingVersion": _VERSION,
                "isPrimary": image_set.is_primary,
                "imageSetVersion": str(image_set.version),
                "datastoreId": datastore.id,
                "imagesetId": image_set.id,
                "imageSetState": "DELETED" if image_set.deleted_at else "ACTIVE",
                "imageSetWorkflowStatus": image_set.workflow_status,
            },
        )
