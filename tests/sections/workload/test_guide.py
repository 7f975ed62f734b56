"""The guide of a visit: what its shell is to do next, step by step, without a shell."""

from typing import Any

import pytest

from pytest_gatherscatter.errors import LoginRefused, NoGatherer, NotGathered, SectionVetoed
from pytest_gatherscatter.machine import LinkDown, LinkUp, Received, Returned, Send, Told
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.workload.bench import LOCK_TURN
from pytest_gatherscatter.sections.workload.guide import (
    CLOCK_PATIENCE,
    INTERRUPT_SECONDS,
    REPORT_GRACE,
    Guide,
)
from pytest_gatherscatter.sections.workload.memory import Memory
from pytest_gatherscatter.sections.workload.phase import Phase
from pytest_gatherscatter.sections.workload.seeking import ATTEMPT, LOOK_AGAIN
from pytest_gatherscatter.sections.workload.state import AnswerTo, GiveUp, TicketSynced
from pytest_gatherscatter.sections.workload.step import (
    Connect,
    Fail,
    FallQuiet,
    Fetch,
    LetGo,
    LookForDebts,
    ReleaseLock,
    Rest,
    Serve,
    SettleDebt,
    SleepUntil,
    Step,
    SyncTicket,
    TakeLock,
    Tell,
)
from pytest_gatherscatter.wire import messages as m

ID, OTHER = "1" * 16, "2" * 16
GATHERER = "a" * 8
TOKEN = 7
BUSY = NotGathered("bench b is busy on this host: ann holds it")
REFUSED = LoginRefused("amqp://b", "lab")

ACCEPTED = m.SectionAccepted(section=ID, token=TOKEN, gatherer=GATHERER)
GATHERED = m.SectionGathered(section=ID, token=TOKEN, members=())
VETOED = m.SectionAborted(section=ID, token=TOKEN, bench="b", cause="vetoed", text="door open")
MISSING = m.SectionAborted(section=ID, token=TOKEN, bench="b", cause="not-gathered", text="scope")
LEFT = m.LeaveAccepted(section=ID, known=True)
CLOSED = m.SectionClosed(section=ID, token=TOKEN, t0=100.5, lead=0.5)


def go(sent: float) -> m.SectionGo:
    """Make a Go that was sent at ``sent``, half a second ahead."""
    times = {"sent": sent, "t0": sent + 0.5, "deadline": sent + 30.5}
    return m.SectionGo(section=ID, token=TOKEN, bench="b", gatherer=GATHERER, members=(), **times)


class Shell:
    """Does what a guide says, as far as the test lets it; its clock is set by the test."""

    def __init__(self, memory: Memory | None = None, why: str | None = None, **given: Any) -> None:  # noqa: ANN401 - what a demand is made of
        self.now = 100.0
        self.up = False
        self.said: list[Send] = []
        self.memory = Memory() if memory is None else memory
        self.guide = Guide(
            Demand(name="n", bench="b", test="t", gather_timeout=10.0, report_timeout=4.0, **given),
            section=ID,
            owner="ann",
            run="0" * 8,
            memory=self.memory,
            token=3,
            now=self.now,
            why=why,
        )

    def next(self) -> Step:
        """Ask what to do."""
        return self.guide.next(self.now, up=self.up)

    def until(self, *kinds: type) -> Step:
        """Go on over what is told to the machine and asked of the disk, up to one of ``kinds``."""
        for _ in range(20):
            step = self.next()
            if isinstance(step, kinds):
                return step
            if isinstance(step, Tell):
                self.guide.machine.handle(Told(step.request), now=self.now)
            elif not isinstance(step, LookForDebts):
                break
        pytest.fail(f"{step} and not one of {kinds}")

    def connect(self) -> None:
        """Come up, as the shell does."""
        assert isinstance(self.next(), Connect)
        self.guide.connected()
        self.up = True
        self.guide.machine.handle(Told(AnswerTo("reply.1")), now=self.now)
        effects = self.guide.machine.handle(LinkUp(), now=self.now)
        self.said = [effect for effect in effects if isinstance(effect, Send)]

    def lose(self) -> None:
        """Lose the connection."""
        self.up = False
        self.guide.machine.handle(LinkDown("cut"), now=self.now)

    def hear(self, *messages: m.Message) -> None:
        """Let messages come in."""
        for message in messages:
            self.guide.machine.handle(Received(message, 1), now=self.now)

    def gathered(self) -> "Shell":
        """Go as far as gathered."""
        self.connect()
        self.hear(ACCEPTED, GATHERED)
        self.until(Rest)
        assert self.guide.phase is Phase.GATHERED
        return self

    def ready(self) -> "Shell":
        """Go as far as ready: lock and ticket are there, and the commit is asked for."""
        self.gathered()
        self.guide.enter(self.now)
        assert isinstance(self.until(TakeLock), TakeLock)
        self.guide.locked()
        self.now += CLOCK_PATIENCE
        assert self.until(SyncTicket) == SyncTicket(TOKEN)
        self.guide.synced(TOKEN)
        self.until(Serve)
        return self

    def failure(self) -> str:
        """Fail, and say why."""
        step = self.next()
        assert isinstance(step, Fail)
        return str(step.error)

    def inside(self) -> "Shell":
        """Go as far as inside."""
        self.ready()
        self.hear(go(self.now))
        assert self.next() == FallQuiet()
        self.lose()
        slept = self.next()
        assert isinstance(slept, SleepUntil)
        self.now = slept.t0
        assert self.next() == Rest()
        assert self.guide.phase is Phase.INSIDE
        return self

    def leave(self, outcome: str = "passed") -> None:
        """Come out of the body."""
        self.guide.leave(outcome, self.now, self.now, self.now, overdue=False)


