"""A listener's slots and queue: some stories, and every state that three jobs can bring it to."""

import copy
from collections import deque
from dataclasses import dataclass, field
from functools import cache

import pytest

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Input,
    LinkDown,
    LinkUp,
    Publish,
    Received,
    Returned,
    Run,
    Send,
    Told,
    Woken,
)
from pytest_gatherscatter.testfiles.duty import (
    DutySaid,
    DutyState,
    EndDuty,
    RetireDuty,
    StartDuty,
)
from pytest_gatherscatter.testfiles.listener import (
    END_GRACE,
    MOST_QUEUED,
    TELL,
    Drain,
    ListenerFacts,
    ListenerMachine,
)
from pytest_gatherscatter.testfiles.order import DutyOver, DutyStep
from pytest_gatherscatter.testfiles.shell import Done
from pytest_gatherscatter.testfiles.supervisor import GONE
from pytest_gatherscatter.wire import testfiles as m
from pytest_gatherscatter.wire.messages import Message

TERMS = m.JobTerms(arguments=(), root="/suite", run="1d" * 8)
DRAIN = 60.0


@cache
def offer(number: int, *labels: str) -> m.JobOffered:
    """A job that listeners can do."""
    source = m.JobSource(place="/suite", labels=labels, terms=TERMS)
    return m.JobOffered(job=f"{number:08x}", originator="me", root="/suite", files=3, source=source)


