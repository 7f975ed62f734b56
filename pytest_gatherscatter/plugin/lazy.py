"""Collects one file at a time, and imports no other: the tree grows where a file is granted.

Ordinary collection runs once, so that plugins see what they always see, but everything that the
arguments name stays shut. A file is opened later: the directories on the way to it are made by
the same hooks and opened without looking at what else they hold, so that conftests are loaded
and their fixtures are known exactly where they would be. Collecting from the arguments again for
each file would lose autouse fixtures of nested conftests, since fixtures belong to *nodes*.
"""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from _pytest.runner import collect_one_node

from pytest_gatherscatter.plugin.selection import Selection

USUAL = (pytest.Dir, pytest.Package)
"""Directories whose children do not depend on one another; others are collected whole."""


class LazyTree:
    """A plugin that keeps files and directories shut, and opens them one by one."""

    def __init__(self, config: pytest.Config) -> None:
        self.selection = Selection(config.args, config)
        self.session: pytest.Session | None = None
        self._root = config.rootpath
        self._above = {above for path in self.selection.paths for above in path.parents}
        self._asleep = False
        self._directories: dict[Path, pytest.Directory] = {}
        self._files: dict[Path, list[pytest.File]] = {}
        self._opened: dict[Path, pytest.CollectReport] = {}

    # ── once ───────────────────────────────────────────────────────────────────────────

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        """Let pytest go from the root to what the arguments name, and no further."""
        self.session = session
        session.config.args = list(self.selection.arguments)
        self._asleep = True
        try:
            return (yield)
        finally:
            self._asleep = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Keep conftests whose directories have not been opened yet: pytest would drop them."""
        fixtures = session._fixturemanager  # noqa: SLF001 - there is no other way
        waiting = getattr(fixtures, "_pending_conftests", {})
        kept = dict(waiting)
        yield
        waiting.update(kept)

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> pytest.CollectReport | None:
        """Find nothing in what is to stay shut, and remember it."""
        if not self._asleep:
            return None
        path = collector.path
        if isinstance(collector, pytest.File):
            self._files.setdefault(path, []).append(collector)
        elif isinstance(collector, pytest.Directory) and path not in self._above:
            self._directories[path] = collector
        else:
            return None
        return pytest.CollectReport(collector.nodeid, "passed", None, [])

    # ── file by file ───────────────────────────────────────────────────────────────────

    def path(self, file: str) -> Path:
        """Return the path of what stands before ``::`` in nodeids."""
        bases = [self._root, *self.selection.paths, *(one.parent for one in self.selection.paths)]
        found = (base / file for base in bases if (base / file).is_file())
        path = next(found, self._root / file)
        return Path(*_without_dots(path))

    def items(self, path: Path) -> list[pytest.Item]:
        """Import a file, and return its tests; what goes wrong is told as collection reports."""
        return [item for file in self._collectors(path) for item in _items(file)]

    def _collectors(self, path: Path) -> list[pytest.File]:
        """Return the collectors of a file: more than one where doctests are looked for too."""
        found = self._files.get(path)
        if found is None:
            parent = self._directory(path.parent)
            if parent is None:
                return []
            if isinstance(parent, USUAL):
                made = parent.ihook.pytest_collect_file(file_path=path, parent=parent)
            else:
                made = [one for one in self._opened[parent.path].result if one.path == path]
            found = self._files[path] = [one for one in _flat(made) if isinstance(one, pytest.File)]
        return found

    def _directory(self, path: Path) -> pytest.Directory | None:
        """Return a directory's node, opened; ``None`` if there is no way to it."""
        node = self._directories.get(path)
        if node is None:
            above = self._directory(path.parent) if path != path.parent else None
            if above is None:
                return None
            if isinstance(above, USUAL):
                node = above.ihook.pytest_collect_directory(path=path, parent=above)
            else:
                inside = (one for one in self._opened[above.path].result if one.path == path)
                node = next((one for one in inside if isinstance(one, pytest.Directory)), None)
            if node is None:
                return None
            self._directories[path] = node
        return node if self._open(node) else None

    def _open(self, node: pytest.Directory) -> bool:
        """Load a directory's conftest; a broken one is told for each file below it."""
        report = self._opened.get(node.path)
        if report is None:
            if isinstance(node, USUAL):
                node.__dict__["collect"] = list  # nothing: its children are made when needed
            report = self._opened[node.path] = collect_one_node(node)
            node.ihook.pytest_collectreport(report=report)
        elif not report.passed:
            node.ihook.pytest_collectreport(report=report)
        return report.passed

    def deepest(self, path: Path) -> pytest.Collector | None:
        """Return the lowest directory above ``path`` whose node exists: who may be set up."""
        known = self._files.get(path)
        if known:
            return known[0].parent
        return next((self._directories[p] for p in path.parents if p in self._directories), None)


def _items(node: pytest.Item | pytest.Collector) -> Iterator[pytest.Item]:
    """Go through a node's tests, as the session does it."""
    if isinstance(node, pytest.Item):
        node.ihook.pytest_itemcollected(item=node)
        yield node
        return
    report = collect_one_node(node)
    if report.passed:
        for one in report.result or ():
            yield from _items(one)
    node.ihook.pytest_collectreport(report=report)


def _flat(made: object) -> Iterator[object]:
    """Go through what ``pytest_collect_file`` returned: collectors, or lists of them."""
    if isinstance(made, list | tuple):
        for one in made:
            yield from _flat(one)
    else:
        yield made


def _without_dots(path: Path) -> tuple[str, ...]:
    """Resolve ``..`` in a path by its letters: links stay, as they do in nodeids."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return tuple(parts)
