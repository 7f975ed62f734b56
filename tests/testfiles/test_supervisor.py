"""A supervisor's machine: what it does alone, when nobody answers."""

from jobplay import JOB, TERMS
from msgspec import structs

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    LinkUp,
    Publish,
    Received,
    Returned,
    Run,
    Send,
    Told,
    Woken,
)
from pytest_gatherscatter.testfiles.child import (
    BATCH,
    PRINTED,
    AbortChild,
    ChildGone,
    ChildSaid,
    EndChild,
    StartChild,
    TellChild,
)
from pytest_gatherscatter.testfiles.shell import Done, Leave
from pytest_gatherscatter.testfiles.supervisor import SupervisorFacts, SupervisorMachine
from pytest_gatherscatter.wire import event as ev
from pytest_gatherscatter.wire import testfiles as m
from pytest_gatherscatter.wire.messages import Message

FACTS = SupervisorFacts("00000001", 2, "here", 1, "0")


MUCH = PRINTED // 2 + 1


class Alone:
    """A supervisor's machine, and nobody who answers by himself."""

    def __init__(self, job: str = "") -> None:
        self.now = 100.0
        self.machine = SupervisorMachine(FACTS, job=job)
        self.effects: list[Effect] = []
        self.feed(LinkUp())

    def feed(self, said: object) -> None:
        """Feed an input; every publish is confirmed."""
        step = self.machine.handle(said, now=self.now)  # type: ignore[arg-type]
        self.effects += step
        for effect in step:
            if isinstance(effect, Send):
                self.machine.handle(Confirmed(effect.id), now=self.now)

    def hear(self, message: Message) -> None:
        """Let it hear a message."""
        self.feed(Received(message, 0))

    def wait(self, seconds: float) -> None:
        """Let time pass, and let it look."""
        self.now += seconds
        self.feed(Woken())

    def taken(self) -> list[object]:
        """Take what it said and did since this was asked last."""
        effects, self.effects = self.effects, []
        said = [one.message for one in effects if isinstance(one, Send | Publish)]
        return [*said, *(one.command for one in effects if isinstance(one, Run))]

    def handed(self) -> list[int]:
        """Take what it said and did; returns the leases that it handed to children."""
        commands = [one.command for one in self.taken() if isinstance(one, TellChild)]
        return [one.lease for one in commands if isinstance(one, m.RunFile)]

    def joined(self) -> "Alone":
        """Let it join a job and have a worker."""
        self.hear(m.JobOffered(job=JOB, originator="me", root="/suite", files=1))
        self.hear(m.JobJoined(job=JOB, worker="gw0", terms=TERMS))
        self.taken()
        return self


def test_it_seeks_a_job_and_joins_the_first() -> None:
    """And no second one."""
    alone = Alone()
    assert alone.taken() == [m.SeekJob(supervisor=FACTS.supervisor)]
    offer = m.JobOffered(job=JOB, originator="me", root="/suite", files=1)
    alone.hear(offer)
    assert any(isinstance(one, m.JoinJob) for one in alone.taken())
    alone.hear(m.JobOffered(job="0c" * 8, originator="you", root="/suite", files=1))
    assert not any(isinstance(one, m.JoinJob) for one in alone.taken())


def test_it_takes_the_job_only_that_it_is_for() -> None:
    """As one that was started for a job."""
    alone = Alone(JOB)
    alone.hear(m.JobOffered(job="0c" * 8, originator="you", root="/suite", files=1))
    assert alone.taken() == [m.SeekJob(supervisor=FACTS.supervisor)]


def test_a_child_has_one_file_and_the_next() -> None:
    """The third waits here, where it can be given back without asking the child."""
    alone = Alone().joined()
    for lease in (1, 2, 3):
        alone.hear(m.RunFile(job=JOB, worker="gw0", lease=lease, file="test_a.py"))
    handed = [one for one in alone.taken() if isinstance(one, TellChild)]
    assert [one.command.lease for one in handed if isinstance(one.command, m.RunFile)] == [1, 2]
    alone.hear(m.GiveBack(job=JOB, worker="gw0", lease=3, most=9))
    (told,) = [one for one in alone.taken() if isinstance(one, m.WorkerTold)]
    assert told.events == (ev.TestsGivenBack(lease=3),)
    alone.hear(m.GiveBack(job=JOB, worker="gw0", lease=2, most=9))
    assert [one.command for one in alone.taken() if isinstance(one, TellChild)] == [
        m.GiveBack(job=JOB, worker="gw0", lease=2, most=9)
    ]