@dataclass
class Host:
    """A listener's machine, and what became of what it wanted."""

    machine: ListenerMachine
    now: float = 100.0
    started: list[tuple[str, int]] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    retired: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    told: list[m.ListenerTold] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    """Jobs whose originator is gone."""
    done: bool = False

    def feed(self, said: Input) -> None:
        """Feed the machine, and do what it wants."""
        for effect in self.machine.handle(said, now=self.now):
            self.do(effect)

    def do(self, effect: Effect) -> None:
        """Do one thing."""
        match effect:
            case Run(_, StartDuty(offer, slots)):
                assert offer.job not in self.running
                self.running[offer.job] = slots
                self.started.append((offer.job, slots))
            case Run(_, RetireDuty(job)):
                self.retired.add(job)
            case Run(_, EndDuty(job, kill)):
                self.ended.add(job)
                if kill:
                    self.over(job, failed=True)
            case Run(_, Done()):
                self.done = True
            case Send(id, key, message):
                self.sent.append(message)
                if isinstance(message, m.ListenerTold):
                    self.told.append(message)
                gone = key.removeprefix("job.") in self.gone
                self.feed(Returned(id) if gone else Confirmed(id))
            case Publish(_, _, message):
                self.sent.append(message)
            case _:
                pass

    def offered(self, number: int, *labels: str) -> None:
        """Let a job be offered."""
        self.feed(Received(offer(number, *labels), 0))

    def works(self, job: str) -> None:
        """Let a job's process begin to work."""
        self.feed(Told(DutySaid(job, DutyStep(text="joins", working=True))))

    def over(self, job: str, *, failed: bool = False) -> None:
        """Let a job's process end."""
        self.running.pop(job, None)
        self.feed(Told(DutySaid(job, DutyOver(text="no rsync" if failed else "", failed=failed))))

    def after(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.feed(Woken())

    def states(self) -> dict[str, DutyState]:
        """Where each job stands."""
        return {job: duty.state for job, duty in self.machine.duties.items()}


def load() -> float:
    """A host that has little to do."""
    return 0.5


def host(*, slots: int = 2, job_slots: int = 0, labels: frozenset[str] = frozenset()) -> Host:
    """A listener that is connected."""
    facts = ListenerFacts("ab" * 4, "pc", 1, "0", slots, job_slots, labels, DRAIN)
    made = Host(ListenerMachine(facts, load, now=100.0))
    made.feed(LinkUp())
    return made


ONE, TWO, THREE = (f"{number:08x}" for number in (1, 2, 3))


def test_it_asks_for_jobs_that_run_already() -> None:
    """Whoever comes late is told by the originators themselves."""
    assert host().sent == [m.SeekJob(supervisor="ab" * 4)]


def test_jobs_take_slots_in_the_order_of_their_arrival() -> None:
    """The first has all of them, or what one job may have; the next begins when they are free."""
    pc = host(slots=3, job_slots=2)
    for number in (1, 2, 3):
        pc.offered(number)
    assert pc.started == [(ONE, 2), (TWO, 1)]
    assert pc.states()[THREE] is DutyState.QUEUED
    pc.over(TWO)
    assert pc.started[2:] == [(THREE, 1)]


def test_a_job_without_a_source_or_for_others_is_not_taken() -> None:
    """Labels that it lacks keep a job away; a job whose files nobody may fetch, too."""
    pc = host(labels=frozenset({"gpu"}))
    pc.offered(1, "gpu", "large")
    pc.feed(Received(m.JobOffered(job=TWO, originator="me", root="/", files=1), 0))
    assert pc.started == []
    pc.offered(3, "gpu")
    assert pc.started == [(THREE, 2)]


def test_a_job_that_is_over_while_it_waits_is_forgotten() -> None:
    """By the originator's word, or since its inbox is gone for some seconds."""
    pc = host()
    for number in (1, 2, 3):
        pc.offered(number)
    pc.feed(Received(m.JobOver(job=TWO, text="interrupted"), 0))
    assert TWO not in pc.states()
    pc.gone.add(THREE)
    pc.after(TELL)
    assert THREE in pc.states()  # its originator may have lost its connection
    pc.after(GONE)
    assert THREE not in pc.states()


def test_a_job_that_is_called_off_while_its_files_come_is_ended() -> None:
    """Also when its originator was killed; workers would hear of it by themselves."""
    for killed in (False, True):
        pc = host()
        pc.offered(1)
        if killed:
            pc.gone.add(ONE)
            pc.after(TELL)
            pc.after(GONE)
        else:
            pc.feed(Received(m.JobOver(job=ONE, text="interrupted"), 0))
        assert pc.ended == {ONE}
        pc.after(END_GRACE)  # it does not: by force
        assert pc.running == {}
        assert pc.states() == {}
        assert not any(told.state == "failed" for told in pc.told)


def test_a_failure_is_told_and_the_job_not_tried_again() -> None:
    """The slots are free at once; should the job be offered again, it is not taken."""
    pc = host()
    pc.offered(1)
    pc.offered(2)
    pc.over(ONE, failed=True)
    (failure,) = [told for told in pc.told if told.state == "failed"]
    assert (failure.job, failure.text) == (ONE, "no rsync")
    assert pc.started == [(ONE, 2), (TWO, 2)]
    pc.over(TWO)
    pc.offered(1)
    assert pc.states() == {}


def test_a_failure_is_kept_while_there_is_no_connection() -> None:
    """It is told when the link is there again."""
    pc = host()
    pc.offered(1)
    pc.feed(LinkDown("gone"))
    pc.over(ONE, failed=True)
    assert not any(told.state == "failed" for told in pc.told)
    pc.feed(LinkUp())
    assert pc.told[-1].state == "failed"
    assert pc.states() == {}


def test_draining_lets_running_tests_end_and_takes_nothing_new() -> None:
    """What waits is forgotten, what is prepared is ended, what works has its time."""
    pc = host(slots=2, job_slots=1)
    for number in (1, 2, 3):
        pc.offered(number)
    pc.works(ONE)
    pc.feed(Told(Drain()))
    assert pc.retired == {ONE}
    assert pc.ended == {TWO}
    assert THREE not in pc.states()
    pc.offered(3)
    pc.over(TWO)
    assert not pc.done
    pc.after(DRAIN)
    assert ONE in pc.ended
    pc.over(ONE)
    assert pc.done


def test_a_second_signal_does_not_wait() -> None:
    """All is ended, in good order if it can, else by force."""
    pc = host()
    pc.offered(1)
    pc.works(ONE)
    pc.feed(Told(Drain()))
    pc.feed(Told(Drain(now=True)))
    assert pc.ended == {ONE}
    pc.after(END_GRACE)
    assert pc.done


def test_the_queue_is_bounded_and_who_was_turned_away_is_asked_again() -> None:
    """Nothing is lost by the bound: jobs are asked for when there is room."""
    pc = host()
    for number in range(1, MOST_QUEUED + 4):
        pc.offered(number)
    assert len(pc.states()) == MOST_QUEUED + 1
    pc.sent.clear()
    pc.over(ONE)
    assert m.SeekJob(supervisor="ab" * 4) in pc.sent


def test_a_busy_listener_answers() -> None:
    """With its slots, its load, and all jobs that it has."""
    pc = host()
    pc.offered(1)
    pc.offered(2)
    pc.now += 3
    pc.feed(Received(m.SeekListeners(asker="cd" * 4), 0))
    seen = next(one for one in reversed(pc.sent) if isinstance(one, m.ListenerSeen))
    assert (seen.slots, seen.free, seen.load, seen.waiting) == (2, 0, 0.5, 1)
    assert [(job.job, job.state) for job in seen.jobs] == [(ONE, "preparing"), (TWO, "queued")]
    assert seen.jobs[0].seconds == 3


# ── every state ────────────────────────────────────────────────────────────────────────


def actions(pc: Host) -> list[tuple[str, str]]:
    """What may happen next."""
    found = [("offer", job) for job in (ONE, TWO, THREE)]
    for job, state in pc.states().items():
        if job in pc.running:
            found += [("over", job), ("fail", job)]
            if state is DutyState.PREPARING:
                found.append(("work", job))
        found += [("cancel", job), ("vanish", job)]
    return [*found, ("drain", ""), ("now", ""), ("time", "")]


def act(pc: Host, what: str, job: str) -> None:
    """Let it happen."""
    match what:
        case "offer":
            pc.offered(int(job, 16))
        case "work":
            pc.works(job)
        case "over" | "fail":
            pc.over(job, failed=what == "fail")
        case "cancel":
            pc.feed(Received(m.JobOver(job=job, text="stopped"), 0))
        case "vanish":
            pc.gone.add(job)
            pc.after(TELL)
            pc.after(GONE)
            pc.gone.discard(job)
        case "drain" | "now":
            pc.feed(Told(Drain(now=what == "now")))
        case _:
            pc.after(TELL)
            pc.after(GONE)


def key(pc: Host) -> object:
    """What tells two states apart; times count only as whether something waits for them."""
    machine = pc.machine
    return (
        tuple(
            (job, duty.state, duty.slots, duty.missing_since is None, duty.until is None)
            for job, duty in machine.duties.items()
        ),
        tuple(sorted(pc.running.items())),
        tuple(sorted(set(machine._failed))),
        machine._draining,
        pc.done,
    )


def check(pc: Host, before: Host) -> None:
    """What must be true in every state."""
    free = pc.machine.free
    states = pc.states()
    assert 0 <= free <= 2
    assert sum(pc.running.values()) <= 2
    assert all(states.get(job) is not None for job in pc.running), "a process that nobody knows"
    waiting = [job for job, state in states.items() if state is DutyState.QUEUED]
    assert not (waiting and free), "a slot is free, and a job waits"
    was_waiting = [job for job, state in before.states().items() if state is DutyState.QUEUED]
    fresh = [job for job, _ in pc.started[len(before.started) :] if job in was_waiting]
    assert fresh == was_waiting[: len(fresh)] or any(job not in states for job in was_waiting)
    if before.machine._draining:
        assert pc.started == before.started, "a job was begun while it drains"
    if pc.done:
        assert not pc.running


def twin(pc: Host) -> Host:
    """A copy, that shares what never changes."""
    return copy.deepcopy(pc, {id(offer(number)): offer(number) for number in (1, 2, 3)})


def finish(pc: Host) -> None:
    """From here it must come to an end by itself, once its processes do what they are told."""
    for _ in range(8):
        for job in list(pc.running):
            pc.over(job)
    pc.feed(Told(Drain()))
    pc.after(DRAIN)
    assert pc.done
    assert pc.machine.free == 2


@pytest.mark.parametrize("job_slots", [0, 1])
def test_every_state_that_three_jobs_can_bring_it_to(job_slots: int) -> None:
    """Slots are never given twice, nobody is overtaken, and from everywhere there is an end."""
    first = host(job_slots=job_slots)
    seen = {key(first)}
    todo = deque([first])
    while todo:
        before = todo.popleft()
        before.started.clear()  # what was is of no matter, and takes time to copy
        before.sent.clear()
        before.told.clear()
        for what, job in actions(before):
            pc = twin(before)
            act(pc, what, job)
            check(pc, before)
            found = key(pc)
            if found not in seen:
                seen.add(found)
                todo.append(pc)
                finish(twin(pc))
    assert len(seen) > 100
