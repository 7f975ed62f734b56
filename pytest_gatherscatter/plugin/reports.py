"""Packs reports, warnings and output of plugins in a worker, and unpacks them at the originator.

pytest's own hooks turn a report into a dictionary and back, so that what plugins add to it comes
along. What is packed is JSON within the bounds below; what cannot be unpacked becomes a failed
report that says so, for the originator must not fail over it.
"""

import base64
import json
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import pytest
from _pytest.reports import CollectErrorRepr
from msgspec import Raw

from pytest_gatherscatter.plugin.plain import clipped, encoded, fitted, plain, text_of

Report: TypeAlias = pytest.TestReport | pytest.CollectReport
Location: TypeAlias = tuple[str, int, str] | None

REPORT = 200 * 1024
"""Bytes of one report, of the 1 MiB that a message may have."""

REPORTS = 600 * 1024
"""Bytes of all reports of a test, or of a file's collection."""

INPUT = 200 * 1024
"""Bytes of what plugins have for a worker's start."""

OUTPUT = 64 * 1024 * 1024
"""Bytes of what plugins hand in at a worker's end: coverage of a large project is some of it."""

SHORT = 2_000
"""Characters of a field in what is left of a report that nothing else made small enough."""

_BYTES = "$bytes"


# ── reports ────────────────────────────────────────────────────────────────────────────


def pack_report(config: pytest.Config, report: Report) -> Raw:
    """Return a report as JSON of at most ``REPORT`` bytes. Never raises."""
    try:
        data = config.hook.pytest_report_to_serializable(config=config, report=report)
    except Exception as error:  # noqa: BLE001 - a plugin's hook
        data = _bare(report, f"the report could not be packed: {error!r}")
    if not isinstance(data, dict):
        data = _bare(report, f"no plugin packs a {type(report).__name__}")
    return Raw(_within(plain(data), REPORT))


def _bare(report: Report, why: str) -> dict[str, Any]:
    """Return what every report has."""
    return {
        "$report_type": "TestReport" if hasattr(report, "when") else "CollectReport",
        "nodeid": report.nodeid,
        "location": list(getattr(report, "location", None) or (report.nodeid, None, "")),
        "outcome": report.outcome,
        "longrepr": f"{text_of(report.longrepr or '')}\n({why})",
        "when": getattr(report, "when", "collect"),
        "duration": getattr(report, "duration", 0.0),
        "keywords": {},
        "sections": [],
        "user_properties": [],
        "result": None,
    }


def _within(data: dict[str, Any], most: int) -> bytes:
    """Return a report's JSON, with as little cut as must be."""
    body = fitted(data, most)
    if body is None:
        longrepr = data.get("longrepr")
        less = {key: one for key, one in data.items() if not isinstance(one, dict | list)}
        less |= {"keywords": {}, "sections": [], "user_properties": []}
        less |= {"location": data.get("location") or ["", None, ""]}
        if longrepr is not None:
            said = longrepr if isinstance(longrepr, str) else json.dumps(longrepr)
            less["longrepr"] = clipped(said, SHORT)
        body = fitted(less, most) or encoded({"nodeid": clipped(str(data.get("nodeid")), 256)})
    return body


def pack_together(reports: Sequence[Raw], most: int = REPORTS) -> tuple[Raw, ...]:
    """Return packed reports, cut down to ``most`` bytes in all.

    Where there are thousands (subtests), those that passed are left out, from the middle.
    """
    if sum(len(bytes(one)) for one in reports) <= most:
        return tuple(reports)
    data = [msgspec.json.decode(report) for report in reports]
    each = most // len(data)
    if each < SHORT:
        keep = most // SHORT
        edge = keep // 4
        bad = [one for one in data[edge:-edge] if one.get("outcome") != "passed"]
        bad = bad[: keep - 2 * edge]
        note = f"{len(data) - 2 * edge - len(bad)} reports of this test were left out"
        data = [*data[:edge], *bad, *data[-edge:]]
        sections = data[-1].get("sections")
        data[-1]["sections"] = [*(sections or []), ["gatherscatter", note]]
        each = most // len(data)
    return tuple(Raw(_within(one, each)) for one in data)


def unpack_report(config: pytest.Config, raw: Raw) -> Report:
    """Return the report that a worker packed; a failed one where that is no report."""
    data: Any = None
    report: Any
    try:
        data = msgspec.json.decode(raw)
        _retuple(data)
        report = config.hook.pytest_report_from_serializable(config=config, data=dict(data))
        if report is None:  # of a plugin that is not here
            report = pytest.TestReport._from_json(data)  # noqa: SLF001 - there is no other way
        assert isinstance(report, pytest.TestReport | pytest.CollectReport)  # noqa: S101
    except Exception as error:  # noqa: BLE001 - whatever a plugin makes of it
        return _unreadable(data, error)
    if isinstance(report, pytest.CollectReport) and isinstance(report.longrepr, str):
        report.longrepr = CollectErrorRepr(report.longrepr)  # as it was: it has no short form
    checked: Report = report
    return checked


