"""The workers of ``--gs-spawn`` from the originator's side: told what to be as early as it can be.

When the session starts, plugins are asked what each worker is to have, as pytest-xdist does it,
and the workers get ready while the files are being found. A project with a callback that comes
before anybody hears of a job has it called first: its workers are told when the job says so.
"""

import contextlib
import os
import socket

import pytest

from pytest_gatherscatter.broker import provider
from pytest_gatherscatter.errors import BrokerError, GatherScatterError
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.plugin.forkserver import Forkserver, Order
from pytest_gatherscatter.plugin.node import Node
from pytest_gatherscatter.testfiles.child import StartChild
from pytest_gatherscatter.testfiles.news import Outfit, WorkerCame, WorkerGone
from pytest_gatherscatter.testfiles.service.pipe import Start, start_of
from pytest_gatherscatter.wire.testfiles import JobTerms


class Spawned:
    """What a run has of its own: workers, and a broker if there is no other.

    Args:
        config: pytest's.
        terms: what the job will say to workers.
        forkserver: that has them.
    """

    def __init__(self, config: pytest.Config, terms: JobTerms, forkserver: Forkserver) -> None:
        self._config = config
        self._terms = terms
        self._forkserver = forkserver
        self._ordered = False
        self._ready: dict[str, tuple[Node, Outfit]] = {}
        self._broker_is_ours = False

    def tell(self) -> None:
        """Tell the workers, once the session has started; unless somebody is to be asked before."""
        hook = self._config.hook.pytest_gs_before_originate
        if not hook.get_hookimpls():
            with contextlib.suppress(GatherScatterError):  # it comes again, and is told, with `url`
                self._order(tuple(self._starts()))

    def _starts(self) -> list[Start]:
        """Say what workers will be told: the ledger names them in the order in which they come."""
        starts = []
        for number in range(self._terms.workers):
            came = WorkerCame(f"gw{number}", socket.gethostname())
            node = Node(self._config, came, self._terms)
            outfit = node.outfit()
            self._ready[came.worker] = node, outfit
            starts.append(start_of(StartChild(came.worker, self._terms, outfit.input)))
        return starts

    def _order(self, starts: tuple[Start, ...]) -> None:
        """Have workers, and a broker if there is none."""
        settings = options.settings(self._config)
        found = provider.resolve(settings.broker, env=os.environ)
        self._broker_is_ours = found.url is None
        self._forkserver.order(Order(settings.lab, found.url or "", starts))
        self._ordered = True

    def url(self) -> str:
        """Return where the broker is, with its password.

        Raises:
            BrokerUnreachable: there is none.
        """
        if not self._ordered:
            self._order(())
        return self._forkserver.url()

    def take(self, came: WorkerCame) -> tuple[Node, Outfit] | None:
        """Return what a worker was told in advance, if it is the one that was expected."""
        ready = self._ready.get(came.worker)
        if ready is None or ready[0].host != came.host:
            return None
        return self._ready.pop(came.worker)

    def look(self) -> None:
        """See whether the broker can still be there. A supervisor's end is the ledger's to see.

        Raises:
            BrokerError: it cannot.
        """
        if self._broker_is_ours and self._forkserver.ended:
            raise BrokerError("the process that held workers and broker ended before the job")

    def kill(self) -> None:
        """End all of them now, whatever they do."""
        self._forkserver.kill()

    def end(self) -> None:
        """Wait until all of them are over; whom no job came to is taken leave of, too."""
        self._forkserver.end()
        for node, _ in self._ready.values():
            node.down(WorkerGone(node.id, died="no job came to it"))
        self._ready.clear()
