"""One test's way through one section, the same for the marker and for the fixture.

``gather``, ``enter``, ``leave`` in this order; ``give_up`` at any moment. After each of them
:attr:`Passage.record` says what is known, in plain types, for the summary and the properties.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_gatherscatter.errors import (
    BrokerError,
    GatherScatterError,
    NotGathered,
    SectionFailed,
    SectionUnreported,
    SettingsInvalid,
)
from pytest_gatherscatter.plugin.marker import Arguments
from pytest_gatherscatter.plugin.run import Run
from pytest_gatherscatter.sections.section import (
    Demand,
    Section,
    SectionVerdict,
    finding_line,
)
from pytest_gatherscatter.sections.section import verdict as verdict_of
from pytest_gatherscatter.sections.service.visit import Visit

LABEL = 512
"""Characters in a section's and a test's name on the wire; longer ones are cut."""

LAB_ERRORS = (SectionFailed, BrokerError, SettingsInvalid)
"""What gathering, entering and leaving may raise that is no mistake of the test's code."""


class Passage:
    """A section from the side of its test. One thread at a time.

    Args:
        run: of this process.
        item: the test.
        arguments: what its marker or its call of the fixture said.
    """

    def __init__(self, run: Run, item: pytest.Item, arguments: Arguments) -> None:
        self.run = run
        self.item = item
        self.arguments = arguments
        self.name = (arguments.name or item.name)[:LABEL]
        self.section: Section | None = None
        self.record: dict[str, Any] = {
            "name": self.name,
            "test": item.nodeid,
            "state": "not entered",
            "lines": [],
            "facts": {},
        }
        self._visit: Visit | None = None

    # ── the way ────────────────────────────────────────────────────────────────────────

    def gather(self) -> None:
        """Wait until everybody is ready, or find that the section runs alone.

        Raises:
            SectionFailed, BrokerError: it will not be.
            SectionMisused: another section is open.
        """
        __tracebackhide__ = True
        self.run.opens(self)
        with self._telling(), self.run.waiting(self.item):
            self._visit = self.run.workloads.gather(self._demand())

    def enter(self) -> Section:
        """Commit, wait for go, and be quiet. Raises as :meth:`gather`."""
        __tracebackhide__ = True
        assert self._visit is not None  # noqa: S101 - gather came before
        with self._telling(), self.run.waiting(self.item):
            try:
                self.section = self.run.workloads.enter(self._visit)
            except OSError as error:
                raise NotGathered(f"the section's ticket cannot be written: {error}") from error
        self.record["state"] = "coordinated" if self.section.coordinated else "alone"
        if self._visit.ticket is not None:
            self.run.teller.keep_beside(self._visit.ticket.path)
        return self.section

    def stop(self) -> None:
        """Take the time of the body's end now; :meth:`leave` does it otherwise."""
        assert self._visit is not None  # noqa: S101 - gather came before
        self.run.workloads.stop(self._visit)

    def leave(self, outcome: str) -> list[SectionFailed]:
        """End the quiet, hand in what happened, and return what is wrong, first things first.

        Args:
            outcome: ``passed``, ``failed`` or ``interrupted``.
        """
        assert self._visit is not None  # noqa: S101 - gather came before
        assert self.section is not None  # noqa: S101 - enter came before
        try:
            with self.run.waiting(self.item):
                self.section = self.run.workloads.leave(self._visit, outcome)
        finally:
            self._visit = None
            self.run.closes(self)
        errors = verdict_of(self.section)
        self._conclude(errors)
        self.item.ihook.pytest_gatherscatter_section_closed(item=self.item, section=self.section)
        if not self.section.demand.demanding:
            # That nobody closed it is a line in the summary, for a test that demanded nothing.
            errors = [error for error in errors if not isinstance(error, SectionUnreported)]
        return errors

    def give_up(self, reason: str) -> None:
        """Withdraw a section that was gathered and will not be entered."""
        if self._visit is not None and self.section is None:
            visit, self._visit = self._visit, None
            with contextlib.suppress(*LAB_ERRORS):
                self.run.workloads.withdraw(visit, reason)
        self.run.closes(self)

    @property
    def is_open(self) -> bool:
        """Whether the body is running."""
        return self._visit is not None and self.section is not None

    # ── what is told about it ──────────────────────────────────────────────────────────

    def skips(self, error: GatherScatterError) -> bool:
        """Whether the policies turn ``error`` into a skip."""
        if not isinstance(error, SectionFailed):
            return False
        return self._demand().skips(error)

    def _demand(self) -> Demand:
        return Demand.of(
            self.run.settings,
            name=self.name,
            test=self.item.nodeid[:LABEL],
            **self.arguments.demands(),
        )

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Write down why it came to nothing, and let go of everything."""
        try:
            yield
        except LAB_ERRORS as error:
            if self.skips(error):
                self.record["state"] = "skipped"
            self._fail(error.told, getattr(error, "cause", "broker"), SectionVerdict.NOT_GATHERED)
            raise
        except BaseException as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
            self._fail(f"given up: {why}", "withdrawn", SectionVerdict.WITHDRAWN)
            raise

    def _fail(self, line: str, cause: str, verdict: SectionVerdict) -> None:
        """Write down why its body did not run, also where that shows only after the commit."""
        left = None if self._visit is None else self._visit.section
        if left is not None and left.closing is not None:
            verdict = left.verdict
        self.record["lines"].append(line)
        self.record["verdict"] = verdict.value
        self._set_properties(
            {"coordinated": False, "verdict": verdict.value, "cause": cause, "text": line}
        )
        self.run.records.append(self.record)
        self.give_up(line)

    def _conclude(self, errors: list[SectionFailed]) -> None:
        assert self.section is not None  # noqa: S101 - the caller has one
        facts = self.section.facts()
        self.record["facts"] = facts
        self.record["verdict"] = self.section.verdict.value
        self.record["lines"] += [error.told for error in errors]
        self.record["overdue"] = self.section.overdue
        if self.section.closing is not None:
            reports = self.section.closing.reports
            self.record["reports"] = [report.problem for report in reports if report.problem]
            self.record["findings"] = [
                f"{report.agent}: {finding_line(finding)}"
                for report in reports
                for finding in report.finding_list
            ]
            why = self.section.unreported_because
            if why and not any(why in line for line in self.record["lines"]):
                self.record["reports"].append(f"unreported: {why}")
            if any(report.artifacts for report in reports):
                self.record["artifacts"] = str(self.section.artifacts)
        self._set_properties(facts)
        self.record["notes"] = self.run.take_notes()
        self.run.records.append(self.record)

    def _set_properties(self, facts: dict[str, Any]) -> None:
        """Put the facts on the test's report; a second section of one name gets a number.

        What is true or false is a text, ``true`` or ``false``: junitxml would write Python's words.
        """
        taken = {name for name, _ in self.item.user_properties}
        # Dots part a property's name, and a test's may have some: test_supply[2.5].
        section = self.name.replace(".", "_")
        prefix, number = f"gs.{section}", 1
        while f"{prefix}.coordinated" in taken:
            number += 1
            prefix = f"gs.{section}#{number}"
        self.item.user_properties += [
            (f"{prefix}.{key}", str(value).lower() if isinstance(value, bool) else value)
            for key, value in facts.items()
        ]
