"""The machine of a balancer, told things by hand."""

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import Any

import pytest
from msgspec import Raw

from pytest_gatherscatter import machine
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effect, Keep, Received, Send, Settle, Told
from pytest_gatherscatter.roundrobin.balancer import BalancerFacts, BalancerMachine
from pytest_gatherscatter.roundrobin.order import Choice, Done, Drain, Say, StoodStill
from pytest_gatherscatter.roundrobin.registry import REST
from pytest_gatherscatter.roundrobin.service.policy import guarded
from pytest_gatherscatter.roundrobin.table import Worker
from pytest_gatherscatter.roundrobin.task import MOST_GIVES, read
from pytest_gatherscatter.wire import roundrobin as m
from pytest_gatherscatter.wire.message import Message
from pytest_gatherscatter.wire.names import balanced_key, balancer_key, known_key
from pytest_gatherscatter.wire.slips import RunStep, Slip, Step, Task

WALL = 1_000_000.0
REPLY = "client.0123456789abcdef"
ECHO = "service.echo"


class Lab:
    """A balancer of ``echo``, and all that it has said; the broker confirms each publish."""

    def __init__(self, choice: Choice | None = None, **facts: Any) -> None:  # noqa: ANN401 - of its facts
        made = BalancerFacts("ab" * 8, "host", 1, "1.0", (ECHO,), **facts)
        self.machine = BalancerMachine(made, now=0.0, choice=choice)
        self.now = 0.0
        self.said: list[Effect] = []
        self.confirms = True
        self.deliveries = 0
        self.tell(machine.Recovered((), WALL))
        self.tell(machine.LinkUp())
        self.know()

    def know(self) -> None:
        """Let an empty census of an earlier balancer come, so that nobody is waited for."""
        self.receive(m.WorkersKnown(service=ECHO, balancer="cd" * 8, revision=1), known_key(ECHO))

    def tell(self, message: machine.Input, after: float = 0.0) -> list[Effect]:
        """Tell it something after some seconds; the broker confirms what comes of it."""
        self.now += after
        effects = self.machine.handle(message, now=self.now)
        for one in effects:  # which grows
            if isinstance(one, Send) and self.confirms:
                effects += self.machine.handle(machine.Confirmed(one.id), now=self.now)
        self.said += effects
        return effects

    def receive(self, message: Message, key: str, **how: Any) -> list[Effect]:  # noqa: ANN401 - of it
        """Let a message come."""
        self.deliveries += 1
        return self.tell(Received(message, self.deliveries, key=key, **how))

    def register(self, name: str, slots: int = 1, **said: Any) -> list[Effect]:  # noqa: ANN401 - of it
        """Let a worker register."""
        facts: dict[str, Any] = {
            "address": name,
            "instance": f"{name}{name}" * 4,
            "epoch": 1,
        } | said
        message = m.Register(worker=name, service=ECHO, services=(ECHO,), slots=slots, **facts)
        return self.receive(message, balancer_key(ECHO))

    def ask(self, id_: str, seconds: float = 100.0, **said: Any) -> list[Effect]:  # noqa: ANN401 - of it
        """Let a client's task come."""
        redelivered = said.pop("redelivered", False)
        facts: dict[str, Any] = {"task": f"{id_:0>8}", "tracked": True, "rerun": True} | said
        deadline = WALL + self.now + seconds
        task = m.Execute(service="echo", command="PING", deadline=deadline, **facts)
        return self.receive(task, ECHO, reply_to=REPLY, id=id_, redelivered=redelivered)

    def end(self, name: str, task: str, number: int = 1, **said: Any) -> list[Effect]:  # noqa: ANN401 - of it
        """Let a worker say that a task has ended."""
        facts: dict[str, Any] = {"instance": f"{name}{name}" * 4} | said
        message = m.Increment(worker=name, service=ECHO, number=number, task=task, **facts)
        return self.receive(message, balancer_key(ECHO))

    def beat(self, *alive: str) -> list[Effect]:
        """Let a second go, in which some are heard of."""
        for name in alive:
            said = m.WorkerAlive(
                worker=name, address=name, service=ECHO, instance=f"{name}{name}" * 4, epoch=1
            )
            self.receive(said, balancer_key(ECHO))
        return self.tell(machine.Woken(), 1.0)

    def slots(self) -> dict[str, tuple[int, int]]:
        """By worker, slots and how many are free."""
        return {one.worker: (one.slots, one.free) for one in self.machine.seen(self.now).workers}


