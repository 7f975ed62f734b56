"""One section as the gatherer keeps it: who takes part, what is awaited, what came back.

Pure data and rules about one section; what to send, and when, is ``gatherer.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from msgspec import to_builtins
from msgspec.structs import replace

from pytest_gatherscatter.machine import Lifecycle
from pytest_gatherscatter.sections.gatherer.abridgement import abridged
from pytest_gatherscatter.sections.gatherer.state import (
    GATHERS,
    INSIDE,
    SECTION_TABLE,
    SectionState,
)
from pytest_gatherscatter.sections.hook import LABEL, clip
from pytest_gatherscatter.wire.messages import (
    AgentReport,
    EnterSection,
    Hold,
    LeaveSection,
    MemberReport,
    SectionClosed,
    SectionStatus,
)

LEFT = ("outcome", "started", "stopped", "bound", "needed", "overdue")
"""What is recorded of a workload's leaving."""


SHOWN = 50
"""Names of those who are awaited or hold: more than a person reads, and it fits in a message."""

MOST_FENCED = 100
"""Different stale words about one section that are kept: enough to see what went on."""


class Answer(Enum):
    """How a monitor stands to a section that gathers."""

    MISSING = "missing"
    """Required, and not in the lab (or not on this bench)."""
    ASKED = "asked"
    HOLDING = "holding"
    READY = "ready"
    SKIPPED = "skipped"
    """Optional and silent, or advisory and past its limit: the section goes on without it."""


@dataclass(slots=True)
class Participant:
    """A monitor that a section asked, or waits for."""

    name: str
    required: bool
    answer: Answer
    since: float
    hold_until: float = 0.0
    hold_since: float | None = None
    hold_reason: str = ""
    alive: bool = False
    asked_at: float = 0.0
    why: str = ""

    def ask(self, *, now: float) -> None:
        """It was sent PrepareSection."""
        self.answer, self.since, self.asked_at, self.why = Answer.ASKED, now, now, ""

    def hold(self, seconds: float, reason: str, *, now: float) -> None:
        """It holds, first or once more."""
        if self.hold_since is None:
            self.hold_since = now
        self.answer, self.since = Answer.HOLDING, now
        self.hold_until, self.hold_reason = now + seconds, reason

    def lose(self, why: str, *, now: float) -> None:
        """It is not to be had now: awaited if required, else passed over."""
        self.answer = Answer.MISSING if self.required else Answer.SKIPPED
        self.since, self.why, self.hold_since, self.alive = now, why, None, False