def test_the_usual_way() -> None:
    """Connect, gather, lock, ticket, go, quiet, body, connect, leave, fetch, let go."""
    shell = Shell().inside()
    shell.leave()
    assert shell.until(Connect) == Connect(ATTEMPT, retry=True, hears_go=False, left=9.0)
    shell.connect()
    assert isinstance(shell.until(Serve), Serve)
    shell.hear(LEFT, CLOSED)
    assert shell.until(Fetch) == Fetch()
    assert shell.next() == LetGo(owed=False, outcome="passed")
    assert shell.next() == Rest()
    assert shell.guide.phase is Phase.OVER
    assert shell.memory.met
    assert shell.memory.token == TOKEN


# ── gather ─────────────────────────────────────────────────────────────────────────────


def test_a_known_absence_costs_no_attempt() -> None:
    """Who knows that nobody is there goes alone at once, and takes the bench's lock."""
    shell = Shell(why="no broker is configured")
    assert shell.next() == Tell(GiveUp("no broker is configured"))
    assert shell.next() == LetGo(owed=False, outcome="interrupted")
    assert isinstance(shell.next(), TakeLock)
    shell.guide.locked()
    assert shell.next() == Rest()
    assert shell.guide.alone_because == "no broker is configured"
    shell.guide.enter(shell.now)
    assert shell.guide.phase is Phase.INSIDE
    shell.leave()
    assert shell.next() == LetGo(owed=False, outcome="passed")


def test_a_lock_that_stays_busy_ends_a_lone_section() -> None:
    """The error of who looked says who has it."""
    shell = Shell(why="none")
    shell.until(LetGo)
    shell.until(TakeLock)
    shell.now += shell.guide.demand.queue_timeout
    shell.guide.busy(BUSY)
    assert shell.failure() == f"{BUSY.text} (waited 3600.0 s of 3600 s)"


@pytest.mark.parametrize(("tried", "attempts"), [(False, 2), (True, 1)])
def test_an_unreachable_broker_is_given_its_patience_once(tried: bool, attempts: int) -> None:  # noqa: FBT001 - a case
    """The first section tries for the handshake's time, the next ones once a pause."""
    memory = Memory()
    if tried:
        memory.absent("no broker", 0.0)
    shell = Shell(memory, handshake_timeout=3.0)
    for _ in range(attempts):
        step = shell.next()
        assert isinstance(step, Connect)
        assert step.retry is not tried
        shell.now += step.seconds
        shell.guide.unreachable("no broker at b", shell.now)
    assert shell.next() == Tell(GiveUp("no broker at b"))
    assert memory.absence(shell.now + 4.0, demanding=True) == "no broker at b"


def test_who_demands_something_fails_where_nobody_is() -> None:
    """Nobody could measure it."""
    step = Shell(why="no broker", min_monitors=1).next()
    assert isinstance(step, Fail)
    assert isinstance(step.error, NoGatherer)
    assert step.error.text == "no broker: nobody could measure it"


def test_a_refused_login_is_told_unless_the_policy_says_run() -> None:
    """It is no absence, and no waiting would mend it."""
    for policy, kind in ((None, Fail), ("run", Tell)):
        shell = Shell(no_gatherer=policy)
        assert isinstance(shell.next(), Connect)
        shell.guide.refused(REFUSED)
        assert isinstance(shell.next(), kind)


def test_an_answer_right_after_the_handshake_fails_nobody() -> None:
    """It decides how the next section takes an absence, not how this one did."""
    memory = Memory()
    shell = Shell(memory)
    shell.connect()
    shell.now += shell.guide.demand.handshake_timeout
    shell.hear(m.SectionWaiting(section=OTHER, state="queued"))  # time passes, nobody answers
    shell.hear(ACCEPTED)
    assert isinstance(shell.next(), Tell)
    assert shell.guide.alone_because == "no gatherer answered in 2 s"
    assert memory.met
    later = Shell(memory, why="no gatherer answered in 2 s")
    assert isinstance(later.next(), Fail)


