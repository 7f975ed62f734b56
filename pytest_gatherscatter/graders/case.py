"""A request in an examiner's hand, and a grader's desk: its threads, and who waits for them."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from pytest_gatherscatter.answering import Owed
from pytest_gatherscatter.wire.grading import GradeAnswer, GradeRequest, GraderSeen


@dataclass(frozen=True, slots=True)
class GraderFacts:
    """What a ``[[grader]]`` says of itself to the machine; times in seconds.

    ``attempts`` is how often it is begun at most where its examiners die with it. A grading that
    takes longer than ``slow`` is logged.
    """

    name: str
    kind: str
    queues: tuple[str, ...]
    threads: int = 1
    timeout: float = 60.0
    attempts: int = 3
    slow: float = 10.0


@dataclass(slots=True, eq=False)
class Case(Owed[GradeAnswer]):
    """A request in hand. Without a ``delivery`` (its connection was lost) the broker has it too."""

    request: GradeRequest
    delivery: int | None
    taken: float
    run: int | None = None
    began: float = 0.0
    due: float = 0.0
    """When its grading has taken too long."""
    dead: str = ""
    """Why its delivery is dead-lettered once it was answered."""

    @property
    def words(self) -> str:
        """Which one it is, for people."""
        return f"request {self.request.request} of {self.request.queue}"


class Cases(dict[str, Case]):
    """What is in hand, by the requests' ids."""

    def forget(self, case: Case) -> None:
        """Let a case go, if it is the one in hand of its request."""
        if self.get(case.request.request) is case:
            del self[case.request.request]


@dataclass(slots=True)
class Desk:
    """One grader: what waits, by queue, and what its threads are at."""

    facts: GraderFacts
    lanes: deque[deque[Case]] = field(default_factory=deque)
    running: dict[int, Case] = field(default_factory=dict)
    overdue: set[int] = field(default_factory=set)
    graded: int = 0
    failed: int = 0
    slow: int = 0
    seconds: float = 0.0
    _lane_of: dict[str, deque[Case]] = field(default_factory=dict)

    def put(self, key: str, case: Case) -> None:
        """Let a case wait in the lane of the ``key`` that it came by."""
        lane = self._lane_of.get(key)
        if lane is None:
            lane = self._lane_of[key] = deque()
            self.lanes.append(lane)
        lane.append(case)

    def next(self) -> Case | None:
        """Take the next one for a free thread: of each lane in turn; of lost ones none."""
        if len(self.running) >= self.facts.threads:
            return None
        for _ in range(len(self.lanes)):
            lane = self.lanes[0]
            self.lanes.rotate(-1)
            for _ in range(len(lane)):
                case = lane.popleft()
                if case.delivery is not None:
                    return case
                lane.append(case)
        return None

    def waiting(self) -> Iterator[Case]:
        """Go through what waits."""
        for lane in self.lanes:
            yield from lane

    def drop(self, case: Case) -> None:
        """Let a case that waits go."""
        for lane in self.lanes:
            if case in lane:
                lane.remove(case)

    def seen(self) -> GraderSeen:
        """Say how it stands."""
        facts = self.facts
        return GraderSeen(
            name=facts.name,
            kind=facts.kind,
            queues=facts.queues,
            threads=facts.threads,
            busy=len(self.running),
            overdue=len(self.overdue),
            waiting=sum(map(len, self.lanes)),
            graded=self.graded,
            failed=self.failed,
            slow=self.slow,
            seconds=self.seconds,
        )