class SectionRecord:
    """One section. ``entered`` is what the workload asked for; times are the gatherer's."""

    def __init__(
        self, entered: EnterSection, token: int, reply: str, *, now: float, user: str | None = None
    ) -> None:
        self.id = entered.section
        self.entered = entered
        self.bench = entered.bench
        self.token = token
        self.reply = reply
        self.user = user
        """The login that entered it, if the broker vouched for one."""
        self.life: Lifecycle[SectionState] = Lifecycle(
            f"section {entered.section} ({entered.name})",
            SectionState.ENTERED,
            SECTION_TABLE,
            now=now,
        )
        self.entered_at = now
        self._missed_for = 0.0
        self._missing_since: float | None = None
        self.told_at = float("-inf")
        self.participants: dict[str, Participant] = {}
        self.checked_at = 0.0
        self.needed = 0.0
        self.members: tuple[str, ...] = ()
        self.was_committed = False
        """Whether its Go was decided, so that its workload may have been inside."""
        self.sent = self.t0 = self.deadline = 0.0
        self.recovered = False
        """The gatherer that committed it went away meanwhile."""
        self.left: LeaveSection | None = None
        self.left_at = 0.0
        self.collects_since = 0.0
        """From when the report timeout counts: not while the gatherer could hear nobody."""
        self.reports: dict[str, AgentReport] = {}
        self.lost: dict[str, str] = {}
        self.fenced: list[str] = []
        self.closed: SectionClosed | None = None
        self.cause = ""
        self.text = ""

    @property
    def state(self) -> SectionState:
        """Where it stands."""
        return self.life.state

    @property
    def required(self) -> frozenset[str]:
        """Names of those who must take part, once it gathers."""
        return frozenset(p.name for p in self.participants.values() if p.required)

    # ── on record ──────────────────────────────────────────────────────────────────────

    def opened(self) -> dict[str, object]:
        """Return the facts of the ``opened`` event."""
        entered = self.entered
        return {
            "section": self.id,
            "token": self.token,
            "name": entered.name,
            "bench": entered.bench,
            "test": entered.test,
            "owner": entered.owner,
            "run": entered.run,
            "reply": self.reply,
            "user": self.user,
            "gather_timeout": entered.gather_timeout,
            "report_timeout": entered.report_timeout,
            "min_monitors": entered.min_monitors,
        }

    def committed(self, clock: str, wall: float) -> dict[str, object]:
        """Return the facts of the ``committed`` event.

        ``clock`` names the clock of its times, ``wall`` is Unix time minus that clock.
        """
        return {
            "section": self.id,
            "token": self.token,
            "sent": self.sent,
            "t0": self.t0,
            "deadline": self.deadline,
            "members": list(self.members),
            "required": sorted(self.required),
            "clock": clock,
            "wall": wall,
        }

    def leaving(self) -> dict[str, object]:
        """Return the facts of the ``left`` event; the workload must have left."""
        facts = {name: getattr(self.left, name) for name in LEFT}
        return {"section": self.id, "token": self.token, **facts}

    def ending(self, clock: str, wall: float) -> dict[str, object]:
        """Return the facts of the ``closed`` or ``aborted`` event, for who asks after a restart.

        A closed section has its whole answer in it: its monitors may have gone by then, and
        what they measured is nowhere else.
        """
        facts: dict[str, object] = {"section": self.id, "ended_at": self.life.since}
        facts |= {"clock": clock, "wall": wall}
        if self.state is SectionState.ABORTED:
            return {**facts, "cause": self.cause, "text": self.text}
        reporters = {name: report.instance for name, report in self.reports.items()}
        return {**facts, "reporters": reporters, "answer": to_builtins(self.close())}

    # ── gathering ──────────────────────────────────────────────────────────────────────

    def awaited(self, *, now: float, stale_after: float) -> tuple[str, ...]:
        """Say which required monitors are missing or silent, each with the reason."""
        late = []
        for one in self.participants.values():
            if one.required and one.answer is Answer.MISSING:
                late.append(f"{one.name} ({clip(one.why, LABEL)})" if one.why else one.name)
            elif one.required and one.answer is Answer.ASKED and now - one.since >= stale_after:
                late.append(f"{one.name} (silent)")
        if len(late) > SHOWN:
            late[SHOWN:] = [f"and {len(late) - SHOWN} more"]
        return tuple(late)

    def waits_for(self, *, now: float, stale_after: float) -> tuple[str, ...]:
        """Say for whom it waits: who is awaited, or that more monitors have to come."""
        count, least = len(self.ready()), self.entered.min_monitors
        late = self.awaited(now=now, stale_after=stale_after)
        if late or self.pending() or count >= least or self.state is not SectionState.GATHERING:
            return late
        return (f"more monitors ({count} of min_monitors={least} are ready)",)

    def pending(self) -> tuple[str, ...]:
        """Names of those whose answer is open: missing, asked or holding."""
        open_answers = (Answer.MISSING, Answer.ASKED, Answer.HOLDING)
        return tuple(p.name for p in self.participants.values() if p.answer in open_answers)

    # ── the gather timeout ─────────────────────────────────────────────────────────────

    def note_missing(self, *, now: float) -> None:
        """Let the gather timeout run while somebody is missing, and stand while nobody is.

        It counts over the whole section, so that a monitor which dies again and again cannot
        keep it for ever; others' holds and the workload's own preparation do not count.
        """
        if self._missing_since is not None:
            self._missed_for += now - self._missing_since
        self._missing_since = now if self._is_short() else None

    def _is_short(self) -> bool:
        """Say whether it gathers and waits for more than holds to end."""
        if self.state is not SectionState.GATHERING:
            return False
        missing = (Answer.MISSING, Answer.ASKED)
        if any(one.required and one.answer in missing for one in self.participants.values()):
            return True
        return not self.pending() and len(self.ready()) < self.entered.min_monitors

    def gather_left(self, *, now: float) -> float:
        """Say for how many seconds somebody may still be missing."""
        running = 0.0 if self._missing_since is None else now - self._missing_since
        return max(0.0, self.entered.gather_timeout - self._missed_for - running)

    @property
    def gather_until(self) -> float | None:
        """When the gather timeout runs out if nothing changes; ``None`` while it stands."""
        if self._missing_since is None:
            return None
        return self._missing_since + self.entered.gather_timeout - self._missed_for

    def gather_deadlines(self, stale_after: float) -> Iterator[float]:
        """Say when a section that gathers has to be looked at."""
        if self.gather_until is not None:
            yield self.gather_until
        for one in self.participants.values():
            if one.hold_since is not None:
                yield one.hold_until + stale_after
                yield one.hold_since + self.entered.hold_limit

    # ── who is ready, who holds ────────────────────────────────────────────────────────

    def ready(self) -> tuple[str, ...]:
        """Names of those who are armed, sorted."""
        return tuple(sorted(p.name for p in self.participants.values() if p.answer is Answer.READY))

    def holds(self, *, now: float) -> tuple[Hold, ...]:
        """Who holds, for how much longer, and why."""
        return tuple(
            Hold(agent=p.name, seconds=max(0.0, p.hold_until - now), reason=p.hold_reason)
            for p in islice(self._holding(), SHOWN)
        )

    def _holding(self) -> Iterator[Participant]:
        return (p for p in self.participants.values() if p.answer is Answer.HOLDING)

    def part_of(self, agent: str) -> str:
        """Say what an agent is doing in this section; nothing if it takes no part."""
        name = self.entered.name
        if self.state in GATHERS and agent in self.participants:
            return f"{self.participants[agent].answer.value} in {name}"
        if agent not in self.members:
            return ""
        if self.state in INSIDE:
            return f"inside {name}"
        return f"reporting on {name}" if agent in self.unreported() else ""

    # ── at the end ─────────────────────────────────────────────────────────────────────

    def unreported(self) -> tuple[str, ...]:
        """Members that neither reported nor are known to be lost."""
        return tuple(m for m in self.members if m not in self.reports and m not in self.lost)

    def fence(self, what: str) -> None:
        """Keep a stale word on record, once; it is never merged."""
        if what not in self.fenced and len(self.fenced) < MOST_FENCED:
            self.fenced.append(what)

    def skew(self) -> tuple[float | None, float | None]:
        """Spread of the measured starts, and how far that may be off, both in seconds.

        The workload's own start counts as one of them; a start without a bound was assumed,
        not measured, and does not. Two starts make a spread: with fewer there is none. The
        bound is the sum of the two largest bounds, as the two ends of the spread may be wrong
        in opposite directions.
        """
        starts = [
            (report.started, max(0.0, report.bound))
            for report in (*self.reports.values(), self.left)
            if report is not None and report.started is not None and report.bound is not None
        ]
        if len(starts) < 2:  # noqa: PLR2004 - a spread has two ends
            return None, None
        times = [time for time, _ in starts]
        return max(times) - min(times), sum(sorted(bound for _, bound in starts)[-2:])

    def member_report(self, name: str) -> MemberReport:
        """Say what is known of one member."""
        required = name in self.required
        report = self.reports.get(name)
        if report is None:
            cause = "died" if name in self.lost else "missing"
            text = clip(self.lost.get(name, "no report in time"))
            return MemberReport(agent=name, required=required, cause=cause, text=text)
        late = None if report.started is None else report.started - self.t0
        cause = "broken" if report.broken else "overdue" if report.overdue else ""
        return MemberReport(
            agent=name,
            required=required,
            reported=True,
            started=report.started,
            stopped=report.stopped,
            lateness=late,
            bound=report.bound,
            findings=report.findings,
            artifacts=report.artifacts,
            cause=cause,
            text=report.broken,
        )

    def close(self) -> SectionClosed:
        """Make the answer to the workload out of all that came in, once."""
        if self.closed is None:
            reports = abridged([self.member_report(name) for name in self.members])
            unmeasured = [
                f"{r.agent} ({r.text})"
                for r in reports
                if r.required and (not r.reported or r.cause == "broken")
            ]
            if unmeasured and not self.cause:
                self.cause = "unmeasured"
                self.text = clip(f"unmeasured: {', '.join(unmeasured)}")
            skew, bound = self.skew()
            self.closed = SectionClosed(
                section=self.id,
                token=self.token,
                t0=self.t0,
                lead=max(0.0, self.t0 - self.sent),
                skew=skew,
                skew_bound=bound,
                reports=reports,
                fenced=tuple(self.fenced),
                cause=self.cause,
                text=self.text,
            )
            # Only that they came matters from now on: what they said is in the answer.
            self.reports = {
                name: replace(report, findings=(), artifacts=())
                for name, report in self.reports.items()
            }
        return self.closed

    def status(self, *, now: float, stale_after: float) -> SectionStatus:
        """Show it to whoever asks."""
        overdue = max(0.0, now - self.deadline) if self.state is SectionState.OVERDUE else 0.0
        return SectionStatus(
            section=self.id,
            name=self.entered.name,
            bench=self.bench,
            state=self.state.value,
            test=self.entered.test,
            owner=self.entered.owner,
            token=self.token,
            age=max(0.0, now - self.entered_at),
            awaited=self.waits_for(now=now, stale_after=stale_after)
            or (self.unreported() if self.state is SectionState.COLLECTING else ()),
            holds=self.holds(now=now),
            members=self.members or self.ready(),
            overdue=overdue,
        )
