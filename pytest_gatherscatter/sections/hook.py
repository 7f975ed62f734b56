"""What the author of a monitor writes: a class with hooks, and what the hooks may answer.

::

    class Scope(Monitor):
        def prepare(self, section):
            if not self.dmm.settled():
                return Hold(5, "settling")
            self.dmm.arm()

        def started(self, section):
            self.dmm.trigger()

        def stopped(self, section):
            findings = Findings()
            findings.add("peak_v", self.dmm.peak(), unit="V", high=5.5)
            findings.attach("trace.csv", self.dmm.trace())
            return findings

All hooks of a monitor run one after the other in one thread, never two at a time, so that an
instrument driver needs no locks. Each may take as long as the monitor's hook timeout; a hook
that raises, or takes longer, makes the monitor *broken*, and the section is told so.

Pure: no connection, no clock. ``pytest_gatherscatter`` re-exports the names.
"""

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from pytest_gatherscatter.wire.messages import Finding

LONGEST_HOLD = 31_536_000.0
"""Seconds in a hold: a year, what the wire carries; the gatherer's ``hold_limit`` is nearer."""

TEXT = 4096
"""Characters in a reason or a text: what the wire carries."""

LABEL = 512
"""Characters in a finding's name, unit or an artifact's name: what the wire carries."""

MOST_FINDINGS = 10_000
"""Findings in one report: what the wire carries. More of them are a capture: attach a file."""

MOST_ATTACHMENTS = 1_000
"""Attachments in one report: what the wire carries."""

INTEGER = 2**63
"""Past this an integer becomes a float: no reader's JSON is sure to carry it."""

Value: TypeAlias = bool | int | float | str | None


def clip(text: str, limit: int = TEXT) -> str:
    """Return ``text`` as the wire can carry it: at most ``limit`` characters, and real ones.

    Lone surrogates (undecodable file names in an exception's text) become question marks.
    """
    return text[:limit].encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Hold:
    """Answer of ``prepare``: not ready, ask again in ``seconds``; ``reason`` is shown to all."""

    seconds: float
    reason: str = ""

    def __post_init__(self) -> None:
        """Check what would otherwise be refused far from here, by the gatherer."""
        if not 0 <= self.seconds <= LONGEST_HOLD:  # also false for NaN
            raise ValueError(f"a hold lasts 0 to {LONGEST_HOLD:.0f} seconds, not {self.seconds}")
        object.__setattr__(self, "reason", clip(str(self.reason)))


