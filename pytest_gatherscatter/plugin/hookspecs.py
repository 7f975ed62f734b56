"""The hooks that this plugin calls."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gatherscatter.sections.section import Section


@pytest.hookspec
def pytest_gatherscatter_section_closed(item: pytest.Item, section: "Section") -> None:
    """Look at a section that has closed, its reports and artifacts in hand.

    Called in the test's own process (an xdist worker, if there are any), for coordinated
    sections and for those that ran alone, before findings fail the test. Not called for a
    section that was never entered.

    Args:
        item: the test that entered it.
        section: what became of it; everything on it is known.
    """


# ── a job's callbacks, in the order in which they are called ───────────────────────────


@pytest.hookspec
def pytest_gs_before_originate(config: pytest.Config, files: Sequence[str]) -> None:
    """Make ready what the job needs, before anybody hears of it.

    Called where the job was started (``--gs-dispatch``, ``--gs-spawn``). Workers of ``--gs-spawn``
    have loaded the conftests by then, and nothing else.

    Args:
        config: pytest's.
        files: the test files that were found, below the root directory.
    """


@pytest.hookspec(firstresult=True)
def pytest_gs_sync(source: str, workspace: Path, excludes: Sequence[str]) -> bool | None:
    """Fetch the files of a job by other means than rsync.

    Called on a listener's host, in a process of its own, for plugins that its settings name
    (``sync_plugins``): the files are not there yet, and with them no conftest.

    Args:
        source: where the job says that its files are; the listener allows it.
        workspace: the directory to fill, which may hold files of an earlier job.
        excludes: patterns of what is to be left out.

    Returns:
        True if it was done; ``None`` leaves it to others, at last to rsync.
    """


@pytest.hookspec
def pytest_gs_after_sync(config: pytest.Config, workspace: Path) -> None:
    """Prepare a workspace whose files have just come, on a listener's host.

    This and the other callbacks of a listener's host run in one process, so that what one keeps in
    a module is there for the next. ``config`` has been read there, and not configured.
    """


@pytest.hookspec
def pytest_gs_before_creating_workers(config: pytest.Config, workspace: Path, workers: int) -> None:
    """Make ready what all workers of a listener's host share, before they are started."""


@pytest.hookspec
def pytest_gs_before_start(config: pytest.Config, worker: str) -> None:
    """Make ready what a worker needs, in its process, before its first file."""


@pytest.hookspec
def pytest_gs_after_complete(config: pytest.Config, worker: str) -> None:
    """Clean up in a worker's process, after its last test and all fixtures.

    Not called in a worker that was killed.
    """


@pytest.hookspec
def pytest_gs_after_creating_workers(config: pytest.Config, workspace: Path) -> None:
    """Clean up on a listener's host, when all of its workers have ended."""


@pytest.hookspec
def pytest_gs_after_job_finishes(config: pytest.Config, why: str) -> None:
    """Clean up where the job was started, when all is reported, or it was stopped.

    Args:
        config: pytest's.
        why: why not everything was run; empty if all was.
    """
