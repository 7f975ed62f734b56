"""Plants the bugs of ``README.md``, word for word: the list itself is what is played.

The list was written and kept before anybody had read the rules. Its changes are made to the text
of the functions that they are about, so a list that is mended afterwards, or code that has moved
on, fails here instead of playing something else.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.sections.clock import GathererClock
from pytest_gatherscatter.sections.gatherer import recovery
from pytest_gatherscatter.sections.gatherer.commit import Commit
from pytest_gatherscatter.sections.gatherer.ending import Ending
from pytest_gatherscatter.sections.gatherer.gathering import Gathering
from pytest_gatherscatter.sections.gatherer.presence import Presence as GathererPresence
from pytest_gatherscatter.sections.gatherer.record import Participant
from pytest_gatherscatter.sections.monitor import machine
from pytest_gatherscatter.sections.monitor.ending import Ending as MonitorEnding
from pytest_gatherscatter.sections.monitor.hookend import HookEnds
from pytest_gatherscatter.sections.monitor.machine import MonitorMachine
from pytest_gatherscatter.sections.monitor.order import Orders
from pytest_gatherscatter.sections.workload.guide import Guide
from pytest_gatherscatter.sections.workload.machine import Workload

LIST = Path(__file__).with_name("README.md")

PLACES: dict[str, tuple[Any, ...]] = {
    "records-last": (Pump._handle,),
    "one-floor": (Orders._prepare_new,),
    "abort-by-id": (Orders.abort,),
    "deadline-sleeps": (machine._due,),
    "bound-stays-young": (GathererClock._guess, GathererClock.bound),
    "nothing-owed": (Guide._drop,),
    "hold-overlooked": (Commit.commit_if_alive,),
    "gathers-at-once": (Gathering.enter,),
    "said-once": (Orders.stop,),
    "opening-dropped": (recovery.snapshot,),
    "alive-once": (Commit._check,),
    "held-while-gathered": (Gathering.holding,),
    "leave-answered-first": (Ending.leave, Ending.leave),
    "abort-unrecorded": (Ending.abort,),
    "boot-shift": (recovery._shift,),
    "capture-stalls": (MonitorMachine._link_up,),
    "bound-of-stop": (HookEnds._stopped,),
    "ticket-of-former-token": (Guide._prepare,),
    "met-forgotten": (Guide._sought,),
    "lock-spared": (Guide._prepare, Guide._gone),
    "old-holds-alarm": (Participant.hold,),
    "overdue-forgotten": (recovery.recover,),
    "only-the-living": (GathererPresence._gone,),
    "wrong-one-leaves": (Ending._free,),
    "reset-does-not-last": (Ending.abort,),
    "raw-deadline": (Orders.go,),
    "abort-misses-holder": (MonitorEnding.abort,),
    "same-token-refused": (Orders.prepare,),
    "ready-once": (Guide._prepare,),
    "ticket-on-send": (Workload.handle,),
}
"""The functions that each bug changes, in the order of its changes."""


def bugs() -> dict[str, list[tuple[str, str]]]:
    """Read the list: each bug's changes, as the lines before and the lines after."""
    found = {}
    for part in LIST.read_text().split("\n## ")[1:]:
        name = re.findall("`(.+?)`", part)[0]
        changes = re.findall(r"```diff\n(.*?)```", part, re.DOTALL)
        found[name] = [(_side(change, "+"), _side(change, "-")) for change in changes]
    return found


def _side(change: str, other: str) -> str:
    """Keep the lines of one side of a change, as they stand in a file."""
    lines = [line for line in change.splitlines(keepends=True) if not line.startswith(other)]
    return "".join(line[1:] for line in lines)


def plant(name: str, patch: pytest.MonkeyPatch) -> None:
    """Change the functions as the list says."""
    changes: dict[FunctionType, list[tuple[str, str]]] = {}
    for function, change in zip(PLACES[name], bugs()[name], strict=True):
        changes.setdefault(function, []).append(change)
    for function, its in changes.items():
        patch.setattr(function, "__code__", _changed(function, its))


def _changed(function: FunctionType, changes: list[tuple[str, str]]) -> CodeType:
    path = Path(inspect.getfile(function))
    lines, first = inspect.getsourcelines(function)
    text, whole = "".join(lines), path.read_text().splitlines(keepends=True)
    for before, after in changes:
        if text.count(before) != 1:
            raise LookupError(f"not in {function.__qualname__}: {before}")
        text = text.replace(before, after)
    whole[first - 1 : first - 1 + len(lines)] = [text]
    every = _codes(compile("".join(whole), path, "exec", dont_inherit=True))
    return next(code for code in every if code.co_qualname == function.__qualname__)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Go through all code within ``code``."""
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes(one)