@dataclass(frozen=True, slots=True)
class Veto:
    """Answer of ``prepare``: this section must not be; ``reason`` fails the test."""

    reason: str = ""

    def __post_init__(self) -> None:
        """Cut the reason to what the wire carries."""
        object.__setattr__(self, "reason", clip(str(self.reason)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionInfo:
    """A section as its monitors see it.

    ``max_duration`` is in seconds. ``t0`` and ``deadline`` are on this process's
    ``time.monotonic()`` and known from ``started`` on, ``None`` before; ``deadline`` is when
    the monitor makes safe by itself.
    """

    id: str
    name: str
    test: str
    bench: str
    owner: str
    token: int
    max_duration: float
    required: bool = False
    t0: float | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A capture on its way into the test's artifacts: its bytes, or the file that has them."""

    name: str
    data: bytes | Path


@dataclass(slots=True)
class Findings:
    """Answer of ``stopped``: what was measured, and what was captured."""

    items: list[Finding] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)

    def add(  # noqa: PLR0913 - a finding has these facts, all but two of them optional
        self,
        name: str,
        value: Value,
        unit: str = "",
        *,
        low: float | None = None,
        high: float | None = None,
        passed: bool | None = None,
        text: str = "",
    ) -> Finding:
        """Add one finding and return it.

        With ``low`` or ``high`` (both inclusive) the verdict is computed and ``passed`` can
        only make it worse; a value that is no number, or is NaN, is not within any bounds.
        Without bounds ``passed`` is taken as given: ``False`` fails the test.

        Raises:
            ValueError: ``name`` is empty or longer than 512 characters, or there are more
                than 10,000 findings.
            TypeError: ``value`` is no number, text, truth value or None.
        """
        if not 0 < len(name) <= LABEL:
            raise ValueError(f"a finding's name has 1 to {LABEL} characters, not {len(name)}")
        if len(self.items) >= MOST_FINDINGS:
            raise ValueError(f"more than {MOST_FINDINGS} findings; attach a file instead")
        value, note = _plain(value)
        if low is not None or high is not None:
            problem = note or _outside(value, low, high, unit)
            passed = not problem and passed is not False
            text = text or problem
        finding = Finding(
            name=clip(name),
            value=value,
            unit=clip(unit, LABEL),
            passed=passed,
            text=clip(text or note),
        )
        self.items.append(finding)
        return finding

    def attach(self, name: str, data: bytes | Path) -> None:
        """Attach a capture under ``name``: bytes, or the path of a file that is read later.

        Raises:
            ValueError: ``name`` is empty or too long, or there are more than 1,000.
            TypeError: ``data`` is neither bytes nor a path.
        """
        if not 0 < len(name) <= LABEL:
            raise ValueError(f"an attachment's name has 1 to {LABEL} characters, not {len(name)}")
        if len(self.attachments) >= MOST_ATTACHMENTS:
            raise ValueError(f"more than {MOST_ATTACHMENTS} attachments; pack them into one")
        if isinstance(data, (bytearray, memoryview)):
            data = bytes(data)
        if not isinstance(data, (bytes, Path)):
            raise TypeError(f"an attachment is bytes or a Path, not {type(data).__name__}")
        self.attachments.append(Attachment(name, data))

    def __iter__(self) -> Iterator[Finding]:
        """Go through the findings in their order."""
        return iter(self.items)

    def __len__(self) -> int:
        """How many findings there are."""
        return len(self.items)


def _plain(value: object) -> tuple[Value, str]:
    """Return a value that JSON can carry, and a note if it had to be replaced.

    JSON has neither NaN nor infinity, and instruments return both for "no signal". Numbers of
    other libraries (numpy's float64 and int64) become plain ones.
    """
    if value is None or isinstance(value, (bool, str)):
        return (clip(value) if isinstance(value, str) else value), ""
    if hasattr(value, "__index__"):
        whole = operator.index(value)
        return (whole if abs(whole) < INTEGER else float(whole)), ""
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever offers __float__
    except (TypeError, ValueError):
        raise TypeError(f"a finding's value is a plain one, not {type(value).__name__}") from None
    if not math.isfinite(number):
        return None, f"the value is {number}"
    return number, ""


def _outside(value: Value, low: float | None, high: float | None, unit: str) -> str:
    """Say how ``value`` is out of bounds; empty if it is within."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{value!r} is no number"
    unit = f" {unit}" if unit else ""
    if low is not None and not value >= low:
        return f"{value}{unit} is below {low}{unit}"
    if high is not None and not value <= high:
        return f"{value}{unit} is above {high}{unit}"
    return ""


class Monitor:
    """The base of monitors: every hook does nothing, override what you need.

    All hooks are called in one thread, one at a time. ``options`` of the settings file are
    the keyword arguments of the class.
    """

    def prepare(self, section: SectionInfo) -> Hold | Veto | None:
        """Arm for ``section``; return None when ready. After a hold ran out it is called again."""

    def started(self, section: SectionInfo) -> None:
        """The section starts now: called at ``section.t0``, never before."""

    def stopped(self, section: SectionInfo) -> Findings | None:
        """The section is over: disarm, and say what was measured."""

    def aborted(self, section: SectionInfo, cause: str) -> None:
        """Disarm: what was prepared does not happen, or ended badly; ``cause`` is one word."""

    def overdue(self, section: SectionInfo) -> None:
        """The section missed its deadline: make safe. ``stopped`` or ``aborted`` still comes."""