def test_a_child_that_is_quick_has_more() -> None:
    """As many more as it finished lately; after a pause it has its two again."""
    alone = Alone().joined()
    for lease in range(1, 13):
        alone.hear(m.RunFile(job=JOB, worker="gw0", lease=lease, file="a"))
    assert alone.handed() == [1, 2]
    for lease in (1, 2):
        alone.feed(Told(ChildSaid("gw0", ev.FileFinished(lease=lease), 9)))
    assert alone.handed() == [3, 4, 5]
    alone.wait(1.0)
    for lease in (3, 4):
        alone.feed(Told(ChildSaid("gw0", ev.FileFinished(lease=lease), 9)))
        alone.wait(1.0)
    assert alone.handed() == [6]


def test_what_children_say_together_is_told_together() -> None:
    """In one message of bounded size, again after a while, until it was accepted."""
    alone = Alone().joined()
    for test in range(BATCH + 1):
        alone.feed(Told(ChildSaid("gw0", ev.TestBegun(lease=1, test=test), 50)))
    assert not [one for one in alone.taken() if isinstance(one, m.WorkerTold)]
    alone.wait(0)
    told = [one for one in alone.taken() if isinstance(one, m.WorkerTold)]
    assert [(one.number, len(one.events)) for one in told] == [(0, BATCH), (BATCH, 1)]
    alone.hear(m.ToldAccepted(job=JOB, worker="gw0", number=BATCH))
    alone.wait(3.5)
    (again,) = [one for one in alone.taken() if isinstance(one, m.WorkerTold)]
    assert again.number == BATCH
    alone.hear(m.ToldAccepted(job=JOB, worker="gw0", number=BATCH + 1))
    alone.wait(3.5)
    assert not [one for one in alone.taken() if isinstance(one, m.WorkerTold)]


def test_large_reports_go_one_by_one() -> None:
    """So that no message grows beyond what a body may have."""
    alone = Alone().joined()
    for test in range(3):
        alone.feed(Told(ChildSaid("gw0", ev.TestBegun(lease=1, test=test), 200_000)))
    alone.wait(0)
    told = [one for one in alone.taken() if isinstance(one, m.WorkerTold)]
    assert [len(one.events) for one in told] == [1, 1, 1]


def ended(alone: Alone) -> list[str]:
    """Let the children that are to end do so; say what the supervisor says last."""
    did = alone.taken()
    assert [one for one in did if isinstance(one, EndChild)] == [EndChild("gw0")]
    alone.feed(Told(ChildGone("gw0", ev.WorkerDied(how="SIGKILL"))))
    return [one.text for one in alone.taken() if isinstance(one, Done)]


def test_a_silent_originator_is_given_up() -> None:
    """After fifteen seconds the children are ended: nobody counts what they do."""
    alone = Alone().joined()
    alone.wait(14)
    assert not [one for one in alone.taken() if isinstance(one, EndChild)]
    alone.wait(1.5)
    assert ended(alone) == ["nothing was heard of the originator for 15 s"]


def test_an_originator_that_is_gone_is_given_up_sooner() -> None:
    """Its inbox is not there; five seconds are for a broker that was restarted."""
    alone = Alone().joined()
    alone.now += 1.5
    (said,) = [one for one in alone.machine.handle(Woken(), now=alone.now) if isinstance(one, Send)]
    alone.feed(Returned(said.id))
    alone.wait(4)
    alone.hear(m.JobAlive(job=JOB))
    alone.wait(2)
    assert not [one for one in alone.taken() if isinstance(one, EndChild)]
    alone.now += 1.5
    (said,) = [one for one in alone.machine.handle(Woken(), now=alone.now) if isinstance(one, Send)]
    alone.feed(Returned(said.id))
    alone.wait(5)
    assert ended(alone) == ["the originator is gone"]


