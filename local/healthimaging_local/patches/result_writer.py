"""A Distributed Map's ResultWriter: what became of each item goes to S3, and the state's output says where."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import json
from http import HTTPStatus

from ministack.services import s3
from ministack.services import stepfunctions as machines

from healthimaging_local.machine_rights import ask
from healthimaging_local.ports import Json

_FAILED = "States.ResultWriterFailed"
# "IAM policies for using Distributed Map states" lists them for every ResultWriter.
_ACTIONS = ("PutObject", "GetObject", "ListMultipartUploadParts", "AbortMultipartUpload")


def result_writers_write() -> None:
    """Write the results of a Map Run to S3 as the role; ministack ignores the field."""
    run_map = machines._run_distributed_map

    def run_distributed_map(  # noqa: PLR0917 - ministack's signature
        state: Json, raw: Json, effective: Json, iterator: Json, execution: Json, ctx: Json
    ) -> Json:
        writer = state.get("ResultWriter")
        if not writer:
            return run_map(state, raw, effective, iterator, execution, ctx)
        if "WriterConfig" in writer:
            raise machines._ExecutionError(
                "States.Runtime", "the local cloud knows no WriterConfig of a ResultWriter: leave it out"
            )
        before = set(machines._map_runs.keys())
        plain = {
            key: value for key, value in state.items() if key not in {"ResultSelector", "ResultPath", "OutputPath"}
        }
        try:
            _, following = run_map(plain, raw, effective, iterator, execution, ctx)
        finally:  # a Map Run that fails has results, too
            details = _written(writer, effective, ctx, execution, before)
        output = machines._apply_result_path(state, raw, machines._apply_result_selector(state, details))
        return machines._apply_output_path(state, output, ctx), following

    machines._run_distributed_map = run_distributed_map


def _written(writer: Json, effective: Json, ctx: Json, execution: Json, before: set[str]) -> Json:
    """Write the files of the Map Run that began since, and return the state's result."""
    runs = [it for arn, it in machines._map_runs.items() if arn not in before]
    (run,) = [it for it in runs if it["executionArn"] == execution["executionArn"]]
    given = machines._resolve_params_obj(writer.get("Parameters") or writer.get("Arguments") or {}, effective, ctx)
    bucket, prefix = given.get("Bucket", ""), str(given.get("Prefix") or "").strip("/")
    folder = f"{prefix}/" * bool(prefix) + run["mapRunArn"].rpartition(":")[2]
    children = [it for it in machines._executions.values() if it.get("mapRunArn") == run["mapRunArn"]]
    files: dict[str, list[Json]] = {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
    for status in ("FAILED", "SUCCEEDED"):
        entries = [_entry(it) for it in children if it["status"] == status]
        if entries:
            files[status].append(_put(bucket, f"{folder}/{status}_0.json", entries))
    manifest = {"DestinationBucket": bucket, "MapRunArn": run["mapRunArn"], "ResultFiles": files}
    key = _put(bucket, f"{folder}/manifest.json", manifest)["Key"]
    for counts in (run["itemCounts"], run["executionCounts"]):
        counts["resultsWritten"] = counts["succeeded"] + counts["failed"]
    return {"MapRunArn": run["mapRunArn"], "ResultWriterDetails": {"Bucket": bucket, "Key": key}}


def _entry(child: Json) -> Json:
    """A child execution as the result files tell it."""
    names = {
        "ExecutionArn": "executionArn",
        "Input": "input",
        "InputDetails": "inputDetails",
        "Name": "name",
        "Output": "output",
        "OutputDetails": "outputDetails",
        "Error": "error",
        "Cause": "cause",
        "StartDate": "startDate",
        "StateMachineArn": "stateMachineArn",
        "Status": "status",
        "StopDate": "stopDate",
    }
    told = {name: child[key] for name, key in names.items() if child.get(key) is not None}
    details = {"Included": True}
    return {**told, "InputDetails": details, **({"OutputDetails": details} if "Output" in told else {})}


def _put(bucket: str, key: str, content: Json) -> Json:
    """Put an object as the role of the execution."""
    ask([(f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}") for action in _ACTIONS], _FAILED)
    body = json.dumps(content).encode()
    status, _, answer = s3._put_object(bucket, key, body, {"content-type": "application/json"})
    if status != HTTPStatus.OK:
        raise machines._ExecutionError(_FAILED, bytes(answer).decode(errors="replace"))
    return {"Key": key, "Size": len(body)}
