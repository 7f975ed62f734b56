"""Draws the parts of the documentation that the code knows better: tables and diagrams.

``python docs/draw.py`` writes them between ``<!-- drawn: NAME -->`` and ``<!-- end -->``;
``tests/test_docs.py`` fails when a document says something else than the code does.
"""  # noqa: INP001 - a script beside the pages, no package

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from pytest_gatherscatter import gradersetting, recordsetting, settings
from pytest_gatherscatter.cli.main import COMMANDS
from pytest_gatherscatter.embedded.refusal import UNSUPPORTED
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.record import row
from pytest_gatherscatter.sections import verdict as verdicts
from pytest_gatherscatter.sections.gatherer import state as gathererstate
from pytest_gatherscatter.sections.monitor import arming
from pytest_gatherscatter.sections.workload import state as workload_state
from pytest_gatherscatter.settingvalue import (
    LISTENER_READERS,
    MONITOR_READERS,
    PROCESSOR_READERS,
    READERS,
)
from pytest_gatherscatter.slips import asker
from pytest_gatherscatter.testfiles import duty
from pytest_gatherscatter.wire.kind import AnyMessage

HERE = Path(__file__).parent
BLOCK = re.compile(r"(<!-- drawn: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


# ── states ─────────────────────────────────────────────────────────────────────────────


def states(kind: type[Enum], table: Mapping[Any, Sequence[Any]], first: Enum) -> str:
    """Draw a transition table as a mermaid diagram, and list what each state means."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}"]
    for start, finishes in table.items():
        lines += [f"    {start.value} --> {finish.value}" for finish in finishes]
        if not finishes:
            lines.append(f"    {start.value} --> [*]")
    meanings = texts_of_members(kind)
    rows = [(f"`{member.value}`", plain(meanings[member.name])) for member in kind]
    return "\n".join([*lines, "```", "", rows_of(("state", "meaning"), rows)])


def texts_of_members(kind: type) -> dict[str, str]:
    """Return the text that stands under each member of a class."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is the source of a class
    texts = {}
    for node, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(node, ast.Assign)
            and isinstance(target := node.targets[0], ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            texts[target.id] = " ".join(str(after.value.value).split())
    return texts


def verdict_table() -> str:
    """List every verdict, and whether the gatherer can give it too."""
    meanings = texts_of_members(verdicts.SectionVerdict)
    own = verdicts.OF_ITS_OWN_SIDE
    rows = [
        (f"`{one.value}`", "" if one in own else "yes", plain(meanings[one.name]))
        for one in verdicts.SectionVerdict
    ]
    return rows_of(("verdict", "in `status` too", "meaning"), rows)


# ── messages ───────────────────────────────────────────────────────────────────────────


def message_tables() -> str:
    """List every message in the order of the source, under the source's own headings."""
    known = {kind.__name__: kind for kind in get_args(AnyMessage)}
    modules = dict.fromkeys(kind.__module__ for kind in known.values())
    source = "".join(inspect.getsource(sys.modules[name]) for name in modules)
    parts: list[str] = []
    rows: list[tuple[str, ...]] = []
    head = ("message", "who → whom", "what for, and what a redelivery does", "fields")
    heading = ""
    for line in [*source.splitlines(), "# ── the end ─"]:
        if title := re.fullmatch(r"# ── (.+?) ─+", line):
            if rows:
                parts += [f"**{heading[0].upper()}{heading[1:]}**", rows_of(head, rows)]
            heading, rows = title[1], []
        elif (word := re.match(r"class (\w+)\(", line)) and word[1] in known:
            rows.append(message_row(known[word[1]]))
    return "\n\n".join(parts)


def message_row(kind: type[Any]) -> tuple[str, str, str, str]:
    """Tell one message: its way, its purpose, and its fields (optional ones with ``?``)."""
    text = " ".join((kind.__doc__ or "").split())
    found = re.match(r"([^,:.;]+ → [^,:.;]+)[,:.;] ?(.*)", text)
    if found is None:
        raise ValueError(f"the docstring of {kind.__name__} does not say who sends it to whom")
    names = [
        field.name if field.required else f"{field.name}?" for field in msgspec.structs.fields(kind)
    ]
    what = found[2][:1].upper() + found[2][1:]
    return f"`{kind.__name__}`", plain(found[1]), plain(what), ", ".join(names)


def plain(text: str) -> str:
    """Turn what is code in a docstring into code on a page."""
    return re.sub(r":\w+:`([^`]+)`", r"`\1`", text.replace("``", "`"))


# ── settings ───────────────────────────────────────────────────────────────────────────

GATHERER_TEXTS = {
    "gatherer.agents": "agents that every section of the lab needs",
    "gatherer.state_dir": "where the gatherer keeps its decisions; without it, in memory only",
}

MONITOR_TEXTS = {
    "name": "the agent's name, unique in the lab",
    "target": "`package.module:Class`, a `Monitor`; either this or commands",
    "on_prepare": "arm: exit 0 ready, 75 hold, 76 veto, anything else broken",
    "on_go": "the section starts",
    "on_stop": "it is over: findings on the output, captures in `$GS_ARTIFACTS`",
    "on_abort": "it will not be, or ended badly: `$GS_CAUSE` says why",
    "on_overdue": "it takes too long: make safe",
    "benches": "the benches it watches; without any, the bench of the settings",
    "advisory": "its holds never fail a section",
    "hook_timeout": "how long each hook may take",
    "drain": "how long a running section may go on after SIGTERM, before the monitor makes safe",
    "options": "keyword arguments of the class",
}


def setting_table() -> str:
    """List every setting: its default, where it can be set, and what it is."""
    defaults = {field.name: field.default for field in fields(settings.Settings)}
    inner = {field.name: field.default for field in fields(settings.GathererSettings)}
    defaults |= {f"gatherer.{name}": default for name, default in inner.items()}
    meanings = {
        **options.TEXT_KEYS,
        **options.QUANTITY_KEYS,
        "require": "agents that every section needs",
        **GATHERER_TEXTS,
    }
    rows = []
    for key in READERS:
        dashed = key.replace("_", "-")
        ini = key in {*options.TEXT_KEYS, *options.QUANTITY_KEYS, "require"}
        option = f"`--gs-{dashed}`" if key in options.OPTION_KEYS else ""
        variable = settings.VARIABLES.get(key)
        rows.append(
            (
                f"`{key}`",
                default_of(key, defaults[key]),
                option,
                f"`gs_{key}`" if ini else "",
                f"`{variable}`" if variable else "",
                meanings[key].replace("|", "\\|"),
            )
        )
    return rows_of(("key", "default", "pytest option", "pytest ini", "variable", "meaning"), rows)


def default_of(key: str, value: object) -> str:
    """Say a default as one would write it."""
    if value is MISSING or value is None or value == frozenset():
        return "none"
    if key == "artifact_limit" and isinstance(value, int):
        return f"`{value // 1024**2}MiB`"
    if isinstance(value, float):
        return f"`{value:g}s`"
    return f"`{value}`"


LISTENER_TEXTS = {
    "name": "what it is called in reports and by `ping`",
    "slots": "workers that it runs at a time",
    "job_slots": "slots that one job may take; 0 is all",
    "labels": "what it has: a job with `--gs-label` goes to those that have all of its labels",
    "sources": "what it may fetch, `*` stands for anything, `/` too; without any, directories of "
    "this host that belong to its user",
    "workspaces": "directory for the files of jobs",
    "keep": "workspaces that stay for later jobs of the same source",
    "fresh": "a new workspace for each job",
    "sync_plugins": "plugins of this host whose `pytest_gs_sync` may fetch the files instead of "
    "rsync",
    "connect_timeout": "how long ssh, or an rsync daemon, may take to answer",
    "silence_timeout": "how long rsync may hear nothing",
    "sync_timeout": "how long a sync may take in all",
    "drain": "how long running tests may go on after SIGTERM",
    "log": "a file for the log, turned over at 10 MiB",
}


def listener_table() -> str:
    """List the keys of ``[listener]``."""
    defaults: dict[str, object] = {
        field.name: field.default for field in fields(settings.ListenerSettings)
    }
    defaults |= {
        "name": "the host's name",
        "workspaces": "`~/.local/state/gatherscatter/workspaces`",
    }

    def default(key: str) -> str:
        value = defaults[key]
        if value in (None, (), frozenset()):
            return "none"
        if isinstance(value, str):
            return value
        return f"`{value:g}s`" if isinstance(value, float) else f"`{str(value).lower()}`"

    rows = [(f"`{key}`", default(key), LISTENER_TEXTS[key]) for key in LISTENER_READERS]
    return rows_of(("key", "default", "meaning"), rows)


PROCESSOR_TEXTS = {
    "name": "what it is called; unique in a lab",
    "slots": "steps that it runs at a time",
    "logs": "directory for the output of steps",
    "drain": "how long steps may go on after SIGTERM",
    "allow_shell": "run command lines of slips too: whoever may write to the lab runs anything",
    "via_balancer": "take slips from `roundrobin serve`, not from the queues",
}


def processor_table() -> str:
    """List the keys of ``[processor]``."""
    made = settings.ProcessorSettings(name="the host and its processes: `HOST-power-flash`")
    texts = {"logs": "`~/.local/state/gatherscatter/slips`", "name": made.name}

    def default(key: str) -> str:
        value = getattr(made, key)
        said = f"`{value:g}s`" if isinstance(value, float) else f"`{str(value).lower()}`"
        return texts.get(key, said)

    rows = [(f"`{key}`", default(key), PROCESSOR_TEXTS[key]) for key in PROCESSOR_READERS]
    return rows_of(("key of `[processor]`", "default", "meaning"), rows)


GRADER_TEXTS = {
    "name": "what it is called",
    "kind": "`subprocess`, `http`, `python`, `sleep`, or one of a package",
    "queues": "the queues that it serves; each is of one grader only",
    "threads": "requests that it judges at a time",
    "timeout": "how long a grading may take",
    "slow": "how long one may take without being logged",
    "attempts": "how often a request is tried whose graders are killed",
    "options": "a table: those of its kind",
}

EXAMINER_TEXTS = {
    "name": "what the examiner is called; unique in a lab",
    "drain": "how long gradings may go on after SIGTERM",
    "via_balancer": "take requests from `roundrobin serve`, not from the queues",
}


def grader_table() -> str:
    """List the keys of a ``[[grader]]``, and of ``[examiner]``."""
    made = gradersetting.GraderSettings(name="", kind="")
    examiner = gradersetting.ExaminerSettings()
    told = {
        "name": "must be given",
        "kind": "must be given",
        "queues": "its name",
        "options": "none",
        "examiner.name": "the host, its graders, its pid",
    }

    def default(key: str, value: object) -> str:
        said = f"`{value:g}s`" if isinstance(value, float) else f"`{value}`"
        return told.get(key, said)

    rows = [
        (f"`{key}`", default(key, getattr(made, key)), GRADER_TEXTS[key])
        for key in gradersetting.GRADER_READERS
    ]
    rows += [
        (f"`[examiner] {key}`", default(f"examiner.{key}", getattr(examiner, key)), text)
        for key, text in EXAMINER_TEXTS.items()
        if key in gradersetting.EXAMINER_READERS
    ]
    return rows_of(("key of `[[grader]]`", "default", "meaning"), rows)


RECORDER_TEXTS = {
    "database": "where to write, as SQLAlchemy says it; `{here}` is the folder of the settings",
    "name": "whose queue it is; each name hears of everything",
    "patience": "for how long the database may fail before the recorder ends",
}


def recorder_table() -> str:
    """List the keys of ``[recorder]``."""
    made = recordsetting.RecorderSettings()
    told = {"database": "must be given", "patience": f"`{made.patience:g}s`"}
    rows = [
        (f"`{key}`", told.get(key, f"`{getattr(made, key)}`"), text)
        for key, text in RECORDER_TEXTS.items()
        if key in recordsetting.RECORDER_READERS
    ]
    return rows_of(("key of `[recorder]`", "default", "meaning"), rows)


RECORD_TEXTS = {
    "grades": "a request to a grader that an examiner has answered",
    "sections": "a critical section that has ended, or was given up",
    "slips": "a routing slip that is over",
    "jobs": "a run of test files (`--gs-dispatch`)",
}


def record_table() -> str:
    """List what is recorded: the kind, its table, and the columns."""
    rows = [
        (
            f"`{kind}`",
            RECORD_TEXTS[kind],
            f"`{table.name}`",
            ", ".join(name for name in table.columns if name not in row.SAID),
        )
        for kind, table in row.KINDS.items()
    ]
    steps = [name for name in row.STEPS.columns if name not in row.STEPS.key]
    rows.insert(3, ("", "each attempt at a step of a slip", "`step`", ", ".join(steps)))
    return rows_of(("kind", "a row for", "table", "columns"), rows)


def monitor_table() -> str:
    """List the keys of a ``[[monitor]]``."""
    defaults = {field.name: field.default for field in fields(settings.MonitorSettings)}

    def default(key: str) -> str:
        value = defaults[key]
        if key == "name":
            return "must be given"
        if value in (MISSING, None, ()):
            return "none"
        return f"`{value:g}s`" if isinstance(value, float) else f"`{str(value).lower()}`"

    rows = [(f"`{key}`", default(key), MONITOR_TEXTS[key]) for key in MONITOR_READERS]
    return rows_of(("key", "default", "meaning"), rows)


# ── commands ───────────────────────────────────────────────────────────────────────────


def own_options(command: click.Command) -> str:
    """List the options of a command that not all commands have."""
    common = {"broker", "lab", "log_level"}
    return " ".join(
        f"`{max(parameter.opts, key=len)}`"
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and not parameter.hidden
        and parameter.name not in common
    )


def command_table() -> str:
    """List every command and its options."""
    rows = []
    for name, entry in COMMANDS.items():
        module = importlib.import_module(f"pytest_gatherscatter.cli.{entry.module}")
        command: click.Command = getattr(module, name)
        if isinstance(command, click.Group):
            for inner, one in command.commands.items():
                line = (one.help or "").partition("\n")[0]
                rows.append((f"`gatherscatter {name} {inner}`", line, own_options(one)))
        else:
            rows.append((f"`gatherscatter {name}`", entry.line, own_options(command)))
    return rows_of(("command", "what it does", "its own options"), rows)


# ── the embedded broker ────────────────────────────────────────────────────────────────


def unsupported_table() -> str:
    """List what the embedded broker answers with 540."""
    return rows_of(("asked for", "what it is"), [(f"`{k}`", v) for k, v in UNSUPPORTED.items()])


# ── pages ──────────────────────────────────────────────────────────────────────────────


def rows_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


DRAWN: Mapping[str, Callable[[], str]] = {
    "states of the gatherer": lambda: states(
        gathererstate.SectionState,
        gathererstate.SECTION_TABLE,
        gathererstate.SectionState.ENTERED,
    ),
    "states of a monitor": lambda: states(
        arming.ArmingState, arming.ARMING_TABLE, arming.ArmingState.WAITING
    ),
    "states of a workload": lambda: states(
        workload_state.WorkloadState,
        workload_state.WORKLOAD_TABLE,
        workload_state.WorkloadState.ENTERING,
    ),
    "states of a job at its listener": lambda: states(
        duty.DutyState, duty.DUTY_TABLE, duty.DutyState.QUEUED
    ),
    "states of a slip": lambda: states(asker.AskState, asker.ASK_TABLE, asker.AskState.CHECKING),
    "verdicts": verdict_table,
    "messages": message_tables,
    "settings": setting_table,
    "monitor settings": monitor_table,
    "listener settings": listener_table,
    "processor settings": processor_table,
    "grader settings": grader_table,
    "recorder settings": recorder_table,
    "records": record_table,
    "commands": command_table,
    "not implemented": unsupported_table,
}


def drawn(text: str) -> str:
    """Return a page with its drawn parts as the code has them now.

    Raises:
        KeyError: the page asks for a part that nobody draws.
    """
    return BLOCK.sub(lambda found: f"{found[1]}{DRAWN[found[2]]()}\n{found[3]}", text)


def pages() -> Iterator[Path]:
    """Go through every page, the README too."""
    yield HERE.parent / "README.md"
    yield from sorted(HERE.glob("*.md"))


def main() -> None:
    """Draw everything anew."""
    for page in pages():
        text = page.read_text()
        page.write_text(drawn(text))


if __name__ == "__main__":
    main()
