"""The events that HealthImaging sends to EventBridge about a data store."""

from __future__ import annotations

from typing import Unpack

import aws_cdk as cdk
from aws_cdk import Annotations

from healthimaging_cdk._common.environment import environment_of
from healthimaging_cdk._common.event_rules import OnEventOptions, make_rule
from healthimaging_cdk._common.validation import differing_places
from healthimaging_cdk.datastore._store_base import StoreBase

_SOURCE = "aws.medical-imaging"


class DatastoreEvents(StoreBase):
    """The events of a data store, own or imported.

    Every event names its data store in ``detail.datastoreId``, and each rule asks for that of this store.
    Events of image sets have the image set's ARN in ``resources[0]``, those of jobs and of the store the store's. The
    image set's id is spelled ``detail.imagesetId`` in the developer guide and ``detail.imageSetId`` in EventBridge's
    schema: take the ARN, which has one spelling, or both. Delivery is best effort, so poll for what must not be missed.

    The events go to the default event bus of the store's own account and Region, and a rule is in the stack that
    names the store. To act on the events of a store elsewhere, name it in a stack there and give the rule a
    ``rule_name`` and a target in your stack: CDK forwards the events between stacks of one app.

    See:
        https://docs.aws.amazon.com/healthimaging/latest/devguide/event-notifications.html
    """

    def on_event(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for every event of HealthImaging about this store.

        Args:
            construct_id: the rule's id in the store's scope.
            **options: as every ``on_*`` method takes them. ``target``: what gets the event. Default: none, use
                ``add_target`` of the rule. ``description`` and ``rule_name``: those of the rule. ``event_pattern``:
                what else has to match, merged as CDK merges patterns. ``cross_stack_scope``: where the rule is created
                if its target is in another stack of this account and Region.
        """
        return self._rule(construct_id, options)

    def on_import_job_submitted(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Import Job Submitted``: somebody has started an import job; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Import Job Submitted")

    def on_import_job_in_progress(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Import Job In Progress``; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Import Job In Progress")

    def on_import_job_completed(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Import Job Completed``: a job ran to its end, though it may have rejected every file.

        The event has no counts. ``DicomImport.on_judged`` and its kind tell what became of the files; see
        :meth:`on_event` for the arguments.
        """
        return self._rule(construct_id, options, "Import Job Completed")

    def on_import_job_failed(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Import Job Failed``: a job did not run to its end; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Import Job Failed")

    def on_image_set_created(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Image Set Created``: an import or a copy has made an image set; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Image Set Created")

    def on_image_set_copying(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Image Set Copying``; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Image Set Copying")

    def on_image_set_copying_with_read_only_access(
        self, construct_id: str, **options: Unpack[OnEventOptions]
    ) -> cdk.aws_events.Rule:
        """A rule for ``Image Set Copying With Read Only Access``; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Image Set Copying With Read Only Access")

    def on_image_set_copied(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Image Set Copied``; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Image Set Copied")

    def on_image_set_copy_failed(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Image Set Copy Failed``; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Image Set Copy Failed")

    def on_image_set_updating(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Image Set Updating``; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Image Set Updating")

    def on_image_set_updated(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Image Set Updated``: an image set has a new version; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Image Set Updated")

    def on_image_set_update_failed(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Image Set Update Failed``; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Image Set Update Failed")

    def on_image_set_deleting(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Image Set Deleting``; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Image Set Deleting")

    def on_image_set_deleted(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Image Set Deleted``; see :meth:`on_event`."""
        return self._rule(construct_id, options, "Image Set Deleted")

    def on_data_store_deleting(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Data Store Deleting``: somebody deletes the store; see :meth:`on_event`.

        CloudFormation deletes a rule before the store it names, so a store that is deleted with its stack is seen only
        by rules of other stacks.
        """
        return self._rule(construct_id, options, "Data Store Deleting")

    def on_data_store_deleted(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for ``Data Store Deleted``; see :meth:`on_data_store_deleting`."""
        return self._rule(construct_id, options, "Data Store Deleted")

    def _rule(self, construct_id: str, options: OnEventOptions, detail_type: str | None = None) -> cdk.aws_events.Rule:
        detail = {"datastoreId": [self.datastore_id]}
        rule = make_rule(self, construct_id, options, source=_SOURCE, detail_type=detail_type, detail=detail)
        _warn_of_place(self, rule)
        return rule


def _warn_of_place(store: StoreBase, rule: cdk.aws_events.Rule) -> None:
    """Warn of a rule that waits for its events where they do not arrive by themselves."""
    differing = [
        f"{what} {there}, not {here}"
        for what, (there, here) in differing_places(environment_of(store), environment_of(rule)).items()
    ]
    if differing:
        Annotations.of(rule).add_warning_v2(
            "healthimaging-cdk:eventsOfAnotherEnvironment",
            f"the data store sends its events to the default event bus of {' and '.join(differing)}: make the rule in "
            "a stack there (its target may be in this stack), or acknowledge this warning if something forwards them",
        )
