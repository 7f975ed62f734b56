"""What the members of a section handed in, as the test reads it. Pure values.

What nobody measured raises a line that says what there is instead: ``None`` would compare, or
fail in a way that says nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_gatherscatter.errors import NotMeasured
from pytest_gatherscatter.wire.messages import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedFile:
    """A file that a monitor handed in.

    ``path`` is the copy on this host, or ``None`` if there is none: then ``host`` and
    ``remote_path`` say where the file stayed (it was larger than the limit), or ``problem``
    says what went wrong on the way.
    """

    name: str
    size: int
    sha256: str
    path: Path | None = None
    host: str = ""
    remote_path: str = ""
    problem: str = ""


class Findings(Mapping[str, Any]):
    """Values by the finding's name; of two findings of one name the later counts."""

    def __init__(self, agent: str, findings: tuple[Finding, ...]) -> None:
        self._agent = agent
        self._values = {finding.name: finding.value for finding in findings}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a finding is any JSON scalar
        """Return the value.

        Raises:
            NotMeasured: naming what was found instead (also a ``KeyError``).
        """
        __tracebackhide__ = True
        try:
            return self._values[name]
        except KeyError:
            there = ", ".join(self._values) or "nothing"
            raise NotMeasured(f"{self._agent} found no {name!r}; it found {there}") from None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Count the names."""
        return len(self._values)

    def __repr__(self) -> str:
        """Show them like a dict."""
        return repr(self._values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one member handed in.

    ``started`` and ``stopped`` are seconds after the section's ``t0``, each known to
    ``bound`` seconds; ``cause`` is empty if all is well, else ``missing``, ``died``,
    ``broken`` or ``overdue``, and ``text`` says more.
    """

    agent: str
    required: bool = False
    reported: bool = False
    started: float | None = None
    stopped: float | None = None
    bound: float | None = None
    finding_list: tuple[Finding, ...] = ()
    artifacts: tuple[CapturedFile, ...] = ()
    cause: str = ""
    text: str = ""

    @property
    def findings(self) -> Findings:
        """Values by name: ``report.findings["peak_v"] < 5.5``."""
        return Findings(self.agent, self.finding_list)

    @property
    def lateness_ms(self) -> float:
        """How long after ``t0`` it started, in milliseconds.

        Raises:
            NotMeasured: it never told.
        """
        __tracebackhide__ = True
        if self.started is None:
            raise NotMeasured(f"{self.agent} did not tell when it started")
        return self.started * 1000

    @property
    def problem(self) -> str:
        """What went wrong with this member, in a line; empty if nothing."""
        return f"{self.agent}: {self.text or self.cause}" if self.cause else ""


class Reports(Mapping[str, Report]):
    """Reports by agent, of a closed section."""

    def __init__(self, reports: tuple[Report, ...], *, missing: str) -> None:
        self._reports = {report.agent: report for report in reports}
        self._missing = missing

    def __getitem__(self, agent: str) -> Report:
        """Return the agent's report.

        Raises:
            NotMeasured: nothing came from it (also a ``KeyError``).
        """
        __tracebackhide__ = True
        try:
            return self._reports[agent]
        except KeyError:
            raise NotMeasured(f"no report of {agent!r}: {self._missing}") from None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the agents' names."""
        return iter(self._reports)

    def __len__(self) -> int:
        """Count the reports."""
        return len(self._reports)

    def __repr__(self) -> str:
        """Show them like a dict."""
        return repr(self._reports)
