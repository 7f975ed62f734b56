"""One job at one listener, as a process: fetch the files, call back, hold workers, clean up.

``python -m pytest_gatherscatter.testfiles.service.duty``, with the broker's URL in
``GATHERSCATTER_BROKER``; its listener speaks to it as ``order`` says. When the listener is gone,
its input ends, and with it this process and all that it started.
"""

import contextlib
import logging
import os
import select
import signal
import sys
import time
from pathlib import Path

from pytest_gatherscatter.errors import GatherScatterError, SyncFailed
from pytest_gatherscatter.testfiles.order import (
    RETIRE,
    DutyOrder,
    DutyOver,
    DutyStep,
    DutyWord,
    line,
    order,
)
from pytest_gatherscatter.testfiles.service.callback import (
    HERE,
    CallbackCall,
    Callbacks,
    CallbackStart,
)
from pytest_gatherscatter.testfiles.service.pipe import line as pipe_line
from pytest_gatherscatter.testfiles.service.pipe import start_of
from pytest_gatherscatter.testfiles.service.supervisor import SupervisorService
from pytest_gatherscatter.testfiles.service.sync import allowed_source, fetch
from pytest_gatherscatter.testfiles.service.workspace import Workspace, prune, take
from pytest_gatherscatter.testfiles.workspace import moved, place_in, workspace_name
from pytest_gatherscatter.wire.testfiles import JobSource

log = logging.getLogger("gatherscatter.duty")

WAIT = 30.0
"""Seconds in which the originator has to answer: it was there when the files began to come."""


class Bidding:
    """What the listener wants: looked at between two waits, never waited for but at the start."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._heard = b""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self.retires = False
        """The tests that run are to be the last ones."""
        self.gone = False
        """End now."""

    def first(self) -> DutyOrder:
        """Wait for the order.

        Raises:
            MessageUnreadable: it is none, or the listener is gone before it has said it.
        """
        while b"\n" not in self._heard and not self.gone:
            self._read(None)
        said, _, self._heard = self._heard.partition(b"\n")
        return order(said)

    def ends(self) -> bool:
        """Say whether to end now."""
        self._read(0)
        return self.gone

    def stops(self) -> bool:
        """Say whether to end, where nothing runs that is worth finishing."""
        return self.ends() or self.retires

    def _read(self, wait: int | None) -> None:
        while not self.gone and self._poll.poll(wait):
            data = os.read(self._descriptor, 65_536)
            self.gone = not data
            self._heard += data
            wait = 0
        self.retires |= self._heard.endswith(RETIRE)


class DutyRun:
    """Does one job from its files to its cleaning up.

    Args:
        order: what to do.
        bidding: what the listener wants meanwhile.
        url: the broker's.
    """

    def __init__(self, order: DutyOrder, bidding: Bidding, url: str) -> None:
        self.order = order
        self.bidding = bidding
        self._url = url
        source = order.offer.source
        assert source is not None  # noqa: S101 - a listener takes no other jobs
        self._source: JobSource = source

    def run(self) -> str:
        """Do it; returns why not all was done, empty if it was.

        Raises:
            GatherScatterError: it cannot take part in the job; the text is one line.
        """
        order, source = self.order, self._source
        text = allowed_source(order, source)
        directory = Path(order.workspaces)
        with contextlib.ExitStack() as stack:
            workspace = take(directory, workspace_name(text), fresh=order.fresh)
            stack.callback(prune, directory, order.keep)
            stack.callback(workspace.leave)
            began = time.monotonic()
            tell(DutyStep(text=f"fetches {text} to {workspace.path}"))
            if not self._fetched_by_plugin(text, workspace):
                limits, stop = order.limits, self.bidding.stops
                fetch(text, workspace, excludes=source.excludes, limits=limits, stop=stop)
            tell(DutyStep(text=f"has the files after {time.monotonic() - began:.1f} s"))
            callbacks = self._callbacks(workspace)
            if callbacks is not None:
                stack.callback(callbacks.end)
                self._call(callbacks, "after_sync", workspace)
                self._call(callbacks, "before_creating_workers", workspace)
            left = self._work(workspace, prepared=time.monotonic() - began)
            if callbacks is not None and not self.bidding.ends():
                self._call(callbacks, "after_creating_workers", workspace)
            return left

    def _fetched_by_plugin(self, text: str, workspace: Workspace) -> bool:
        """Let a plugin of this host fetch the files; False if none wants to."""
        if not self.order.sync_plugins:
            return False
        start = CallbackStart(root=str(workspace.path), plugins=self.order.sync_plugins)
        held = (workspace.lock.fileno(),)
        child = Callbacks(start, held=held, stop=self.bidding.stops)
        try:
            call = CallbackCall(
                hook="sync",
                workspace=str(workspace.path),
                source=text,
                excludes=self._source.excludes,
            )
            return child.call(call)
        finally:
            child.end()

    def _callbacks(self, workspace: Workspace) -> Callbacks | None:
        """Start who calls back, if the job has any callback that is called here."""
        if HERE.isdisjoint(self._source.callbacks):
            return None
        terms = self._source.terms
        start = CallbackStart(
            root=str(workspace.path),
            place=place_in(terms.place),
            arguments=moved(terms.arguments, terms.root, str(workspace.path)),
        )
        return Callbacks(start, held=(workspace.lock.fileno(),), stop=self.bidding.stops)

    def _call(self, callbacks: Callbacks, hook: str, workspace: Workspace) -> None:
        if hook in self._source.callbacks:
            tell(DutyStep(text=f"calls pytest_gs_{hook}"))
            call = CallbackCall(hook=hook, workspace=str(workspace.path), workers=self.order.slots)
            callbacks.call(call)

    def _work(self, workspace: Workspace, *, prepared: float) -> str:
        """Hold workers until the job is over."""
        if self.bidding.stops():
            return "it was called off"
        order, root = self.order, str(workspace.path)
        workers = "worker" if order.slots == 1 else "workers"
        tell(DutyStep(text=f"joins with {order.slots} {workers}", working=True))
        service = SupervisorService(
            order.lab,
            self._url,
            slots=order.slots,
            order=lambda start: pipe_line(start_of(start, root)),
            job=order.offer.job,
            host=order.host,
            prepared=prepared,
        )
        return service.run(self.bidding.ends, wait=WAIT, retire=lambda: self.bidding.retires)


def tell(word: DutyWord) -> None:
    """Tell the listener; one that is gone needs no word."""
    with contextlib.suppress(OSError):
        os.write(sys.__stdout__.fileno() if sys.__stdout__ else 1, line(word))


def over(error: GatherScatterError) -> DutyOver:
    """Say what went wrong, with what was printed."""
    if isinstance(error, SyncFailed):
        return DutyOver(text=str(error), failed=True, stdout=error.stdout, stderr=error.stderr)
    return DutyOver(text=str(error), failed=True)


def main() -> int:
    """Do one job; returns an exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever types Ctrl-C means the listener
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    bidding = Bidding(sys.stdin.fileno())
    try:
        run = DutyRun(bidding.first(), bidding, os.environ["GATHERSCATTER_BROKER"])
        tell(DutyOver(text=run.run()))
    except GatherScatterError as error:
        tell(over(error))
        return error.exit_code
    except OSError as error:
        tell(DutyOver(text=f"{error}"[:4000], failed=True))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