def given(effects: Sequence[Effect]) -> list[tuple[str, str]]:
    """Which worker is given which task."""
    assigns = [one.message for one in effects if isinstance(one, Send)]
    return [(one.worker, one.task) for one in assigns if isinstance(one, m.Assign)]


def answered(effects: Sequence[Effect]) -> list[tuple[str, str]]:
    """Which clients' tasks are answered by the balancer, and how."""
    answers = [one.message for one in effects if isinstance(one, Send) and one.key == REPLY]
    return [(one.task[-1], one.outcome) for one in answers if isinstance(one, m.Executed)]


def settled(effects: Sequence[Effect]) -> list[tuple[int, Verdict]]:
    """What is settled."""
    return [(one.delivery, one.verdict) for one in effects if isinstance(one, Settle)]


def words(effects: Sequence[Effect]) -> list[str]:
    """What goes to the log."""
    runs = [one.command for one in effects if isinstance(one, machine.Run)]
    return [one.text for one in runs if isinstance(one, Say)]


# ── giving out ─────────────────────────────────────────────────────────────────────────


def test_a_task_goes_as_it_came_and_is_settled_when_it_has_ended() -> None:
    """Nothing of the client's message is read or changed; its answer is none of the balancer's."""
    lab = Lab()
    lab.register("a")
    said = lab.ask("t", payload=Raw(b'{"v": 1}'))
    (assign,) = [one.message for one in said if isinstance(one, Send)]
    assert isinstance(assign, m.Assign)
    assert (assign.type, assign.reply_to, assign.redelivered) == ("Execute/1", REPLY, False)
    assert b'{"v": 1}' in bytes(assign.body)
    assert [one.delivery for one in said if isinstance(one, Keep)] == [lab.deliveries]
    assert settled(said) == []
    delivery = lab.deliveries
    assert settled(lab.end("a", "t")) == [(delivery, Verdict.ACK)]
    assert settled(lab.end("a", "t", 2)) == []


def test_the_backlog_is_sent_once() -> None:
    """Seed's bug: what waited was sent by whoever passed and by the queue's checker, both."""
    lab = Lab()
    lab.register("a", 2)
    for number in range(6):
        lab.ask(f"{number}")
    assert given(lab.said) == [("a", "0"), ("a", "1")]
    freed = lab.end("a", "0", 1)
    assert given(freed) == [("a", "2")]
    for _ in range(5):  # the checker comes by, and a newcomer passes
        lab.beat("a")
    lab.ask("6")
    lab.end("a", "0", 1)
    lab.register("b", 9)
    lab.register("b", 9)
    lab.beat("a", "b")
    tasks = [task for _, task in given(lab.said)]
    assert tasks == [f"{number}" for number in range(7)], "each once, in its order"


def test_what_waits_is_ahead_of_what_comes() -> None:
    """A newcomer does not take the slot that is free for what waited."""
    lab = Lab(policy="affinity")
    lab.register("a")
    for id_ in "xy":
        lab.ask(id_)
    assert given(lab.end("a", "x")) == [("a", "y")]
    assert given(lab.ask("z")) == []
    assert given(lab.end("a", "y", 2)) == [("a", "z")]


def test_a_slot_whose_task_cannot_be_said_is_free_for_what_waits() -> None:
    """Nobody would ever say so: the worker has not heard of it. No newcomer goes ahead."""
    lab = Lab()
    lab.register("a")
    lab.confirms = False
    (assign,) = [one for one in lab.ask("x") if isinstance(one, Send)]
    lab.ask("y")
    lab.tell(machine.Failed(assign.id, "nacked"))
    assert given(lab.ask("z")) == []
    lab.confirms = True
    said = lab.beat("a")
    assert answered(said) == [("x", "failed")]
    assert given(said) == [("a", "y")]
    assert given(lab.end("a", "y")) == [("a", "z")]


