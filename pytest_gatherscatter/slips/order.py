"""What the machine of a processor and the process around it say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pytest_gatherscatter.slips.finished import step_title
from pytest_gatherscatter.wire.slips import Slip, Status, Step, Task


class Templates(Protocol):
    """What a processor may run."""

    def line(self, step: Step, params: Mapping[str, str], *, compensating: bool = False) -> str:
        """Return the command line of a step, for ``sh -c``, its parameters quoted.

        ``params`` are the slip's; the step's own go before them.

        Raises:
            ValueError: the command or a parameter is not known, or one is missing.
        """


@dataclass(frozen=True, slots=True)
class BeginCommand:
    """Run ``line`` in a shell (a ``Run``); it ends with :class:`CommandOver` as its result.

    ``timeout`` in seconds. While it runs it is known by the id of the effect.
    """

    slip: Slip
    task: Task
    line: str
    timeout: float

    @property
    def title(self) -> str:
        """Name it for people: ``burn-in (229d025caa6654d8) step 2, flash write, attempt 1``."""
        step = step_title(self.slip, self.task.number, compensating=self.task.compensating)
        return f"{self.slip.name} ({self.slip.id}) {step}, attempt {self.task.attempt}"


@dataclass(frozen=True, slots=True)
class EndCommand:
    """End a command and all that it started (a ``Run``); its end comes as of any other.

    ``run`` is the id of the effect that began it; ``status`` is what its attempt is to say.
    """

    run: int
    status: Status
    text: str


@dataclass(frozen=True, slots=True)
class CommandMoved:
    """A command printed how far it is, a share from 0 to 1 (``Told``)."""

    run: int
    share: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class CommandOver:
    """How a command ended (the result of an ``Exited``).

    ``status`` is ``done``, ``failed``, ``timed-out``, or what :class:`EndCommand` said. Times are
    Unix times, ``text`` says why it could not be started or what was wrong with what it printed.
    ``added`` are steps that it wants to have run; their numbers count for nothing.
    """

    status: Status
    exit_status: int | None = None
    signal: str = ""
    started: float = 0.0
    ended: float = 0.0
    stdout_tail: str = ""
    stderr_tail: str = ""
    log: str = ""
    text: str = ""
    added: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the operator (a ``Run``)."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """All is over and handed on: the process may end (a ``Run``)."""


@dataclass(frozen=True, slots=True)
class StoodStill:
    """This process stood still, and may find what was given to others meanwhile (``Told``)."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no more; with ``now``, end what runs too (``Told``)."""

    now: bool = False
