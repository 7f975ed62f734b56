"""The stage on which faults are played: a lab of real processes, each held where it shall be.

Nothing here sleeps and hopes. Monitors' hooks and the body wait at *gates*, files that the test
takes away; what they do stands in a *story*, a file that grows; messages stop in a proxy. So a
fault strikes while its party is known to be where the row of the table says.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from faults.brokers import Mortal
from gateproxy import GateProxy, proxy_to
from shells import FORKED, Actor, Shell
from userrun import OTHERS, without

from pytest_gatherscatter.host.directory import private
from pytest_gatherscatter.sections.service.benchlock import BenchLock, acquire

PATIENCE = 30.0  # seconds; what is waited for takes one or two, on a machine that is shared

HOOKS = '''
"""A monitor that tells what it does, and waits at gates."""

import time
from pathlib import Path

from pytest_gatherscatter import Findings, Monitor

PLACE = Path(__file__).parent


class Scope(Monitor):
    def prepare(self, section):
        self.tell("prepare", section)

    def started(self, section):
        self.tell("started", section, f"{time.monotonic() - section.t0:.6f}")

    def stopped(self, section):
        self.tell("stopped", section)
        findings = Findings()
        findings.add("peak_v", 5.1, unit="V", high=5.5)
        return findings

    def aborted(self, section, cause):
        self.tell("aborted", section, cause)

    def overdue(self, section):
        self.tell("overdue", section)

    def tell(self, hook, section, *more):
        with (PLACE / "story").open("a") as story:
            story.write(" ".join(("scope", hook, section.id, *more, f"@{time.time():.6f}")) + "\\n")
        while (PLACE / f"gate-{hook}").exists():
            time.sleep(0.01)
'''

SETTINGS = """
gather_timeout = "{patience}s"
report_timeout = "{report}s"
queue_timeout = "40s"
max_duration = "{longest}s"

[[monitor]]
name = "scope"
target = "hooks:Scope"
"""

BODY = """
echo body in $$ @$(date +%s.%6N) >> story
while [ -e gate-body ]; do sleep 0.02; done
echo body out $$ >> story
"""

SUITE = '''
import os
import threading
import time
from pathlib import Path

import pytest

PLACE = Path(__file__).parent


def tell(text):
    with (PLACE / "story").open("a") as story:
        story.write(f"{text} {os.getpid()} @{time.time():.6f}\\n")


@pytest.fixture(scope="session", autouse=True)
def driver_that_crashes():
    """Somebody else's thread, which takes the whole process with it when it is told to."""

    def watch():
        (PLACE / "crash").read_text()  # a pipe: blocks until somebody writes into it
        os._exit(7)

    threading.Thread(target=watch, daemon=True).start()


@pytest.mark.critical_section(name="burst")
def test_burst():
    tell("body in")
    while (PLACE / "gate-body").exists():
        time.sleep(0.01)
    tell("body out")
