"""A monitor as a process: its machine, a link, the hook thread, and lines that tell its story.

The link comes back by itself for as long as the monitor runs: a monitor that gave up while a
section is on would leave its instrument armed. Only the first connection may be refused.
"""

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import HEARTBEAT, Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.sections import agent_topology, section_topology
from pytest_gatherscatter.broker.url import safe_url
from pytest_gatherscatter.errors import (
    AgentPresent,
    BrokerError,
    BrokerLost,
    BrokerUnreachable,
    NameTaken,
    NoGatherer,
)
from pytest_gatherscatter.host.directory import state_directory
from pytest_gatherscatter.host.process import clock_id
from pytest_gatherscatter.machine import Exited, Run, Told
from pytest_gatherscatter.sections.hook import Monitor
from pytest_gatherscatter.sections.monitor.arming import ArmingState
from pytest_gatherscatter.sections.monitor.hookcall import (
    CallHook,
    CancelHook,
    DeclareQueue,
    DiscardCaptures,
    Drain,
    QueueDeclared,
)
from pytest_gatherscatter.sections.monitor.machine import Identity, MonitorMachine
from pytest_gatherscatter.sections.service.artifact import Folder
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.sections.service.hooks import (
    Hooks,
    MethodHooks,
    hooks_of,
    load_monitor,
    make_monitor,
)
from pytest_gatherscatter.sections.service.hookthread import HookThread
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.messages import AskStatus, LabStatus
from pytest_gatherscatter.wire.names import check_name, section_queue

__all__ = ["MonitorService", "hooks_of", "load_monitor", "make_monitor"]

log = logging.getLogger("gatherscatter.monitor")

TURN = 0.2
"""Seconds between two looks at signals and at a hook's limit."""

CONNECT = 2.0
"""Seconds of one try to connect, so that a signal is heard between two."""

PATIENCE = 4 * HEARTBEAT
"""Seconds for which a silent owner of our name is waited for: a monitor whose host was power
cycled comes back before the broker has missed three heartbeats of its former life."""

SILENT = 3.0
"""Seconds after which an owner of our name that did not speak is told to be silent: one that
lives says so every two seconds, and then the name is simply taken."""

COME_BACK = 5.0
"""Seconds between two tries to come back to a broker that refused us."""


