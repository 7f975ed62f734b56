"""How long a workload waits before the start, and what it decides when that is over.

Two rules make it safe: before the gatherer has accepted, the section may fall back to running
alone, and says so (``WithdrawSection``), lest it be gathered for nobody; once accepted it never
falls back.
"""

from pytest_gatherscatter.errors import NoGatherer, NotGathered
from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.workload.question import Questions
from pytest_gatherscatter.sections.workload.standing import Standing
from pytest_gatherscatter.sections.workload.state import Refusal, WorkloadState

GRACE = 10.0
"""Seconds on top of all waits that the gatherer itself keeps, before a workload that is kept
waiting by a live gatherer gives up: its answers have their own way to go."""


class Patience:
    """Runs alone where that is allowed, and gives up in time where it is not."""

    def __init__(self, standing: Standing, effects: Effects, questions: Questions) -> None:
        self._standing = standing
        self._effects = effects
        self._questions = questions

    def look(self, now: float) -> None:
        """Keep the deadlines of a section that did not start yet."""
        standing, begun = self._standing, self._standing.begun
        if begun is None:
            return
        demand, entering = standing.demand, standing.life.state is WorkloadState.ENTERING
        if entering and not standing.met:
            if now - begun >= demand.handshake_timeout:
                self.alone(f"no gatherer answered in {demand.handshake_timeout:g} s", now)
            else:
                self._effects.wake(begun + demand.handshake_timeout)
            return
        longest = standing.longest_silence
        if now - standing.heard >= longest:
            cause = (NoGatherer if entering else NotGathered).cause
            text = f"the gatherer went away and did not come back in {longest:g} s"
            self.refuse(Refusal(cause, text), now)
        elif standing.state is WorkloadState.READY and now - standing.life.since >= longest:
            # A live gatherer commits, or says for whom it waits again.
            text = f"all were ready, and no go came in {longest:g} s"
            self.refuse(Refusal(NotGathered.cause, text), now)
        elif now - begun >= self._longest:
            text = f"nothing came of it in {self._longest:g} s"
            self.refuse(Refusal(NotGathered.cause, text), now)

    @property
    def _longest(self) -> float:
        demand = self._standing.demand
        return demand.queue_timeout + demand.gather_timeout + demand.hold_limit + GRACE

    def alone(self, why: str, now: float) -> None:
        """Run without a gatherer, since none was met in this run."""
        self._standing.alone_because = why
        self._questions.withdraw("runs alone")
        self._standing.life.to(WorkloadState.ALONE, now=now, why=why)

    def refuse(self, refusal: Refusal, now: float) -> None:
        """End it from this side: the gatherer is told, and has to say yes."""
        self._questions.let_go(refusal.text, now)
        self._standing.refusal = refusal
        self._standing.life.to(WorkloadState.REFUSED, now=now, why=refusal.cause)

    def withdraw(self, reason: str, now: float) -> None:
        """Give it up at its owner's wish."""
        self._questions.let_go(reason, now)
        self._standing.life.to(WorkloadState.WITHDRAWN, now=now, why=reason)