'''


class Stage:
    """A lab with a gatherer, the monitor ``scope``, and workloads named ``burst``.

    Args:
        url: of the broker.
        lab: the lab's name.
        place: an empty folder.
        state: whether the gatherer has a state directory.
        required: whether the section requires the monitor.
        broker: that can be killed, where it is to be; the waits outlast its restart then.
        longest: seconds that a section may last.
        how: the command line is started where a test says nothing else.
        user: ``pytest`` for a test suite as the workload, ``command`` for a command.
    """

    def __init__(  # noqa: PLR0913 - what a row of the table says
        self,
        url: str,
        lab: str,
        place: Path,
        *,
        state: bool = True,
        required: bool = True,
        user: str = "command",
        broker: Mortal | None = None,
        longest: int = 40,
        how: Sequence[str] = FORKED,
    ) -> None:
        self.url, self.lab, self.place = url, lab, place
        self.state, self.required, self.user = state, required, user
        self.broker = broker
        self.how = how
        self.shell = Shell(place, GATHERSCATTER_BROKER=url, GATHERSCATTER_LAB=lab)
        for name in [name for name in self.shell.environ if name.startswith(("PYTEST_", "GS_"))]:
            del self.shell.environ[name]
        self.proxies: dict[str, GateProxy] = {}
        self._urls: dict[str, str] = {}
        self.lock: BenchLock | None = None
        self.gatherer: Actor | None = None
        self.scope: Actor | None = None
        self.burst: Actor | None = None
        self.holder: Actor | None = None
        (place / "story").touch()
        (place / "hooks.py").write_text(HOOKS)
        (place / "gatherscatter.toml").write_text(
            SETTINGS.format(patience=4, report=5, longest=longest)
            if broker is None
            else SETTINGS.format(patience=60, report=60, longest=longest)
        )
        (place / "test_burst.py").write_text(SUITE)

    # ── parties ────────────────────────────────────────────────────────────────────────

    def through(self, party: str) -> GateProxy:
        """Let ``party`` reach the broker through a proxy, from its next start on."""
        self.proxies[party], self._urls[party] = proxy_to(self.url)
        return self.proxies[party]

    def start(self, party: str, *words: str, how: Sequence[str] = (), **environ: str) -> Actor:
        """Start a party; it may not be there yet when this returns."""
        url = self._urls.get(party, self.url)
        return self.shell.start(
            *words, how=how or self.how, **{"GATHERSCATTER_BROKER": url, **environ}
        )

    def start_gatherer(self, how: Sequence[str] = ()) -> Actor:
        """Start the gatherer, on its state directory if it has one."""
        state = ["--state-dir", str(self.place / "state")] if self.state else []
        self.gatherer = self.start("gatherer", "gatherer", *state, how=how)
        return self.gatherer

    def start_scope(self, how: Sequence[str] = ()) -> Actor:
        """Start the monitor."""
        self.scope = self.start("scope", "monitor", "scope", how=how)
        return self.scope

    def up(self) -> None:
        """Start gatherer and monitor, and wait until they know each other."""
        self.start_gatherer()
        self.start_scope().says("joined: a gatherer is here")
        self.gathering.says("scope joined")

    def start_workload(self, how: Sequence[str] = ()) -> Actor:
        """Start the workload whose section is the story's."""
        if self.user == "pytest":
            os.mkfifo(self.place / "crash")
            require = ["--gs-require", "scope"] if self.required else []
            words = [*without(OTHERS), "-p", "no:cacheprovider", "-v", *require, "test_burst.py"]
            self.burst = self.start("burst", *words, how=(sys.executable, "-m", "pytest"))
        else:
            require = ["--require", "scope"] if self.required else []
            words = ["workload", "--name", "burst", *require, "--", "sh", "-c", BODY]
            self.burst = self.start("burst", *words, how=how)
        return self.burst

    def next(self) -> Actor:
        """Run one more workload on the bench to its end."""
        actor = self.start("next", "workload", "--name", "next", "--", "true")
        actor.ends()
        return actor

    @property
    def gathering(self) -> Actor:
        """The gatherer that was started last."""
        assert self.gatherer is not None
        return self.gatherer

    @property
    def visitor(self) -> Actor:
        """The workload that was started."""
        assert self.burst is not None
        return self.burst

    # ── gates and the story ────────────────────────────────────────────────────────────

    def gate(self, what: str, *, closed: bool = True) -> None:
        """Let whoever comes to ``what`` (``body`` or a hook's name) wait there, or go on."""
        path = self.place / f"gate-{what}"
        if closed:
            path.touch()
        else:
            path.unlink(missing_ok=True)

    @property
    def story(self) -> list[list[str]]:
        """What hooks and bodies did, in order: words."""
        return [line.split() for line in (self.place / "story").read_text().splitlines()]

    def count(self, *words: str) -> int:
        """How often a line of the story began with ``words``."""
        return sum(tuple(line[: len(words)]) == words for line in self.story)

    def tells(self, *words: str, times: int = 1) -> None:
        """Wait until the story says it."""
        until(lambda: self.count(*words) >= times, f"{words} in {self.story}")

    def world(self, *words: str) -> float:
        """Return when the first line with these words was told, by the world's clock."""
        line = next(line for line in self.story if tuple(line[: len(words)]) == words)
        return float(line[-1].removeprefix("@"))

    def lock_bench(self) -> None:
        """Keep gathered sections from going on, as a lone section on this host would."""
        folder = private(Path(self.shell.environ["XDG_RUNTIME_DIR"]) / "gatherscatter")
        self.lock = acquire(self.lab, "default", timeout=0, owner="the stage", folder=folder)

    def unlock_bench(self) -> None:
        """Let them go on."""
        if self.lock is not None:
            self.lock.close()

    def hold_bench(self) -> None:
        """Keep sections in the queue, as a person does."""
        self.holder = self.start("holder", "hold", "probe moved")
        self.holder.says("is held")

    def release_bench(self) -> None:
        """Let them in."""
        if self.holder is not None:
            self.holder.signal(signal.SIGINT)
            self.holder.ends()

    # ── the end ────────────────────────────────────────────────────────────────────────

    def end(self) -> None:
        """End everybody, by force: what they do in good order is played and seen elsewhere."""
        for path in self.place.glob("gate-*"):
            path.unlink()
        self.unlock_bench()
        for actor in self.shell.started:
            if actor.process.poll() is None:
                with suppress(ProcessLookupError):  # it ended, and that is being told
                    os.killpg(actor.process.pid, signal.SIGKILL)  # and what it started
        for proxy in self.proxies.values():
            proxy.let_go()
        self.shell.end()
        for proxy in self.proxies.values():
            proxy.close()


def until(true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until something is true, bounded."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, f"it never came: {what}"
        time.sleep(0.01)