class MonitorService:
    """Runs one monitor in the calling thread, and its hooks in one of their own.

    Args:
        settings: the lab's name, and the ``artifact_limit``.
        url: the broker's URL.
        name: the agent's name, unique in its lab.
        benches: the benches that it serves.
        hooks: a monitor, or what ``hooks_of`` made of a table.
        advisory: its holds never fail a section.
        hook_timeout: seconds that a hook may take.
        drain: seconds that a running section has to end after ``stop``, before it makes safe.

    Raises:
        SettingsInvalid: a name that is not allowed.
    """

    def __init__(  # noqa: PLR0913 - the facts of a monitor
        self,
        settings: Settings,
        url: str,
        *,
        name: str,
        benches: Sequence[str],
        hooks: Monitor | Hooks,
        advisory: bool = False,
        hook_timeout: float = 30.0,
        drain: float = 30.0,
    ) -> None:
        self._settings = settings
        self.lab = settings.lab
        self.name = check_name("agent", name)
        self._url = url
        self._hooks = MethodHooks(hooks) if isinstance(hooks, Monitor) else hooks
        self._drain = drain
        self._hook_timeout = hook_timeout
        self._folder = Folder(state_directory() / "captures" / self.name, settings.artifact_limit)
        self.machine = MonitorMachine(
            Identity(
                name=self.name,
                instance=secrets.token_hex(8),
                benches=tuple(dict.fromkeys(check_name("bench", bench) for bench in benches)),
                host=socket.gethostname(),
                pid=os.getpid(),
                advisory=advisory,
                clock=clock_id(),
            ),
            hook_timeout=hook_timeout,
        )
        self._link = Link(
            url,
            agent_topology(self.lab, self.name, self.machine.identity.benches),
            name=f"gatherscatter monitor {self.name} of {self.lab}",
            reconnect=True,
        )
        pump = Pump(
            self.machine,
            self._link,
            self.lab,
            sender=self.machine.identity.instance,
            journal=_Story(),
            run=self._run,
            user=self._link.user,
        )
        self._driver = Driver(self._link, pump)
        self._thread: HookThread | None = None
        self._refused_at: float | None = None

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop()``, then drain: bounded by ``drain`` and two hook timeouts.

        A broker that is away is waited for. May be called once.

        Raises:
            AgentPresent: another monitor of this name is alive in this lab.
            NameTaken: something owns the name, and neither speaks nor goes away.
            LoginRefused, BrokerRefused: as they say, at the first connection.
        """
        try:
            if not self._open(stop):
                return
            benches = self.machine.identity.benches
            log.info(
                "monitor %s of lab %s for bench%s %s on %s",
                *(self.name, self.lab, "es" * (len(benches) > 1), ", ".join(benches)),
                safe_url(self._url),
            )
            self._thread = HookThread(self._hooks, self._folder, self._driver.post)
            self._serve(stop)
            if self.machine.left and self._link.up:
                log.info("left the lab")
            else:
                log.info("ended; the gatherer could not be told")
        finally:
            self._link.close()
            if self._thread is not None and not self._thread.close(1.0):
                log.warning("a hook is still running; it ends with this process")

    def _open(self, stop: Callable[[], bool]) -> bool:
        """Connect for the first time; False if ``stop`` came before."""
        taken: float | None = None
        told = False
        while not stop():
            try:
                self._link.open(CONNECT, retry=True)
            except BrokerUnreachable as error:
                words = f"{error}; trying again until it is there"
            except NameTaken:
                taken = time.monotonic() if taken is None else taken
                self._ask_for_namesake(time.monotonic() - taken)
                if time.monotonic() - taken > PATIENCE:
                    raise
                words = ""
                if time.monotonic() - taken > SILENT:
                    words = f"a silent connection has the name {self.name}: waiting for it to go"
                time.sleep(1.0)
            else:
                return True
            if words and not told:
                log.warning("%s", words)
                told = True
        return False

    def _ask_for_namesake(self, waited: float) -> None:
        """Raise ``AgentPresent`` if whoever owns our name has spoken since we wait for it."""
        try:
            with Asker(self._settings, self._url) as asker:
                status = asker.ask(AskStatus(), LabStatus, timeout=1.0)
        except (BrokerError, NoGatherer):
            return
        for agent in status.agents:
            if agent.agent == self.name and agent.heard < waited:
                who = f"pid {agent.pid} on {agent.host}"
                raise AgentPresent(self.name, self.lab, who)

    def _serve(self, stop: Callable[[], bool]) -> None:
        draining = False
        give_up = float("inf")
        while not self.machine.left and time.monotonic() < give_up:
            if not draining and stop():
                draining = True
                # Past the drain there is at most one hook to be waited for, then one more.
                give_up = time.monotonic() + self._drain + 2 * self._hook_timeout + 1.0
                self._driver.post(Told(Drain(self._drain, "stopped in good order")))
            try:
                self._driver.turn(TURN)
                self._come_back()
            except BrokerError as error:
                # The broker took us once and refuses now: deadlines are kept all the same.
                if self._refused_at is None:
                    log.warning("%s: %s; trying again", safe_url(self._url), error)
                self._refused_at = time.monotonic()
            if self._thread is not None:
                self._thread.watch()

    def _come_back(self) -> None:
        """Try again to connect to a broker that refused us; a lost link comes back by itself.

        Raises:
            BrokerError: it still refuses.
        """
        if self._refused_at is None:
            return
        if time.monotonic() - self._refused_at < COME_BACK:
            time.sleep(TURN)  # a link that has given up does not wait in its poll
            return
        self._link.open(CONNECT / 2)
        self._refused_at = None

    def _run(self, effect: Run) -> None:
        """Start what the machine asks for; called by the pump."""
        match effect.command:
            case CallHook() as call:
                if self._thread is not None:
                    self._thread.submit(effect.id, call)
            case CancelHook(which):
                if self._thread is not None:
                    self._thread.cancel(which)
            case DeclareQueue(section):
                self._driver.post(Exited(effect.id, self._declare(section)))
            case DiscardCaptures(section):
                self._discard(section)

    def _declare(self, section: str) -> QueueDeclared:
        try:
            self._link.declare(section_topology(self.lab, section))
        except BrokerLost as error:
            return QueueDeclared(str(error), lost=True)
        except BrokerError as error:
            return QueueDeclared(str(error))
        return QueueDeclared()

    def _discard(self, section: str) -> None:
        # It expires by itself; a link that comes back must not declare it again.
        queue = section_queue(self.lab, section)
        self._link.topology = self._link.topology.without_queue(queue)
        self._folder.discard(section)


class _Story:
    """Takes the machine's records as lines of the log: nothing of a monitor is recovered."""

    def append(self, event: Mapping[str, Any]) -> None:
        """Log ``event``."""
        level, text = _line(event)
        log.log(level, "%s", text)


_LOUD = {
    ArmingState.VETOED.value: logging.WARNING,
    ArmingState.BROKEN.value: logging.WARNING,
    ArmingState.OVERDUE.value: logging.WARNING,
    ArmingState.ARMED.value: logging.INFO,
    ArmingState.HOLDING.value: logging.INFO,
    ArmingState.RUNNING.value: logging.INFO,
    ArmingState.REPORTED.value: logging.INFO,
    ArmingState.ABORTED.value: logging.INFO,
}


def _line(event: Mapping[str, Any]) -> tuple[int, str]:
    match event:
        case {"what": "joined"}:
            return logging.INFO, "joined: a gatherer is here"
        case {"what": "no-gatherer"}:
            return logging.INFO, "no gatherer in the lab; waiting for one"
        case {"what": "cut-off", "reason": reason}:
            return logging.WARNING, f"the broker is gone ({reason}); coming back by itself"
        case {"what": "refused", "reason": reason}:
            return logging.WARNING, str(reason)
        case {"what": state, "name": name, "bench": bench, "why": why}:
            level = _LOUD.get(state, logging.DEBUG)
            return level, f"{name} on {bench}: {state}" + (f" ({why})" if why else "")
    return logging.DEBUG, ", ".join(f"{key} {value}" for key, value in event.items())
