"""A test file that a worker has opened: its tests by number, and what the originator must know."""

import hashlib
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import pytest
from _pytest.warnings import catch_warnings_for_item
from msgspec import Raw

from pytest_gatherscatter.plugin.lazy import LazyTree
from pytest_gatherscatter.plugin.plain import encoded, speakable, text_of
from pytest_gatherscatter.plugin.reports import pack_report, pack_together
from pytest_gatherscatter.wire.event import MOST_TESTS, FileCollected
from pytest_gatherscatter.wire.testfiles import Choice

WHOLE = "gs_whole_file"
"""The marker that keeps a file in one piece."""

NAMES = 400 * 1024
"""Bytes of a file's test ids in one event, of the 1 MiB that a message may have."""

GROUPS = 300 * 1024
"""Bytes of the names of groups."""

GROUP = 40
"""Characters of a group's name: beyond, it is told by its beginning and a digest."""

REPORTS = 300 * 1024
"""Bytes of a file's collection reports."""


@dataclass(slots=True)
class OpenFile:
    """A collected file. ``names`` are the ids of ``items`` after the file's own."""

    file: str
    items: list[pytest.Item]
    names: list[str]
    digest: str
    groups: list[str]
    whole: bool
    deselected: int
    reports: tuple[Raw, ...]
    seconds: float

    def collected(self, lease: int) -> FileCollected:
        """Return what to tell of it."""
        return FileCollected(
            lease=lease,
            tests=tuple(_within(self.names, NAMES)),
            digest=self.digest,
            groups=_told(self.groups),
            whole=self.whole,
            deselected=min(self.deselected, MOST_TESTS),
            reports=self.reports,
            seconds=self.seconds,
        )

    def tail(self, untouched: Sequence[int], most: int, begun: Collection[str]) -> list[int]:
        """Return about ``most`` tests from the end of ``untouched``, and no part of a group.

        A group goes with its last test, unless it has ``begun``, or the test that is next is of it.
        """
        if self.whole or most <= 0:
            return []
        free = set(untouched)
        named = {group for group in self.groups if group}
        stay = {self.groups[test] for test in range(len(self.items)) if test not in free} & named
        stay |= named.intersection(begun)
        given = {self.groups[test] for test in untouched[-most:]} & named - stay
        ends = set(untouched[-most:])
        return [
            test
            for test in untouched
            if (self.groups[test] in given if self.groups[test] else test in ends)
        ]


class Opener:
    """A plugin that opens files, and listens meanwhile to what collecting them tells."""

    def __init__(self, session: pytest.Session, tree: LazyTree) -> None:
        self._session = session
        self._tree = tree
        self._reports: list[pytest.CollectReport] = []
        self._deselected = 0

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what did not pass."""
        if not report.passed:
            self._reports.append(report)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Count."""
        self._deselected += len(items)

    def open(self, file: str, choice: Choice | None = None) -> OpenFile:
        """Import and collect a file. What goes wrong in it stands in its reports."""
        session, config = self._session, self._session.config
        self._reports, self._deselected = [], 0
        began = time.perf_counter()
        with _warnings(config):
            path = self._tree.path(file)
            items, missing = self._tree.selection.of(path, self._tree.items(path))
            if not items and not self._reports and not path.is_file():
                self._complain(file, f"{path} does not exist here")
            for name in missing:
                self._complain(f"{file}::{name}", f"not found: {file}::{name}")
            session.items = items
            config.hook.pytest_collection_modifyitems(session=session, config=config, items=items)
            if choice is not None:
                self._choose(file, items, choice)
        if len(items) > MOST_TESTS:
            self._complain(file, f"{len(items)} tests in one file, {MOST_TESTS} allowed")
            items.clear()
        session.testscollected += len(items)
        names = [speakable(_name(item, file)) for item in items]
        groups = [_group(item) for item in items]
        return OpenFile(
            file=file,
            items=list(items),
            names=names,
            digest=digest_of(names),
            groups=groups,
            whole=len(_told(groups)) == 1 or any(one.get_closest_marker(WHOLE) for one in items),
            deselected=self._deselected,
            reports=pack_together([pack_report(config, one) for one in self._reports], REPORTS),
            seconds=time.perf_counter() - began,
        )

    def _choose(self, file: str, items: list[pytest.Item], choice: Choice) -> None:
        """Leave what is meant of a file's tests: last, as pytest's own plugins for it do."""
        chosen = set(choice.tests)
        are = [item for item in items if _name(item, file) in chosen]
        others = [item for item in items if _name(item, file) not in chosen]
        if choice.how == "first":
            items[:] = [*are, *others]
            return
        kept, gone = (are, others) if choice.how == "only" else (others, are)
        if gone and (kept or choice.how == "without"):
            items[:] = kept
            self._session.config.hook.pytest_deselected(items=gone)

    def _complain(self, nodeid: str, text: str) -> None:
        report = pytest.CollectReport(nodeid, "failed", text, [])
        self._session.config.hook.pytest_collectreport(report=report)


def digest_of(names: Sequence[str]) -> str:
    """Return the digest of a file's test ids, in order: 64 bits as 16 hexadecimal digits."""
    return hashlib.blake2b("\0".join(names).encode(), digest_size=8).hexdigest()


def _warnings(config: pytest.Config) -> AbstractContextManager[None]:
    """Record warnings as ordinary collection does, by the project's filters."""
    if not config.pluginmanager.hasplugin("warnings"):
        return nullcontext()
    return catch_warnings_for_item(config=config, ihook=config.hook, when="collect", item=None)


def _name(item: pytest.Item, file: str) -> str:
    own = item.nodeid
    return own.removeprefix(f"{file}::")


def _group(item: pytest.Item) -> str:
    """Name the tests that must stay together with this one, as xdist's marker says it."""
    names = {
        text_of(mark.args[0] if mark.args else mark.kwargs.get("name", "default"))
        for mark in item.iter_markers("xdist_group")
    }
    name = speakable("_".join(sorted(names)))
    if len(name) <= GROUP:
        return name
    return f"{name[: GROUP - 17]}…{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"


def _within(names: Sequence[str], most: int) -> Sequence[str]:
    """Return names that take no more than ``most`` bytes: cut short, they end in their number."""
    if len(encoded(names)) <= most:
        return names
    each = max(0, most // len(names) // 4 - 8)  # a character takes up to four bytes
    short = (
        f"{name[:each]}…#{number}" if len(name) > each else name
        for number, name in enumerate(names)
    )
    return list(short)


def _told(groups: Sequence[str]) -> tuple[str, ...]:
    """Return the groups to tell: none where there are none, one for all where they are too many."""
    if not any(groups):
        return ()
    told = tuple(groups)
    return told if len(encoded(told)) <= GROUPS else (next(filter(None, told)),)