def test_who_is_told_to_leave_says_so() -> None:
    """The files of its children are for others, at once."""
    alone = Alone().joined()
    alone.feed(Told(Leave("stopped in good order")))
    did = alone.taken()
    assert m.LeaveJob(job=JOB, supervisor=FACTS.supervisor, text="stopped in good order") in did
    assert EndChild("gw0") in did


def test_without_a_job_it_just_ends() -> None:
    """There is nobody to tell."""
    alone = Alone()
    alone.taken()
    alone.feed(Told(Leave("no job came in 1 s")))
    assert alone.taken() == [Done("no job came in 1 s")]


def test_a_job_that_is_over_ends_the_children() -> None:
    """They finish, tell their end, and then it is done; who is named later is not started."""
    alone = Alone().joined()
    alone.hear(m.JobOver(job=JOB))
    assert TellChild("gw0", m.JobOver(job=JOB)) in alone.taken()
    alone.hear(m.JobJoined(job=JOB, worker="gw1", terms=TERMS))
    assert not [one for one in alone.taken() if isinstance(one, StartChild)]
    end = ev.WorkerEnded()
    alone.feed(Told(ChildSaid("gw0", end, 50)))
    alone.feed(Told(ChildGone("gw0", ev.WorkerDied(how="exit status 0"))))
    (told,) = [one for one in alone.taken() if isinstance(one, m.WorkerTold)]
    assert told.events == (end,)
    alone.hear(m.ToldAccepted(job=JOB, worker="gw0", number=1))
    assert Done("") in alone.taken()


def test_a_child_that_hangs_is_ended() -> None:
    """It has three seconds to say where; its death says that it hung. Between tests it may rest."""
    alone = Alone()
    alone.hear(m.JobOffered(job=JOB, originator="me", root="/suite", files=1))
    terms = structs.replace(TERMS, test_timeout=5.0)
    alone.hear(m.JobJoined(job=JOB, worker="gw0", terms=terms))
    for event in (ev.FileBegun(lease=1), ev.FileCollected(lease=1, tests=("a", "b"))):
        alone.feed(Told(ChildSaid("gw0", event, 50)))
    alone.wait(6)
    alone.feed(Told(ChildSaid("gw0", ev.TestBegun(lease=1, test=0), 50)))
    alone.wait(4)
    assert not [one for one in alone.taken() if isinstance(one, AbortChild | EndChild)]
    alone.hear(m.JobAlive(job=JOB))
    alone.wait(2)
    assert AbortChild("gw0") in alone.taken()
    alone.wait(2)
    assert EndChild("gw0") not in alone.taken()
    alone.wait(2)
    assert EndChild("gw0") in alone.taken()
    alone.feed(Told(ChildGone("gw0", ev.WorkerDied(how="SIGKILL", stderr="stack"))))
    told = [one for one in alone.taken() if isinstance(one, m.WorkerTold)][-1]
    how = "SIGKILL, for it hung for more than 5 s"
    assert told.events[-1] == ev.WorkerDied(how=how, hung=True, stderr="stack")


def test_who_prints_without_end_is_heard_in_part() -> None:
    """What is on its way is bounded; how much was left out is told with what comes next."""
    alone = Alone().joined()
    alone.taken()

    def printed(text: str) -> None:
        alone.feed(Told(ChildSaid("gw0", ev.WorkerPrinted(text=text), MUCH)))
        alone.feed(Woken())

    for text in ("one\n", "two\n", "three\n"):
        printed(text)
    alone.hear(m.ToldAccepted(job=JOB, worker="gw0", number=1))
    printed("four\n")
    told = [one for one in alone.taken() if isinstance(one, m.WorkerTold)]
    events = [event for one in told for event in one.events]
    texts = [event.text for event in events if isinstance(event, ev.WorkerPrinted)]
    assert texts == ["one\n", f"… {2 * MUCH} bytes left out …\nfour\n"]
