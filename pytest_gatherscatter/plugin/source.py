"""What listeners are told of a job beside its files: where to fetch it, who may, what it calls."""

import getpass
import socket
from pathlib import Path

import pytest

from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.host.process import machine_id
from pytest_gatherscatter.testfiles.source import check_excludes
from pytest_gatherscatter.wire.names import check_name
from pytest_gatherscatter.wire.testfiles import JobSource, JobTerms

CALLBACKS = (
    "after_sync",
    "before_creating_workers",
    "after_creating_workers",
)
"""Callbacks of a listener's host: it starts a process for them only if the job has any."""


def job_source(config: pytest.Config, terms: JobTerms) -> JobSource | None:
    """Say where the files are: where ``--gs-source`` says, else below pytest's root directory.

    Without that option listeners on this very host read the directory itself, those of others by
    ssh as this user. ``None`` if ``--gs-source`` is ``none``, or pytest was called outside of its
    root directory: then arguments mean nothing in another place.

    Raises:
        pytest.UsageError: an option, or ``gs_exclude``, says something that is not allowed.
    """
    given = config.getoption("gs_source")
    if given == "none" or terms.place.startswith(".."):
        return None
    try:
        labels = tuple(
            check_name("label", word.strip())
            for text in config.getoption("gs_label") or ()
            for word in text.split(",")
        )
        excludes = check_excludes(config.getini("gs_exclude"))
    except GatherScatterError as error:
        raise pytest.UsageError(str(error)) from None
    root = Path(terms.root)
    return JobSource(
        place=given or f"{getpass.getuser()}@{socket.gethostname()}:{root}",
        host="" if given else machine_id(),
        path="" if given else str(root),
        excludes=excludes,
        labels=labels,
        callbacks=tuple(name for name in CALLBACKS if _has(config, f"pytest_gs_{name}")),
        terms=terms,
    )


def _has(config: pytest.Config, hook: str) -> bool:
    return bool(getattr(config.hook, hook).get_hookimpls())