def _retuple(data: dict[str, Any]) -> None:
    """Make tuples of what JSON made lists and pytest asserts to be tuples."""
    if isinstance(data.get("longrepr"), list):
        data["longrepr"] = tuple(data["longrepr"])
    if isinstance(data.get("location"), list):
        data["location"] = tuple(data["location"])
    for key in ("sections", "user_properties"):
        if isinstance(data.get(key), list):
            data[key] = [tuple(one) if isinstance(one, list) else one for one in data[key]]


def _unreadable(data: object, error: Exception) -> pytest.TestReport:
    said: dict[str, Any] = data if isinstance(data, dict) else {}
    nodeid = str(said.get("nodeid", "?"))
    return pytest.TestReport(
        nodeid=nodeid,
        location=(nodeid.partition("::")[0], None, nodeid),
        keywords={},
        outcome="failed",
        longrepr=f"a worker's report could not be read: {error!r}",
        when="call",
    )


# ── warnings ───────────────────────────────────────────────────────────────────────────


def pack_warning(
    warning: warnings.WarningMessage, when: str, nodeid: str, location: Location
) -> Raw:
    """Return a recorded warning as JSON of at most ``REPORT`` bytes. Never raises."""
    data = {
        "text": text_of(warning.message),
        "category": [warning.category.__module__, warning.category.__qualname__],
        "filename": warning.filename,
        "lineno": warning.lineno,
        "line": warning.line,
        "when": when,
        "nodeid": nodeid,
        "location": location,
    }
    data = plain(data)
    return Raw(fitted(data, REPORT) or encoded({**data, "text": "", "nodeid": "", "line": None}))


def unpack_warning(raw: Raw) -> tuple[warnings.WarningMessage, str, str, Location]:
    """Return a warning that a worker packed, when, in which test and where it was recorded.

    Its class is the one of that name if it is imported here, else one made up after it: nothing
    of the tests is imported for a warning.
    """
    data = msgspec.json.decode(raw)
    module, name = data["category"]
    category = _class(module, name)
    message = _message(category, data["text"])
    warning = warnings.WarningMessage(
        message, type(message), data["filename"], data["lineno"], line=data["line"]
    )
    location = data["location"]
    return warning, data["when"], data["nodeid"], location and tuple(location)


def _class(module: str, name: str) -> type[Warning]:
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Warning):
        return found
    return type(name.rpartition(".")[2], (UserWarning,), {"__module__": module})


def _message(category: type[Warning], text: str) -> Warning:
    """Make a warning of a class that says ``text``, whatever its constructor takes."""
    try:
        message = category(text)
        if str(message) == text:
            return message
    except Exception:  # noqa: BLE001, S110 - it takes something else; see below
        pass
    says = {"__module__": category.__module__, "__str__": lambda _: text}
    made: Warning = type(category.__name__, (category,), says | {"__init__": lambda _: None})()
    return made


# ── what plugins hand in ───────────────────────────────────────────────────────────────


def pack_output(output: dict[str, Any], most: int = OUTPUT) -> Raw:
    """Return ``workeroutput``, or ``workerinput``, as JSON; bytes come back as bytes. Never raises.

    Beyond ``most`` bytes the longest values become ``None``.
    """
    packed = {str(key): _bytes_as_text(one) for key, one in output.items()}
    sizes = {key: len(encoded(one)) for key, one in packed.items()}
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if sum(sizes.values()) > most:
            packed[key], sizes[key] = None, 4
    return Raw(encoded(packed))


def _bytes_as_text(value: object) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    if type(value) is dict:
        return {text_of(key): _bytes_as_text(one) for key, one in value.items()}
    if type(value) in {list, tuple}:
        return [_bytes_as_text(one) for one in value]  # type: ignore[attr-defined]
    return plain(value)


def unpack_output(raw: Raw | str) -> dict[str, Any]:
    """Return what plugins packed; nothing where that cannot be read."""
    try:
        found = _bytes_again(msgspec.json.decode(raw))
    except (msgspec.DecodeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _bytes_again(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        if value.keys() == {_BYTES}:
            return base64.b64decode(value[_BYTES])
        return {key: _bytes_again(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_bytes_again(one) for one in value]
    return value
