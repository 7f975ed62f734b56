"""What the gatherer says, and what the workload makes of it.

It goes only on a ``SectionGo`` that carries the token which it wrote on its ticket.
"""

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.workload.patience import Patience
from pytest_gatherscatter.sections.workload.probing import Probing
from pytest_gatherscatter.sections.workload.question import Questions
from pytest_gatherscatter.sections.workload.standing import Standing
from pytest_gatherscatter.sections.workload.state import (
    AFTER_GO,
    BEFORE_GO,
    KeepChunk,
    Refusal,
    WorkloadState,
)
from pytest_gatherscatter.wire import messages as m

_W = WorkloadState


class Answers:
    """Takes the gatherer's words, in whatever order and however often they come."""

    def __init__(
        self,
        standing: Standing,
        effects: Effects,
        probing: Probing,
        questions: Questions,
        patience: Patience,
    ) -> None:
        self._standing = standing
        self._effects = effects
        self._probing = probing
        self._questions = questions
        self._patience = patience

    def take(self, message: m.Message, now: float) -> None:
        """Take a message; a late answer to another section, or another's Go, means nothing."""
        standing = self._standing
        if getattr(message, "section", None) != standing.section:
            if isinstance(message, m.LeaveAccepted):
                standing.told_of.add(message.section)
            return
        if not isinstance(message, m.SectionGo | m.ArtifactChunk):
            self._hear(now)
        match message:
            case m.SectionAccepted() | m.SectionWaiting() | m.SectionGathered():
                self._progress(message, now)
            case (
                m.SectionRefused(cause=cause, text=text) | m.SectionAborted(cause=cause, text=text)
            ):
                self._end(Refusal(cause, text), now)
            case m.SectionGo():
                self._take_go(message, now)
            case m.LeaveAccepted(known=known):
                self._leave_accepted(now, known=known)
            case m.SectionClosed() if standing.state in AFTER_GO:
                standing.acknowledged = True
                standing.closed = message
                standing.life.to(_W.CLOSED, now=now)
            case m.ArtifactChunk():
                self._effects.run(KeepChunk(message))
            case _:
                pass

    def _hear(self, now: float) -> None:
        standing = self._standing
        if standing.absent and standing.linked and standing.state in BEFORE_GO:
            self._probing.begin(self._questions.reply, now)
        standing.answered = True
        standing.absent = False
        standing.heard = now

    # ── towards go ─────────────────────────────────────────────────────────────────────

    def _progress(
        self, message: m.SectionAccepted | m.SectionWaiting | m.SectionGathered, now: float
    ) -> None:
        standing = self._standing
        if standing.state in {_W.ALONE, _W.WITHDRAWN}:
            # It came too late to count; the withdrawal may have been lost or overtaken.
            alone = standing.state is _W.ALONE
            self._questions.withdraw("runs alone" if alone else "withdrawn")
            return
        if standing.state not in BEFORE_GO:
            return
        match message:
            case m.SectionAccepted():
                self._accepted(message, now)
            case m.SectionWaiting():
                standing.waiting = message
                standing.holds |= {hold.agent: hold for hold in message.holds}
                if standing.state is not _W.ACCEPTED:
                    standing.life.to(_W.ACCEPTED, now=now, why=message.state)
            case m.SectionGathered(token=token, members=members):
                again = token == standing.token and standing.state in {_W.GATHERED, _W.READY}
                standing.token, standing.members = token, members
                if not again:
                    if standing.state is _W.GATHERED:  # the news that it began anew is lost
                        standing.life.to(_W.ACCEPTED, now=now, why="begun anew")
                    standing.life.to(_W.GATHERED, now=now)
                    if standing.linked:
                        self._probing.refresh(self._questions.reply, now)

    def _accepted(self, message: m.SectionAccepted, now: float) -> None:
        standing, clock = self._standing, self._probing.clock
        standing.token = max(standing.token, message.token)
        if clock.known() and not clock.known(message.gatherer):
            clock.forget()  # it restarted: what was read was another clock
            self._probing.begin(self._questions.reply, now)
        if standing.state is _W.ENTERING:
            standing.life.to(_W.ACCEPTED, now=now)

    def _take_go(self, go: m.SectionGo, now: float) -> None:
        standing, clock = self._standing, self._probing.clock
        if standing.ready is None or go.token != standing.ready.token:
            return  # not what is on the ticket: a section of this id that is no more
        if standing.state not in BEFORE_GO:
            return
        self._hear(now)
        # Were the way here instant, t0 would be this far ahead: never earlier than the truth.
        latest = now + (go.t0 - go.sent)
        standing.go, standing.members, standing.token = go, go.members, go.token
        standing.t0 = (
            min(latest, clock.to_local(go.t0, now)) if clock.known(go.gatherer) else latest
        )
        standing.deadline = standing.t0 + (go.deadline - go.t0)
        if standing.state is _W.ENTERING:  # a redelivery that outran every answer
            standing.life.to(_W.ACCEPTED, now=now)
        standing.life.to(_W.GO, now=now)

    # ── the end ────────────────────────────────────────────────────────────────────────

    def _end(self, refusal: Refusal, now: float) -> None:
        standing = self._standing
        if refusal.cause == m.UNKNOWN and standing.state in BEFORE_GO:
            # A gatherer that was started anew: ask again. A Go for the ticket still counts.
            if standing.state is not _W.ACCEPTED:
                standing.life.to(_W.ACCEPTED, now=now, why=refusal.cause)
            self._questions.at_once(now)
            return
        if refusal.cause == m.MISSED_GO:
            # Said of an open section: if it waits here it has to leave; if not, it was wrong.
            if standing.state in BEFORE_GO:
                self._patience.refuse(refusal, now)
            return
        standing.acknowledged = True
        if standing.state in BEFORE_GO:
            standing.refusal = refusal
            standing.life.to(_W.REFUSED, now=now, why=refusal.cause)
        elif standing.state in AFTER_GO:
            standing.given_up = True
            standing.unreport(f"the lab gave it up: {refusal.text or refusal.cause}", now)

    def _leave_accepted(self, now: float, *, known: bool) -> None:
        standing = self._standing
        if standing.state in BEFORE_GO or standing.state is _W.GO:
            return
        standing.acknowledged = True
        if standing.state not in AFTER_GO:
            return
        if not known:
            standing.unreport("the gatherer has no record of the section", now)
        elif standing.state is _W.LEAVING:
            standing.life.to(_W.LEFT, now=now)
