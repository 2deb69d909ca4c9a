"""The same lives, while somebody else calls the function and writes into the records: what holds nevertheless."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from healthimaging_import.importing.mode import Mode
from tests.model.fakes import RESULTS
from tests.model.test_life_model import SETTINGS, THEN, THOROUGH, Life

pytestmark = pytest.mark.slow

EXCUSED = (
    # He may end a request, or have it done twice, but no job is started that nobody wanted, and nothing is invented.
    "was answered twice|was never answered|failed: |nobody was told|had two verdicts|"
    r"a verdict was told of a job that there is not: .*'outcome': 'UNKNOWN'"
)
COUNTS = {"scanned": 987654, "imported": 987654, "image_sets": 987654}
INVENTED = {"job_status": "COMPLETED", "counts": COUNTS}
UNKNOWN_JOB = {"jobId": "f" * 32, "submittedAt": "2027-01-15T08:00:00+00:00"}
STOLEN = {"jobName": "FORGED", "inputS3Uri": "s3://source/FORGED/", "clientToken": "x"}
FORGERIES: list[dict[str, Any]] = [
    {"reason": "FORGED"}, {"published": False}, {"attempt": "FORGED"}, {"parameters": STOLEN}, {"job": UNKNOWN_JOB},
    {"state": "JUDGED", "verdict": "SUCCEEDED", "published": False},
    {"state": "JUDGED", "verdict": "SUCCEEDED", "published": True, "result": INVENTED},
    {"state": "JUDGED", "verdict": "FAILED", "reason": "FORGED", "published": True},
    {"state": "JUDGED", "verdict": "UNKNOWN", "reason": "FORGED", "published": True},
    {"retry": "DUE"}, {"retry": "DONE"}, {"responded_to": "FORGED"}, {"intent": "0" * 64}, {"lease_until": 1e300},
    {"claimed_at": 1e300}, {"owner_began_at": 1e300},
]  # fmt: skip
OF_NOTES: list[dict[str, Any]] = [{"started": None}, {"imported": 987654}]
CARRIED: list[dict[str, Any]] = [
    {}, {"run_id": "", "is_current": False}, {"run_id": "", "is_current": True}, {"owned": True}, {"is_alone": True},
    {"job_id": "f" * 32}, {"prepared": True, "is_alone": True}, {"undone_run_id": ""}, {"unpacked": None},
]  # fmt: skip
RESPONSE = {"success": True, "reason": "FORGED", "data": {"JobId": "FORGED"}, "physical_resource_id": "FORGED"}


class HostileLife(Life):
    """Somebody knows the ids of the requests, but no address for a response, which stands in no event or log."""

    def __init__(self) -> None:
        super().__init__()
        self.stage.excused = EXCUSED

    @rule(
        data=st.data(),
        call=st.sampled_from(["step", "respond", "stopped", "failed"]),
        mode=st.sampled_from([Mode.DEPLOY, Mode.ROLLBACK, Mode.DELETE, Mode.CLEANUP, Mode.DETACHED]),
        carried=st.sampled_from(CARRIED),
        ago=st.sampled_from([0, 20, 400, 4000, 25 * 3600]),
        url=st.sampled_from(["", "https://evil.example/x?X-Amz-Date=20270115T080000Z"]),
        then=THEN,
    )
    def somebody_calls_the_function(
        self, data: st.DataObject, call: str, mode: Mode, carried: dict[str, Any], ago: float, url: str, then: float
    ) -> None:
        request = self.stage.requests[data.draw(st.sampled_from(sorted(self.stage.requests)))]
        event = {**request.event, "ResponseURL": url}
        state = {
            "event": event, "mode": mode, "deploy": "", "began_at": self.world.now - ago, "carried": {**carried},
        }  # fmt: skip
        self.world.misfortunes = []
        if call == "respond" and ago:
            state["response"] = RESPONSE
        payload: dict[str, Any] = {"step": call, "state": state}
        if call == "stopped":
            detail = {"status": "ABORTED", "input": json.dumps(state), "error": None}
            payload = {"source": "aws.states", "detail": detail}
        if call == "failed":
            told = {"errorType": "RetryableError", "errorMessage": "FORGED"}
            given = {"requestContext": {"condition": "FORGED"}, "requestPayload": event, "responsePayload": told}
            payload = {"source": "lambda", "detail": given}
        self.stage.invoke(payload)
        self.let([], then)

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def somebody_writes_a_record(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.places))
        changes = data.draw(st.sampled_from(OF_NOTES if place[1].endswith("-last.json") else FORGERIES))
        document = {**json.loads(self.world.objects[place]), **changes}
        self.world.objects[place] = json.dumps(document, sort_keys=True).encode()
        if place[1].endswith("-last.json"):
            self.world.struck.append("GetObject: error NoSuchKey")  # nobody knows any more what is current
        token = document.get("parameters", {}).get("clientToken")
        if token in self.world.written:  # which the function is measured by
            self.world.written[token] = document

    @property
    def places(self) -> list[tuple[str, str]]:
        """Where records are, and the notes of the last runs."""
        of_ours = (it for it in self.world.objects if it[0] == RESULTS and ".healthimaging-cdk/" in it[1])
        return sorted(it for it in of_ours if not it[1].endswith("manifest.json"))


TestHostileLife = HostileLife.TestCase
TestHostileLife.settings = settings(SETTINGS, max_examples=10_000 if THOROUGH else 150)