def test_a_live_broker_without_a_gatherer_is_asked_again_soon() -> None:
    """Its word is taken for half a second, and no patience is lost."""
    memory = Memory()
    shell = Shell(memory)
    shell.connect()
    (question,) = (one.id for one in shell.said if isinstance(one.message, m.EnterSection))
    shell.guide.machine.handle(Returned(question), now=shell.now)
    assert isinstance(shell.next(), Tell)
    assert memory.absence(shell.now + 0.4, demanding=False) is not None
    assert memory.absence(shell.now + 0.6, demanding=False) is None


@pytest.mark.parametrize(
    ("news", "policy", "kind"),
    [(VETOED, "run", Fail), (MISSING, "fail", Fail), (MISSING, "run", Tell)],
)
def test_a_policy_overrules_who_is_missing_and_no_veto(
    news: m.SectionAborted, policy: str, kind: type
) -> None:
    """A veto is news."""
    shell = Shell(not_gathered=policy)
    shell.connect()
    shell.hear(ACCEPTED, news)
    step = shell.next()
    assert isinstance(step, kind)
    if news is VETOED:
        assert isinstance(step, Fail)
        assert isinstance(step.error, SectionVetoed)


def test_a_lost_connection_is_found_again_while_it_gathers() -> None:
    """Attempt after attempt; the machine keeps its deadlines meanwhile."""
    shell = Shell()
    shell.connect()
    shell.hear(ACCEPTED)
    shell.lose()
    for _ in range(30):
        step = shell.next()
        if isinstance(step, Fail):
            break
        assert isinstance(step, Connect)
        assert step.hears_go
        shell.now += step.seconds
        assert shell.guide.unreachable("cut off", shell.now)
    assert isinstance(step, Fail)
    assert "went away" in str(step.error)
    assert shell.now <= 100.0 + 10.0 + ATTEMPT


# ── enter ──────────────────────────────────────────────────────────────────────────────


def test_a_gathered_section_waits_for_a_lone_one_and_then_fails() -> None:
    """It looks at the lock again and again, serving the connection between."""
    shell = Shell().gathered()
    shell.guide.enter(shell.now)
    for _ in range(2):
        assert isinstance(shell.until(TakeLock), TakeLock)
        shell.guide.busy(BUSY)
        assert shell.next() == Serve(LOCK_TURN)
    shell.now += 10.0
    assert isinstance(shell.until(TakeLock), TakeLock)
    shell.guide.busy(BUSY)
    assert shell.failure() == f"{BUSY.text} (waited 10.0 s of 10 s)"


def test_who_is_queued_again_lets_go_of_the_bench() -> None:
    """Else whoever is gathered before it on this host waits for a lock that waits for it."""
    shell = Shell().ready()
    shell.hear(m.SectionWaiting(section=ID, state="queued"))
    assert shell.next() == ReleaseLock()
    assert isinstance(shell.next(), Serve)
    shell.hear(m.SectionGathered(section=ID, token=TOKEN + 1, members=()))
    assert isinstance(shell.next(), TakeLock)
    shell.guide.locked()
    assert shell.until(SyncTicket) == SyncTicket(TOKEN + 1)


@pytest.mark.parametrize("busy", [False, True])
def test_a_go_that_overtook_it_takes_the_bench_anew_or_does_not_start(busy: bool) -> None:  # noqa: FBT001 - a case
    """Its ticket bears the token, so it goes; the bench may be another's by now."""
    shell = Shell().ready()
    shell.hear(m.SectionRefused(section=ID, cause=m.UNKNOWN, text="unknown"))
    assert shell.next() == ReleaseLock()
    shell.hear(go(shell.now))
    assert isinstance(shell.next(), TakeLock)
    if busy:
        shell.guide.busy(BUSY)
        assert "ann holds it" in shell.failure()
        assert shell.guide.gone
    else:
        shell.guide.locked()
        assert shell.next() == FallQuiet()


def test_a_connection_lost_beside_a_busy_lock_is_found_again_first() -> None:
    """Without one nobody could be told that the ticket is synced: no spinning until it is."""
    shell = Shell().gathered()
    shell.guide.enter(shell.now)
    shell.until(TakeLock)
    shell.guide.busy(BUSY)
    assert shell.next() == Serve(LOCK_TURN)
    shell.lose()
    assert isinstance(shell.next(), Connect)
    shell.guide.unreachable("cut off", shell.now)
    assert isinstance(shell.next(), Connect)


