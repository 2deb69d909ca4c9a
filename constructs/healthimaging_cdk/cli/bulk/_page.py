"""The report of a bulk import as one HTML page: drawn here by Vega-Lite, with no script and no network."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

import vl_convert

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem 1rem .2rem 0;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}"
    ".SUCCEEDED{color:#176b35}.FAILED{color:#a4161a}"
)
_WIDTH, _HEIGHT = 640, 220


def make_page(report: dict[str, Any]) -> str:
    """Write the page."""
    files, jobs, sets, time = report["files"], report["jobs"], report["image_sets"], report["time"]
    ended = datetime.fromtimestamp(report["ended_at"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    verdict = report["verdict"] if report["is_over"] else "IN PROGRESS"
    sides = [
        ("listed in the source", files["listed"]),
        ("found more by jobs than listed", files["appeared"]),
        ("found less by jobs than listed", -files["vanished"]),
        ("imported", files["imported"]),
        ("rejected", files["rejected"]),
        ("in jobs without a manifest", files["not_judged"]),
        ("in no job", files["uncovered"]),
        ("to do", files["to_do"]),
    ]
    parts = [
        f"<h1>Bulk import {escape(report['import'])}</h1>",
        f"<p><b class={report['verdict']}>{escape(verdict)}</b> {ended}</p>",
        f"<p>Data store {escape(report['datastore_id'])}</p>",
        "".join(f"<p>{escape(problem)}</p>" for problem in report["problems"] if report["is_over"]),
        "<h2>Source against store</h2>",
        _table(sides),
        f"<p>The first three lines and the last five {'add up' if files['adds_up'] else 'do not add up'}.</p>",
        _drawing(_parts_of(files)),
        "<h2>Rejected, by cause</h2>",
        _table(report["rejected"]["causes"].items()),
        "<h2>In no job, by cause</h2>",
        _table((cause, tally["files"]) for cause, tally in report["uncovered"].items()),
        "<h2>Image sets</h2>",
        _table((("generated", sets["generated"]), ("primary", sets["primary"]), ("not primary", sets["non_primary"]))),
        "<h2>Warnings, by code</h2>",
        _table(report["warnings"].items()),
        "<h2>Jobs</h2>",
        _table((name, jobs[name]) for name in (
            "planned", "succeeded", "failed", "unknown", "running", "to_do", "started", "repeated", "throttled_starts"
        )),
        _table(jobs["reasons"].items()),
        _drawing(_durations(jobs["by_minutes"])),
        "<h2>Throughput</h2>",
        f"<p>{time['hours']:.2f} hours; the quotas allow no less than {time['bound_hours']:.2f}.</p>",
        _drawing(_throughput(report)),
        f"<p>Plan {escape(report['plan'])}, run {escape(report['run'])}.</p>",
    ]  # fmt: skip
    head = f"<meta charset=utf-8><title>Bulk import {escape(report['import'])}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _table(rows: Any) -> str:  # noqa: ANN401 - pairs of a name and a number
    lines = [f"<tr><td>{escape(str(name))}</td><td class=n>{count:,}</td></tr>" for name, count in rows]
    return f"<table>{''.join(lines)}</table>" if lines else "<p>None.</p>"


def _drawing(spec: dict[str, Any]) -> str:
    if not spec["data"]["values"]:
        return ""
    schema = {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "width": _WIDTH}
    svg: str = vl_convert.vegalite_to_svg({**schema, **spec}, vl_version="5.20")
    return svg


def _parts_of(files: dict[str, int]) -> dict[str, Any]:
    names = ("imported", "rejected", "not_judged", "uncovered", "to_do")
    values = [{"part": name.replace("_", " "), "files": files[name]} for name in names if files[name]]
    return {
        "data": {"values": values},
        "mark": "bar",
        "encoding": {"x": {"field": "files", "type": "quantitative"}, "color": {"field": "part", "sort": None}},
    }


def _durations(by_minutes: dict[str, int]) -> dict[str, Any]:
    values = [{"minutes": int(bound), "jobs": count} for bound, count in by_minutes.items()]
    return {
        "data": {"values": values},
        "mark": "bar",
        "height": _HEIGHT,
        "encoding": {
            "x": {"field": "minutes", "type": "ordinal", "title": "took up to (minutes)"},
            "y": {"field": "jobs", "type": "quantitative"},
        },
    }


def _throughput(report: dict[str, Any]) -> dict[str, Any]:
    hours = report["time"]["bin_seconds"] / 3600
    jobs, planned = report["time"]["jobs"], report["jobs"]["planned"]
    bound_rate = planned / report["time"]["bound_hours"] if report["time"]["bound_hours"] else 0.0
    values: list[dict[str, Any]] = []
    done = 0
    for index, count in enumerate(jobs):
        done += count
        at = (index + 1) * hours
        values += [
            {"hours": at, "jobs": done, "line": "ended"},
            {"hours": at, "jobs": min(planned, bound_rate * at), "line": "bound"},
        ]
    return {
        "data": {"values": values},
        "mark": {"type": "line", "interpolate": "step-after"},
        "height": _HEIGHT,
        "encoding": {
            "x": {"field": "hours", "type": "quantitative"},
            "y": {"field": "jobs", "type": "quantitative", "title": "attempts that ended"},
            "color": {"field": "line", "title": None},
        },
    }
