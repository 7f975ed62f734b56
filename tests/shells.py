"""Real processes of the command line: a person's shell, and what runs in its background."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from forked import Forked, fork

PATIENCE = 30.0  # seconds; what is waited for takes one or two, on a machine that is shared

OURS = (sys.executable, "-m", "pytest_gatherscatter")
"""How ``gatherscatter`` is started, whatever is on the PATH."""

FORKED = ("forked",)
"""How it is started where only what it does counts: its imports are done (``forked.py``)."""

GATHERS = "every section needs: "
"""What a gatherer says once the lab is its own: who asks from now on is answered."""


class Shell:
    """One person's environment, in which commands run to their end or in the background."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.started: list[Actor] = []
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GATHERSCATTER_")},
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_STATE_HOME": str(folder / "state"),
            **environ,
        }
        (folder / "run").mkdir(mode=0o700, exist_ok=True)

    def run(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run ``gatherscatter`` with ``words`` to its end."""
        return subprocess.run(
            [*OURS, *words],
            env=self.environ | environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def start(self, *words: str, how: Sequence[str] = OURS, **environ: str) -> "Actor":
        """Start ``gatherscatter`` (or what ``how`` says) with ``words`` in the background."""
        actor = Actor(list(words), self.environ | environ, self.folder, how)
        self.started.append(actor)
        return actor

    def gather(self, *agents: str) -> "Actor":
        """Start the gatherer of this shell's lab, and wait until it answers."""
        gatherer = self.start("gatherer", *agents)
        gatherer.says(GATHERS)
        return gatherer

    def end(self) -> None:
        """End everybody who is still there, the last one first."""
        for actor in reversed(self.started):
            actor.end()


class Actor:
    """A process in the background, and all that it said so far."""

    def __init__(
        self,
        words: list[str],
        environ: dict[str, str],
        folder: Path,
        how: Sequence[str] = OURS,
    ) -> None:
        self.words = words
        self.lines: list[str] = []
        self._said = threading.Condition()
        self.process: subprocess.Popen[str] | Forked
        if how == FORKED:
            self.process = fork(words, environ, folder)
        else:
            self.process = subprocess.Popen(
                [*how, *words],
                env=environ,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._said:
                    self.lines.append(line.rstrip("\n"))
                    self._said.notify_all()

    def says(self, text: str, times: int = 1) -> str:
        """Wait until a line with ``text`` was said that many times; the last of them."""

        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        with self._said:
            there = self._said.wait_for(lambda: len(found()) >= times, PATIENCE)
        assert there, f"{self.words} never said {text!r} {times} times, but: {self.text}"
        return found()[times - 1]

    @property
    def text(self) -> str:
        """All that it said."""
        return "\n".join(self.lines)

    def ends(self) -> int:
        """Wait for its end and return its exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """End it in order, else by force."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.ends()


def until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)