def test_a_ticket_is_written_again_for_a_new_token() -> None:
    """Gathered anew under a higher token, its first news lost: the old ticket counts no more."""
    shell = Shell().gathered()
    shell.guide.enter(shell.now)
    shell.until(TakeLock)
    shell.guide.locked()
    shell.now += CLOCK_PATIENCE
    assert shell.until(SyncTicket) == SyncTicket(TOKEN)
    shell.guide.synced(TOKEN)
    shell.hear(m.SectionGathered(section=ID, token=TOKEN + 1, members=()))
    assert shell.next() == SyncTicket(TOKEN + 1)
    shell.guide.synced(TOKEN + 1)
    assert shell.next() == Tell(TicketSynced(TOKEN + 1, shell.memory.needed))


def test_who_wakes_up_after_its_time_does_not_start() -> None:
    """Its monitors have made safe; it has to be left all the same."""
    shell = Shell(max_duration=30.0).gathered()
    shell.guide.enter(shell.now)
    shell.until(TakeLock)
    shell.guide.locked()
    shell.now += CLOCK_PATIENCE
    shell.until(SyncTicket)
    shell.guide.synced(TOKEN)
    shell.until(Serve)
    shell.hear(go(shell.now))
    assert shell.next() == FallQuiet()
    shell.lose()
    slept = shell.next()
    assert isinstance(slept, SleepUntil)
    shell.now = slept.t0 + 30.0
    step = shell.next()
    assert isinstance(step, Fail)
    assert "held up until 30.0 s after t0" in str(step.error)
    assert shell.guide.gone
    shell.guide.abandon("interrupted", shell.now)
    assert shell.guide.phase is Phase.LEAVE


# ── leave, drop ────────────────────────────────────────────────────────────────────────


def test_a_lab_that_cannot_be_told_is_owed() -> None:
    """Attempts until the patience is over; then the ticket stays."""
    shell = Shell().inside()
    shell.leave()
    end = shell.now + 4.0 + REPORT_GRACE
    while isinstance(step := shell.until(Connect, LetGo), Connect):
        shell.now += step.seconds
        shell.guide.unreachable("away", shell.now)
    assert shell.now == pytest.approx(end)
    assert step == LetGo(owed=True, outcome="passed")
    assert shell.guide.machine.unreported == "the broker could not be reached again in 9 s"


def test_a_refusal_on_return_is_told_at_once() -> None:
    """A password that was changed meanwhile: the reason is the broker's own."""
    shell = Shell().inside()
    shell.leave()
    shell.until(Connect)
    shell.guide.refused(REFUSED)
    assert shell.until(LetGo) == LetGo(owed=True, outcome="passed")
    assert shell.guide.machine.unreported == f"{REFUSED} in 9 s"


def test_an_interrupted_body_waits_for_no_report() -> None:
    """A person waits for the prompt; captures are not fetched."""
    shell = Shell().inside()
    shell.leave("interrupted")
    step = shell.until(Connect)
    assert isinstance(step, Connect)
    assert step.left == INTERRUPT_SECONDS
    shell.connect()
    shell.hear(LEFT, CLOSED)
    assert shell.next() == LetGo(owed=False, outcome="interrupted")


def test_what_may_have_been_committed_is_left_before_it_is_dropped() -> None:
    """Ready and interrupted: the lab has to say yes, within what a person waits."""
    shell = Shell().gathered()
    shell.guide.enter(shell.now)
    shell.until(TakeLock)
    shell.guide.locked()
    shell.now += CLOCK_PATIENCE
    shell.until(SyncTicket)
    shell.guide.synced(TOKEN)
    shell.until(Serve)
    shell.guide.abandon("interrupted", shell.now)
    assert shell.until(Serve) == Serve(LOCK_TURN)
    shell.now += INTERRUPT_SECONDS
    assert shell.next() == LetGo(owed=True, outcome="interrupted")
    shell.guide.abandon("again", shell.now)
    assert shell.next() == Rest()


# ── debts ──────────────────────────────────────────────────────────────────────────────


def test_a_gatherer_that_answers_is_told_what_others_owe() -> None:
    """Once at first, then every few seconds while a wait lasts; what it heard of is settled."""
    shell = Shell()
    shell.connect()
    assert isinstance(shell.next(), Serve)
    shell.hear(ACCEPTED)
    assert shell.next() == LookForDebts()
    assert isinstance(shell.next(), Serve)
    shell.hear(m.LeaveAccepted(section=OTHER, known=True))
    assert shell.next() == SettleDebt(OTHER)
    assert isinstance(shell.next(), Serve)
    shell.now += LOOK_AGAIN
    assert shell.next() == LookForDebts()
