"""The events that this library itself sends to EventBridge about an import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import aws_cdk as cdk

from healthimaging_cdk._common.event_rules import OnEventOptions
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk.dicom_import._results import ImportResults


class ImportEvents(ImportResults):
    """The events of one import: the verdict on each of its jobs, once it is known what became of the files.

    HealthImaging's own events tell whether a job ran, not what became of the files. The verdict does, also for jobs
    that are still running when a detached deploy ends: source ``healthimaging-cdk``, detail type ``DICOM Import
    Judged``, ids and numbers only. It comes at least once for a job, and not again when a later deploy finds the
    verdict in the record. An import that ends without a job (nothing to import, a refused request) has no verdict: its
    deploy says why. docs/events.md lists the fields, and when no verdict comes.

    Whoever may put events on the account's default event bus can send an event that looks the same: let no rule run
    text from it. Notifications (``notification_topic``) come from the function alone.

    The rule is created beside the job, not before it. It is there long before a job can end; if it must be, order the
    two with ``import_.execute_after(rule)``.
    """

    def on_judged(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for every verdict on a job of this import.

        Args:
            construct_id: the rule's id in the import's scope.
            **options: as every ``on_*`` method takes them. ``target``: what gets the event. Default: none, use
                ``add_target`` of the rule. ``description`` and ``rule_name``: those of the rule. ``event_pattern``:
                what else has to match, merged as CDK merges patterns. ``cross_stack_scope``: where the rule is created
                if its target is in another stack of this account and Region.
        """
        return self._verdict_rule(construct_id, options, {})

    def on_succeeded(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for jobs that imported files, within the import's tolerance; see :meth:`on_judged`."""
        return self._verdict_rule(construct_id, options, {contract.EVENT_OUTCOME: [contract.Verdict.SUCCEEDED.value]})

    def on_failed(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for jobs that imported nothing, went beyond the tolerance, or whose verdict could not be determined.

        See :meth:`on_judged`.
        """
        verdict = contract.Verdict
        return self._verdict_rule(
            construct_id, options, {contract.EVENT_OUTCOME: [verdict.FAILED.value, verdict.UNKNOWN.value]}
        )

    def on_files_rejected(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for jobs that rejected files, however many and whatever the verdict; see :meth:`on_judged`."""
        rejected = {contract.EVENT_REJECTED: [{"numeric": [">", 0]}]}
        return self._verdict_rule(construct_id, options, {contract.EVENT_COUNTS: rejected})

    def _verdict_rule(
        self, construct_id: str, options: OnEventOptions, detail: Mapping[str, Any]
    ) -> cdk.aws_events.Rule:
        return self._make_rule(construct_id, options, contract.EVENT_DETAIL_TYPE, detail)
