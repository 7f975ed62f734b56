"""Rules about proof: what is told of a section is on record, on its ticket, under its lock."""

from typing import NamedTuple

from pytest_gatherscatter.simulation.rule import Promise, Rule
from pytest_gatherscatter.simulation.world import (
    BodyBegan,
    Heard,
    LockBusy,
    LockReleased,
    LockTaken,
    Recorded,
    Said,
    Sight,
    TicketSynced,
    VisitEnded,
    WentAlone,
    World,
)
from pytest_gatherscatter.wire import messages as m

UNHEARD = 2.0
"""Seconds for which news may be on its way, also where messages come late: a workload asks anew
each second."""


class TicketsPass(Promise):
    """What is committed has stood on a ticket with that very token: else no death is proved."""

    name = "a ticket bears the token that is committed"
    kinds = frozenset({TicketSynced, Recorded})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._synced: set[tuple[str, int]] = set()

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case TicketSynced(section=section, token=token):
                self._synced.add((section, token))
            case Recorded(event={"what": "committed", "section": section, "token": token}):
                if (section, token) not in self._synced:
                    self.miss(f"{section} is committed with {token}, which is on no ticket")
            case _:
                pass


class EndsAreKept(Promise):
    """A gatherer that tells the end of a committed section has it on record: a restart keeps it."""

    name = "an end that is told is on record"
    kinds = frozenset(
        {Recorded, m.LeaveSection, m.LeaveAccepted, m.SectionClosed, m.SectionAborted}
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._committed: set[tuple[str, int]] = set()
        self._left: set[tuple[str, int]] = set()
        self._over: set[str] = set()
        self._leaving: dict[tuple[str, str], int] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case Recorded(event={"what": "committed", "section": section, "token": token}):
                self._committed.add((section, token))
                self._over.discard(section)
            case Recorded(event={"what": "left", "section": section, "token": token}):
                self._left.add((section, token))
            case Recorded(event={"what": "closed" | "aborted", "section": section}):
                self._over.add(section)
            case Heard(party=party, message=m.LeaveSection(section=section, token=token)):
                self._leaving[party, section] = token
            case Said(party=party, message=m.LeaveAccepted(section=section, known=True)):
                token = self._leaving.get((party, section), -1)
                if (section, token) not in self._left:
                    self._look(section, token, "left")
            case Said(message=m.SectionClosed(section=section, token=token)):
                self._look(section, token, "closed")
            case Said(message=m.SectionAborted(section=section, token=token, cause=cause)):
                if cause not in {m.UNKNOWN, m.MISSED_GO}:  # which end nothing
                    self._look(section, token, "given up")
            case _:
                pass

    def _look(self, section: str, token: int, how: str) -> None:
        if (section, token) in self._committed and section not in self._over:
            self.miss(f"{section} is told to be {how}, and its record says that it is open")


class MembersAreNamed(Promise):
    """Who was a member at the Go is named at the end, dead or alive: its absence is news."""

    name = "an end names every member"
    kinds = frozenset({m.SectionGo, m.SectionClosed})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._members: dict[tuple[str, int], tuple[str, ...]] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case Said(message=m.SectionGo(section=section, token=token, members=members)):
                self._members[section, token] = members
            case Said(message=m.SectionClosed(section=section, token=token, reports=reports)):
                named = {report.agent for report in reports}
                if not named.issuperset(self._members.get((section, token), ())):
                    self.miss(f"{section} is closed, and names only {sorted(named)}")
            case _:
                pass


class BodiesAreLocked(Promise):
    """Every body has the lock of its bench on its host: a lone one may be there at any time."""

    name = "every body has its bench's lock"
    kinds = frozenset({LockTaken, LockReleased, BodyBegan})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._locked: set[str] = set()

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, LockTaken):
            self._locked.add(sight.section)
        elif isinstance(sight, LockReleased):
            self._locked.discard(sight.section)
        elif isinstance(sight, BodyBegan) and sight.section not in self._locked:
            self.miss(f"{sight.party} is inside {sight.section} without the lock of {sight.bench}")


class _Wait(NamedTuple):
    """For whose section a lock is waited for, since when without a break, and until when."""

    holder: str
    since: float
    until: float


class NobodyKeepsTheBench(Promise):
    """No coordinated section fails for the lock of one that waits for its Go too, and can hear.

    Who has Go, or runs alone, is at work there; all others have to open the bench to whom the
    gatherer lets in before them. Who runs alone itself has nobody to let it in.
    """

    name = "who is queued opens its bench"
    kinds = frozenset({LockBusy, m.SectionGo, WentAlone, VisitEnded})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._at_work: set[str] = set()
        self._waits: dict[str, _Wait] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case LockBusy(at=at, section=section, holder=holder, alert=True):
                wait = self._waits.get(section)
                broken = wait is None or wait.holder != holder or at > wait.until + UNHEARD
                since = at if wait is None or broken else wait.since
                self._waits[section] = _Wait(holder, since, at)
            case LockBusy(section=section):
                self._waits.pop(section, None)
            case Said(message=m.SectionGo(section=section)) | WentAlone(section=section):
                self._at_work.add(section)
            case VisitEnded(section=section, outcome=outcome):
                wait = self._waits.pop(section, None)
                if wait is not None and outcome.startswith("not-gathered"):
                    self._look(section, wait)
            case _:
                pass

    def _look(self, section: str, wait: _Wait) -> None:
        waited = wait.until - wait.since
        recent = self.world.now - wait.until <= UNHEARD
        lone_or_gone = {section, wait.holder} & self._at_work
        if recent and waited >= UNHEARD and not lone_or_gone:
            self.miss(f"{section} waited {waited:.1f} s for the lock of {wait.holder}, and failed")


def proofs(world: World) -> list[Rule]:
    """Make these rules for one play."""
    return [TicketsPass(world), EndsAreKept(world), MembersAreNamed(world), BodiesAreLocked(world)]
