"""A worker as the originator's plugins know it: what pytest-xdist hands to its own hooks.

Plugins that were written for xdist put into ``workerinput`` what their other half finds in
``config.workerinput`` of the worker, and take from ``workeroutput`` what that hands in: parts of a
coverage report, the name of a database. They are asked with xdist installed or without.
"""

import contextlib
import platform
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import Raw

from pytest_gatherscatter.plugin.reports import INPUT, pack_output, unpack_output
from pytest_gatherscatter.testfiles.news import Outfit, WorkerCame, WorkerGone
from pytest_gatherscatter.wire.testfiles import JobTerms


class Gateway:
    """What stands for xdist's connection: it says where a worker is, as far as is known."""

    def __init__(self, worker: str) -> None:
        self.id = worker
        self.spec = SimpleNamespace(popen=True, id=worker, chdir=None, python=None)

    def _rinfo(self, *_: object) -> SimpleNamespace:
        """Return facts about the interpreter; workers run the originator's kind of it."""
        return SimpleNamespace(
            platform=sys.platform,
            version_info=tuple(sys.version_info),
            version=sys.version,
            executable=sys.executable,
        )


class Node:
    """A worker, as xdist's hooks have it.

    The line above a traceback is kept by pytest under the name that is set here; so none is made
    of facts about an interpreter that nobody told.
    """

    def __init__(self, config: pytest.Config, came: WorkerCame, terms: JobTerms) -> None:
        self.config = config
        self.gateway = Gateway(came.worker)
        self.id = came.worker
        self.host = came.host
        self.nodemanager = SimpleNamespace(roots=[], testrunuid=terms.run, specs=[])
        self.workerinput: dict[str, Any] = {
            "workerid": came.worker,
            "workercount": terms.workers,
            "testrunuid": terms.run,
            "mainargv": ["pytest", *terms.arguments],
        }
        self.workerinfo = {
            "id": came.worker,
            "version_info": tuple(sys.version_info),
            "sysplatform": platform.system().lower(),
            "executable": sys.executable,
        }
        self._workerinfocache = f"[{came.worker}] {came.host}"

    def outfit(self) -> Outfit:
        """Ask all plugins what the worker is to have."""
        self._ask("pytest_configure_node", node=self)
        return Outfit(self.id, Raw(bytes(pack_output(self.workerinput, INPUT))))

    def down(self, gone: WorkerGone) -> None:
        """Tell all plugins that the worker is no more, with what it handed in."""
        if not gone.died:
            self.workeroutput = unpack_output(gone.output)
        self._ask("pytest_testnodedown", node=self, error=gone.died or None)

    def _ask(self, name: str, **arguments: object) -> None:
        """Call a hook that may be nobody's: without xdist there is no specification of it."""
        hook = getattr(self.config.hook, name, None)
        if hook is not None:
            with contextlib.suppress(NotImplementedError):
                hook(**arguments)
