"""The status page: `/` for people and `/status.json` for its script.

The page can be read without the script, as plain tables. What it shows is escaped here, and put into the page as text,
never as markup, there; a policy (Content-Security-Policy) lets nothing run but the script that ships with it.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, Final

import orjson

from worker.observe.status import Status
from worker.observe.wording import UNKNOWN, count, duration, moment, number, size

_STATES: Final = {
    "worker": {"ready": "Learning", "not_ready": "Not ready", "stalled": "Stalled"},
    "follower": {"ready": "Following", "not_ready": "Not ready", "stalled": "Stalled"},
}
_SEVERITIES: Final = {"error": "Error", "warning": "Warning", "waiting": "Waiting"}


class Page:
    """Makes the answers; any thread may ask.

    Args:
        status: what is shown.
    """

    def __init__(self, status: Status) -> None:
        self._status = status
        text = files("worker.observe").joinpath("page.html").read_text(encoding="utf-8")
        self._template = Template(text)
        style, script = (_hash_of(tag, text) for tag in ("style", "script"))
        policy = (
            f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
        )
        self.headers = [
            ("Content-Security-Policy", policy),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ]

    def json(self) -> bytes:
        """Give the status now."""
        return orjson.dumps(self._status.look(), option=orjson.OPT_APPEND_NEWLINE)

    def html(self) -> bytes:
        """Give the page as it is now."""
        now = self._status.look()
        about = now["about"]
        places = {
            "model": about["model"],
            "about": _about(about),
            "state": now["state"],
            "state_text": _STATES[about["kind"]][now["state"]],
            "updated": moment(now["now"]),
            "build": _build(now["build"]),
            "kind": about["kind"],
            "baseline": about["baseline"],
        }
        filled = {name: escape(text) for name, text in places.items()} | {
            "problems": "".join(map(_problem, now["problems"])),
            "shards": "".join(map(_shard, now["shards"])),
            "rejected": "".join(map(_rejections, now["rejected"])),
            "none_wrong": _hidden(bool(now["problems"])),
            "no_shards": _hidden(bool(now["shards"])),
            "some_shards": _hidden(not now["shards"]),
            "none_rejected": _hidden(bool(now["rejected"])),
            "some_rejected": _hidden(not now["rejected"]),
            "worker_only": _hidden(about["kind"] != "worker"),
        } | {f"total_{name}": escape(text) for name, text in _total(now["total"]).items()}  # fmt: skip
        return self._template.substitute(filled).encode()


def _hash_of(tag: str, text: str) -> str:
    """Name what stands in the one element of this tag, as a Content-Security-Policy does."""
    (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    if "$" in inner:
        raise ValueError(f"<{tag}> of the page must not have a $: it would be filled in, and the policy refuse it")
    return f"'sha256-{base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()}'"


def _hidden(so: bool) -> str:
    return " hidden" if so else ""


def _about(about: Mapping[str, Any]) -> str:
    told = [f"{purpose}: {topic}" for purpose, topic in about["topics"].items()]
    return " · ".join([about["kind"], *told, *([f"group: {about['group']}"] if about["group"] else [])])


def _build(build: Mapping[str, str]) -> str:
    named = {"headrace" if name == "version" else name.replace("_", "-"): version for name, version in build.items()}
    return " · ".join(f"{name} {version}" for name, version in named.items())


def _total(total: Mapping[str, Any]) -> dict[str, str]:
    return {
        "events_per_second": count(total["events_per_second"]),
        "offset_lag": count(total["offset_lag"]),
        "event_time_lag": duration(total["event_time_lag"]),
        "oldest_version": duration(total["oldest_version_seconds"]),
        "loss": number(total["loss"]),
        "baseline": number(total["baseline"]),
        "calibration": number(total["calibration"]),
    }


def _problem(problem: Mapping[str, str]) -> str:
    severity = problem["severity"]
    return (
        f'<li class="{escape(severity)}"><strong>{escape(_SEVERITIES[severity])}</strong>'
        f"<span>{escape(problem['text'])}</span></li>"
    )


def _shard(shard: Mapping[str, Any]) -> str:
    return _row(
        ("Shard", str(shard["shard"])),
        ("Version", count(shard["version"])),
        ("Version age", duration(shard["age_seconds"])),
        ("Offset lag", count(shard["offset_lag"])),
        ("Event-time lag", duration(shard["event_time_lag"])),
        ("Events/s", count(shard["events_per_second"])),
        ("Events", count(shard["events"])),
        ("Loss", number(shard["loss"])),
        ("Baseline", number(shard["baseline"])),
        ("Calibration", number(shard["calibration"])),
        ("Rows", count(shard["rows"])),
        ("Memory", size(shard["bytes"])),
    )


def _rejections(rejections: Mapping[str, Any]) -> str:
    return _row(
        ("Reason", rejections["reason"]),
        ("Records", count(rejections["count"])),
        ("Last in shard", str(rejections["shard"])),
        ("At offset", UNKNOWN if rejections["offset"] is None else str(rejections["offset"])),
        ("Its timestamp", moment(rejections["time"])),
    )


def _row(*cells: tuple[str, str]) -> str:
    """Make a row of a table: on a narrow screen each cell shows the name of its column."""
    (head, first), *others = cells
    return (
        f'<tr><th scope="row" data-label="{escape(head)}">{escape(first)}</th>'
        + "".join(f'<td data-label="{escape(name)}">{escape(text)}</td>' for name, text in others)
        + "</tr>"
    )