def test_the_backlog_is_bounded_and_who_finds_it_full_is_told_at_once() -> None:
    """Seed's had no bound; those that wait stay, and what comes back is not too much."""
    lab = Lab(backlog=2)
    lab.register("a")
    for number in range(3):
        lab.ask(f"{number}")
    said = lab.ask("3")
    assert answered(said) == [("3", "busy")]
    assert settled(said) == [(lab.deliveries, Verdict.ACK)]
    lab.end("a", "0", verdict="back")
    (service,) = lab.machine.seen(lab.now).services
    assert (service.backlog, service.busy) == (3, 1)
    small = Lab(backlog_bytes=10)
    assert answered(small.ask("1")) == [("1", "busy")]


def test_a_deadline_in_the_backlog_is_answered_and_not_delivered() -> None:
    """At its time, whoever has a slot later; one that is late when it comes is not kept at all."""
    lab = Lab()
    lab.register("a")
    lab.ask("0")
    lab.ask("1", 0.5)
    said = lab.tell(machine.Woken(), 0.5)
    assert answered(said) == [("1", "expired")]
    assert given(lab.end("a", "0")) == []
    assert answered(lab.ask("2", -1.0)) == [("2", "expired")]
    assert [task for _, task in given(lab.said)] == ["0"]
    lab.ask("3", 0.5)
    lab.ask("4", 1.0)
    assert given(lab.end("a", "3", 2)) == [("a", "4")]
    assert answered(lab.tell(machine.Woken(), 2.0)) == [], "its worker is at it, and answers"


def test_what_no_worker_could_have_is_told_or_set_aside() -> None:
    """A message of another kind, and one whose client cannot be told."""
    lab = Lab()
    said = lab.receive(m.SeekBalancers(asker="ab" * 8), ECHO)
    assert [one[1] for one in settled(said)] == [Verdict.DEAD]
    said = lab.ask("0", -1.0, tracked=False)
    assert (answered(said), [one[1] for one in settled(said)]) == ([], [Verdict.DEAD])
    torn = machine.Unreadable("torn", REPLY, "ab" * 8, f"gs.lab.{ECHO}")
    assert len(answered(lab.tell(torn))) == 1
    assert (
        answered(lab.tell(machine.Unreadable("torn", "gatherer", "ab" * 8, f"gs.lab.{ECHO}"))) == []
    )


def test_ten_thousand_tasks_are_shared_fairly() -> None:
    """Over ten equal workers, by the whole machine: the most to the least is at most 1.05."""
    lab = Lab()
    names = [*"abcdefghij"]
    for name in names:
        lab.register(name, 10)
    got: Counter[str] = Counter()
    running: list[tuple[str, str]] = []
    numbers = Counter[str]()
    for number in range(10_000):
        lab.said.clear()
        lab.ask(f"{number}", 1e6)
        ((name, task),) = given(lab.said)
        got[name] += 1
        running.append((name, task))
        if len(running) > 60:
            name, task = running.pop(number * 7 % 50)
            numbers[name] += 1
            lab.end(name, task, numbers[name])
    assert sum(got.values()) == 10_000
    assert max(got.values()) <= 1.05 * min(got.values()), got


# ── the table by word of workers ───────────────────────────────────────────────────────


def test_increments_never_pass_the_ceiling() -> None:
    """Seed's bug: said again, of another task, or of another life, it frees no slot."""
    lab = Lab()
    lab.register("a", 2)
    for id_ in "xy":
        lab.ask(id_)
    for _ in range(3):
        lab.end("a", "x")
    assert lab.slots() == {"a": (2, 1)}
    lab.end("a", "never", 2)
    lab.end("a", "y", 2, instance="ef" * 8)
    lab.end("nobody", "x", 1)
    assert lab.slots() == {"a": (2, 1)}, "the worker that has it has not said so"
    for _ in range(2):
        lab.end("a", "y", 3)
    assert lab.slots() == {"a": (2, 2)}


def test_who_is_not_known_takes_its_leave() -> None:
    """Ignored, and a line in the log."""
    lab = Lab()
    lab.register("a")
    said = m.Deregister(worker="b", service=ECHO, instance="bb" * 4)
    assert words(lab.receive(said, balancer_key(ECHO))) == [
        "worker b has taken its leave, and was not known"
    ]
    said = m.Deregister(worker="a", service=ECHO, instance="ef" * 8)
    assert "was not known" in words(lab.receive(said, balancer_key(ECHO)))[0]
    assert lab.slots() == {"a": (1, 1)}


