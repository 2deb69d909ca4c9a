"""CloudWatch as far as ministack lacks it: metrics out of log lines, metric math in alarms, and how alarms ring.

An alarm is looked at when metric data comes and when it is made, not as time goes by: none goes back to OK by itself.
"""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import ast
import json
import operator
import time
from collections.abc import Callable, Mapping
from typing import Any

from ministack.core import iam_evaluator, responses
from ministack.services import cloudwatch, cloudwatch_logs, sns
from ministack.services.cloudformation import provisioners

from healthimaging_local.ports import Json

_SERVICE = "cloudwatch.amazonaws.com"
_OF_ONE_METRIC = ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions", "Unit")
_OPERATORS: Mapping[type, Callable[[Any, Any], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_BREACHES: Mapping[str, Callable[[Any, Any], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def log_lines_are_metrics() -> None:
    """Make metrics of log lines in CloudWatch's embedded metric format."""
    original = cloudwatch_logs._append_log_events

    def append_log_events(stream: Json, events: list[Json]) -> None:
        original(stream, events)
        found = [document for event in events if (document := _embedded(event["message"]))]
        for document in found:
            _store(document)
        if found:
            cloudwatch._evaluate_all_alarms()

    cloudwatch_logs._append_log_events = append_log_events


def _embedded(message: str) -> dict[str, Json] | None:
    if not message.startswith("{") or '"_aws"' not in message:
        return None
    try:
        document: dict[str, Json] = json.loads(message)
    except ValueError:
        return None
    return document if "CloudWatchMetrics" in document.get("_aws", {}) else None


def _store(document: dict[str, Json]) -> None:
    """Each metric is kept for each of the directive's sets of dimensions."""
    at = document["_aws"]["Timestamp"] / 1000
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            dimensions = {name: document[name] for name in names}
            for metric in directive["Metrics"]:
                name, unit = metric["Name"], metric.get("Unit", "None")
                cloudwatch._store_datum(
                    directive["Namespace"], name, dimensions, at, unit, document[name], None, None, None
                )


def alarms_take_metric_math() -> None:
    """Let CloudFormation make alarms of expressions, which ministack refuses."""
    original = provisioners._cw_metric_alarm_record

    def metric_alarm_record(name: str, properties: dict[str, Json]) -> dict[str, Json]:
        metrics = properties.get("Metrics")
        if not metrics:
            return dict(original(name, properties))
        for metric in metrics:
            if "Expression" in metric:
                _parsed(metric["Expression"])
        others = {key: value for key, value in properties.items() if key != "Metrics"}
        alarm = original(name, {**others, "MetricName": "expression", "Namespace": "expression"})
        kept = {key: value for key, value in alarm.items() if key not in _OF_ONE_METRIC}
        return {**kept, "Metrics": [_numbered(metric) for metric in metrics]}

    provisioners._cw_metric_alarm_record = metric_alarm_record


def _numbered(metric: dict[str, Json]) -> dict[str, Json]:
    """A template may write numbers and booleans as text; the API answers with numbers and booleans."""
    found = {**metric, "ReturnData": str(metric.get("ReturnData", True)).lower() == "true"}
    if "Period" in metric:
        found["Period"] = int(metric["Period"])
    if "MetricStat" in metric:
        found["MetricStat"] = {**metric["MetricStat"], "Period": int(metric["MetricStat"]["Period"])}
    return found


def alarms_look_at_each_period() -> None:
    """Judge an alarm by its periods, its missing data and its own dimensions.

    ministack puts all periods, and all metrics of one name, into one number.
    """

    def evaluate_alarm(alarm: dict[str, Json]) -> None:
        metrics = alarm.get("Metrics") or [_only_metric(alarm)]
        (watched,) = (metric for metric in metrics if metric["ReturnData"])
        now, period = time.time(), _period(watched, metrics)
        values = [
            _value(watched, metrics, now - (back + 1) * period, now - back * period)
            for back in range(alarm["EvaluationPeriods"])
        ]
        state = _judged(alarm, values)
        before = alarm["StateValue"]
        if state != before:
            reason = f"{values} against {alarm['ComparisonOperator']} {alarm['Threshold']}"
            alarm |= {"StateValue": state, "StateReason": reason, "StateUpdatedTimestamp": int(now)}
            cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
            cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)
            cloudwatch._evaluate_parent_alarms(alarm)

    cloudwatch._evaluate_alarm = evaluate_alarm


def _only_metric(alarm: dict[str, Json]) -> dict[str, Json]:
    metric = {name: alarm[name] for name in ("Namespace", "MetricName", "Dimensions")}
    stat = alarm.get("ExtendedStatistic") or alarm["Statistic"]
    return {"ReturnData": True, "MetricStat": {"Metric": metric, "Period": alarm["Period"], "Stat": stat}}


def _period(watched: dict[str, Json], metrics: list[dict[str, Json]]) -> int:
    """That of the metric; an expression has its own, or that of what it is made of."""
    stats = [metric["MetricStat"] for metric in (watched, *metrics) if "MetricStat" in metric]
    return int(watched.get("Period") or stats[0]["Period"])


def _value(watched: dict[str, Json], metrics: list[dict[str, Json]], begin: float, end: float) -> float | None:
    if "Expression" in watched:
        named = {metric["Id"]: metric for metric in metrics}
        return _computed(_parsed(watched["Expression"]), lambda name: _value(named[name], metrics, begin, end))
    stat = watched["MetricStat"]
    metric = stat["Metric"]
    key = (
        metric["Namespace"],
        metric["MetricName"],
        cloudwatch._dims_key(cloudwatch._dims_from_list(metric.get("Dimensions") or [])),
    )
    points = [point for point in cloudwatch._metrics.get(key) or () if begin < point["Timestamp"] <= end]
    if not points:
        return None
    value: float | None = cloudwatch._stat_value(cloudwatch._calc_stats(points), stat["Stat"], points)
    return value


def _parsed(expression: str) -> ast.expr:
    """An expression that can be computed here: numbers, ids, + - * / and FILL(id, number)."""
    tree = ast.parse(expression, mode="eval").body
    for node in ast.walk(tree):
        known = isinstance(node, ast.Name | ast.Load | ast.BinOp | ast.Constant | ast.operator)
        fills = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "FILL"
        if not known and not fills:
            raise ValueError(f"the local cloud cannot compute the expression {expression!r} of an alarm")
    return tree


def _computed(node: ast.expr, value_of: Callable[[str], float | None]) -> float | None:
    """None where there is no value, which makes no value of all that is computed with it."""
    match node:
        case ast.Constant():
            return float(str(node.value))
        case ast.Name():
            return value_of(node.id)
        case ast.Call(args=[filled, by]):
            value = _computed(filled, value_of)
            return _computed(by, value_of) if value is None else value
        case ast.BinOp():
            left, right = _computed(node.left, value_of), _computed(node.right, value_of)
            if left is None or right is None or (isinstance(node.op, ast.Div) and right == 0):
                return None
            return _OPERATORS[type(node.op)](left, right)
    raise ValueError(f"the local cloud cannot compute {ast.unparse(node)!r}")


def _judged(alarm: dict[str, Json], values: list[float | None]) -> str:
    """The state that the values of the periods, newest first, put an alarm in."""
    missing = {"breaching": True, "notBreaching": False}.get(alarm["TreatMissingData"])
    breaches = _BREACHES[alarm["ComparisonOperator"]]
    bad = [missing if value is None else breaches(value, alarm["Threshold"]) for value in values]
    if all(one is None for one in bad):
        return str(alarm["StateValue"] if alarm["TreatMissingData"] == "ignore" else "INSUFFICIENT_DATA")
    return "ALARM" if bad.count(True) >= alarm.get("DatapointsToAlarm", len(values)) else "OK"


def topics_decide_about_alarms() -> None:
    """Let an alarm publish only to a topic whose policy lets CloudWatch in for it; ministack asks nobody."""
    original = cloudwatch._dispatch_alarm_actions

    def dispatch_alarm_actions(alarm: dict[str, Json], *rest: Json) -> None:
        allowed = {
            kind: [topic for topic in alarm.get(kind) or () if _lets_in(topic, alarm["AlarmArn"])]
            for kind in ("AlarmActions", "OKActions", "InsufficientDataActions")
        }
        original({**alarm, **allowed}, *rest)

    cloudwatch._dispatch_alarm_actions = dispatch_alarm_actions


def _lets_in(topic_arn: str, alarm_arn: str) -> bool:
    found, account = sns.topic_policy_for_arn(topic_arn), responses.get_account_id()
    context = iam_evaluator.EvalContext(
        principal_arn=_SERVICE,
        principal_type="Service",
        principal_account="",
        action="sns:Publish",
        resource_arn=topic_arn,
        region=responses.get_region(),
        service_context={"aws:sourceaccount": account, "aws:sourceowner": account, "aws:sourcearn": alarm_arn},
    )
    policy = found[0] if found else None
    return bool(iam_evaluator.evaluate_resource_policy(policy, context, service=_SERVICE).decision == "Allow")