def test_who_leaves_ends_what_it_has_and_gets_nothing_more() -> None:
    """It is out of the table with its last task."""
    lab = Lab()
    lab.register("a", 3)
    for id_ in "xy":
        lab.ask(id_)
    leave = m.Deregister(worker="a", service=ECHO, instance="aa" * 4)
    assert words(lab.receive(leave, balancer_key(ECHO))) == [f"worker a leaves {ECHO} with 2 tasks"]
    assert given(lab.ask("z")) == []
    lab.end("a", "x")
    assert lab.slots() == {"a": (3, 2)}, "what it has still would be lost with it"
    lab.end("a", "y", 2)
    assert lab.slots() == {}


def test_who_registers_again_in_mid_flight_has_no_more_slots_than_before() -> None:
    """Seed's bug: all were free again, whatever it ran; a new number of slots counts from now."""
    lab = Lab()
    lab.register("a", 2)
    for id_ in "xy":
        lab.ask(id_)
    assert given(lab.register("a", 2)) == []
    assert lab.slots() == {"a": (2, 0)}
    lab.register("a", 3)
    assert lab.slots() == {"a": (3, 1)}
    lab.register("a", 1)
    assert lab.slots() == {"a": (1, 0)}
    lab.end("a", "x")
    assert (lab.slots(), given(lab.ask("z"))) == ({"a": (1, 0)}, [])
    assert given(lab.end("a", "y", 2)) == [("a", "z")]


def test_a_new_epoch_settles_first_what_was_in_flight() -> None:
    """What it runs stays with it, what it never saw waits again; an old word changes nothing."""
    lab = Lab()
    lab.register("a", 3)
    for id_ in "xyz":
        lab.ask(id_)
    said = lab.register("a", 3, address="a2", epoch=2, running=("x",), adrift=("z",))
    assert sorted(given(said)) == [("a", "y"), ("a", "z")]
    assigns = [
        one.message for one in said if isinstance(one, Send) and one.key == balanced_key("a2")
    ]
    again = {one.task: one.redelivered for one in assigns if isinstance(one, m.Assign)}
    assert again == {"y": False, "z": True}
    assert lab.slots() == {"a": (3, 0)}
    lab.register("a", 9, epoch=1)
    assert lab.slots() == {"a": (3, 0)}


def test_who_gives_something_back_rests() -> None:
    """It had no room: another one gets it, and it nothing more for a moment."""
    lab = Lab()
    lab.register("a", 2)
    lab.ask("x")
    assert given(lab.end("a", "x", verdict="back")) == []
    lab.register("b", 1)
    assert given(lab.said)[-1] == ("b", "x")
    lab.ask("y")
    for second in range(int(REST)):
        assert given(lab.said)[-1] == ("b", "x"), second
        lab.beat("a", "b")
    assert given(lab.said)[-1] == ("a", "y")


# ── death ──────────────────────────────────────────────────────────────────────────────


def test_the_tasks_of_a_dead_worker_go_to_the_next_or_are_told_of() -> None:
    """Three beats of silence; what may run twice is marked, the client of the other one is told."""
    lab = Lab()
    lab.register("a", 2)
    lab.ask("x")
    lab.ask("y", rerun=False)
    lab.register("b", 5)
    for _ in range(2):
        lab.beat("b")
    assert answered(lab.said) == []
    said = lab.beat("b")
    assert answered(said) == [("y", "worker-lost")]
    assert given(said) == [("b", "x")]
    (assign,) = [one.message for one in said if isinstance(one, Send) and one.key.endswith(".b")]
    assert isinstance(assign, m.Assign)
    assert assign.redelivered
    assert [*lab.slots()] == ["b"]
    assert any("worker a is lost with 2 tasks" in one for one in words(said))


def test_any_word_is_a_sign_of_life_and_standing_still_is_no_silence() -> None:
    """Who frees slots needs no beat; a balancer that stood still has not listened."""
    lab = Lab()
    lab.register("a", 2)
    for number in range(1, 6):
        lab.ask(f"{number}")
        lab.beat()
        lab.end("a", f"{number}", number)
    assert [*lab.slots()] == ["a"]
    lab.tell(Told(StoodStill()), 60.0)
    lab.tell(machine.Woken())
    assert [*lab.slots()] == ["a"]
    for _ in range(3):
        lab.beat()
    assert lab.slots() == {}


def test_what_kills_each_worker_is_given_up() -> None:
    """After some of them; each that is started again is another one."""
    lab = Lab()
    for number in range(MOST_GIVES + 1):
        lab.register("a", instance=f"{number:08x}")
        if not number:
            lab.ask("x")
    assert len(given(lab.said)) == MOST_GIVES
    assert answered(lab.said) == [("x", "worker-lost")]


def test_who_follows_waits_for_what_workers_have() -> None:
    """Redelivered, a task is given out once everybody has told, or as one that may have begun."""
    lab = Lab()
    lab.tell(machine.LinkDown("gone"))
    lab.tell(machine.LinkUp())
    known = tuple(m.WorkerKnown(worker=one, instance=one * 8) for one in "ab")
    left = m.WorkersKnown(service=ECHO, balancer="cd" * 8, revision=1, workers=known)
    lab.receive(left, known_key(ECHO))
    for id_ in "xyz":
        lab.ask(id_, redelivered=True, rerun=False)
    heard = lab.machine.seen(lab.now)
    assert heard.settling
    started = [one.message for one in lab.said if isinstance(one, machine.Publish)][-1]
    assert isinstance(started, m.BalancerStarted)
    lab.register("a", 2, running=("x",), heard=started.balancer)
    assert given(lab.said) == []
    said = lab.register("b", 2, heard=started.balancer)
    assert sorted(task for _, task in given(said)) == ["y", "z"]
    assert lab.slots() == {"b": (2, 1), "a": (2, 0)}
    assert answered(lab.said) == []


def test_who_does_not_tell_may_have_begun_it() -> None:
    """After the window: what may not run twice is called lost."""
    lab = Lab()
    lab.tell(machine.LinkDown("gone"))
    lab.tell(machine.LinkUp())
    known = (m.WorkerKnown(worker="a", instance="aa" * 4),)
    left = m.WorkersKnown(service=ECHO, balancer="cd" * 8, revision=1, workers=known)
    lab.receive(left, known_key(ECHO))
    lab.ask("x", redelivered=True, rerun=False)
    lab.ask("y", redelivered=True)
    for _ in range(3):
        lab.beat()
    assert answered(lab.said) == [("x", "worker-lost")]
    assert given(lab.register("b")) == [("b", "y")]


@pytest.mark.parametrize("way", ["followed", "lost", "reconnected"])
def test_what_comes_back_is_given_in_its_order(way: str) -> None:
    """The first of them gets the slot that is free, and the others wait ahead of newcomers."""
    lab = Lab()
    if way == "followed":
        lab.tell(machine.LinkDown("gone"))
        lab.tell(machine.LinkUp())
    else:
        lab.register("a", 3)
    for id_ in "xyz":
        lab.ask(id_, redelivered=way == "followed")
    if way == "reconnected":
        lab.register("a", epoch=2)
    else:
        lab.register("b")
        for _ in range(3):
            lab.beat("b")
    lab.ask("n")
    name = "a" if way == "reconnected" else "b"
    for number, id_ in enumerate("xyzn"):
        assert given(lab.said)[-1] == (name, id_)
        lab.end(name, id_, number)


def test_a_drain_gives_back_what_waits_and_waits_for_what_runs() -> None:
    """Published anew, then settled; with its last task it is done."""
    lab = Lab()
    lab.register("a")
    for id_ in "xy":
        lab.ask(id_)
    waiting = lab.deliveries
    said = lab.tell(Told(Drain()))
    assert [one.key for one in said if isinstance(one, Send)] == [ECHO]
    assert settled(said) == [(waiting, Verdict.ACK)]
    assert given(lab.register("b")) == []
    runs = [one.command for one in lab.end("a", "x") if isinstance(one, machine.Run)]
    assert runs == [Done(0)]


def test_a_drain_does_not_wait_for_the_dead() -> None:
    """What a lost worker may have begun nobody is given any more: it is for who follows."""
    lab = Lab()
    lab.register("a")
    lab.ask("x")
    lab.tell(Told(Drain()))
    runs = [[one for one in lab.beat() if isinstance(one, machine.Run)] for _ in range(3)]
    assert [Done(1) in [one.command for one in some] for some in runs] == [False, False, True]
    assert [one for one in settled(lab.said) if one[0] > 1] == [], "the broker has it still"


# ── policies ───────────────────────────────────────────────────────────────────────────


def test_affinity_keeps_to_its_worker_while_that_lives() -> None:
    """Also when it is full, without holding up others; then the next one has it."""
    lab = Lab(policy="affinity")
    for name in "ab":
        lab.register(name)
    assert given(lab.ask("1", affinity="bench")) == [("a", "1")]
    assert given(lab.ask("2", affinity="bench")) == []
    assert given(lab.ask("3")) == [("b", "3")]
    assert given(lab.end("b", "3")) == []
    assert given(lab.end("a", "1")) == [("a", "2")]
    lab.ask("4", affinity="bench")
    for _ in range(3):
        lab.beat("b")
    assert [one for one in given(lab.said) if one[0] == "b"] == [("b", "3"), ("b", "2")]
    assert given(lab.end("b", "2", 2)) == [("b", "4")]


def test_what_waited_before_its_affinity_had_a_worker_goes_there_too() -> None:
    """Two tasks of a bench wait for anybody: who gets the first one gets the second one."""
    lab = Lab(policy="affinity")
    lab.ask("1", affinity="bench")
    lab.ask("2", affinity="bench")
    lab.ask("3")
    assert given(lab.register("a")) == [("a", "1")]
    assert given(lab.register("b")) == [("b", "3")]
    assert given(lab.end("b", "3")) == []
    assert given(lab.end("a", "1")) == [("a", "2")]


def test_a_slip_is_given_out_as_often_as_it_takes() -> None:
    """It is asked after each time; who may have begun it does not begin it again."""
    step = Step(number=1, process="power", command="on")
    slip = Slip(id="ab" * 8, name="s", steps=(step,), reply_to="cd" * 8, params={"bench": "b1"})
    wanted = read("steps.power", RunStep(slip=slip, task=Task(number=1, attempt=1)))
    assert wanted is not None
    assert (wanted.gives, wanted.affinity, wanted.answered) == (inf, "b1", False)


def test_most_free_slots_first() -> None:
    """Whoever has the most when a task comes."""
    lab = Lab(policy="most-free")
    lab.register("a", 1)
    lab.register("b", 3)
    assert [given(lab.ask(f"{number}"))[0][0] for number in range(4)] == [*"bbab"]


def test_a_policy_of_a_hook_decides_and_may_break() -> None:
    """It is told all that are free; where it breaks or names nobody, the first one is taken."""
    told: list[tuple[str, str, list[str]]] = []

    def choose(service: str, affinity: str, free: Sequence[Worker]) -> str | None:
        told.append((service, affinity, [one.name for one in free]))
        match affinity:
            case "breaks":
                raise RuntimeError("the policy is ill")
            case "nobody":
                return None
            case "stranger":
                return "z"
            case _:
                return "b"

    lab = Lab(guarded("mine", choose), policy="mine")
    for name in "abc":
        lab.register(name, 9)
    kinds = ("", "breaks", "nobody", "stranger")
    by = [given(lab.ask(f"{number}", affinity=kind))[0][0] for number, kind in enumerate(kinds)]
    assert by == ["b", "a", "c", "b"]
    assert told[0] == (ECHO, "", ["a", "b", "c"])
    assert told[1] == (ECHO, "breaks", ["a", "c", "b"])


@pytest.mark.parametrize("after", [0.0, 5.0])
def test_persons_are_told_how_it_stands(after: float) -> None:
    """Whose turn is next first, and for how long each was not heard of."""
    lab = Lab()
    for name in "ab":
        lab.register(name, 2)
    lab.ask("x")
    lab.now += after
    (answer,) = [
        one.message
        for one in lab.receive(m.SeekBalancers(asker="ab" * 8), "balancer.sought")
        if isinstance(one, Send)
    ]
    assert isinstance(answer, m.BalancerSeen)
    assert [(one.worker, one.free, one.given) for one in answer.workers] == [
        ("b", 2, 0),
        ("a", 1, 1),
    ]
    assert [one.silent for one in answer.workers] == [after, after]
