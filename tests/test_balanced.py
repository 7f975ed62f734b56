"""A machine behind a balancer, told things by hand; the one inside knows nothing of it."""

from typing import Any

from msgspec import Raw

from pytest_gatherscatter import machine
from pytest_gatherscatter.balanced import (
    ADRIFT,
    BEAT,
    LONGEST_NAME,
    BalancedFacts,
    BalancedMachine,
    Leave,
    Pool,
    pool_name,
)
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effect, Effects, Input, Keep, Received, Send, Settle
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire import roundrobin as m
from pytest_gatherscatter.wire.message import Message
from pytest_gatherscatter.wire.names import balancer_key

ECHO = "service.echo"
INSTANCE = "ab" * 8
REPLY = "client.0123456789abcdef"


class Inside:
    """Answers what is tracked and is done with it by rule 4; keeps anything else until told."""

    def __init__(self) -> None:
        self.out = Effects()
        self.heard: list[Input] = []

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input."""
        del now
        self.heard.append(message)
        match message:
            case Received(message=m.Execute(command="BREAK")):
                raise RuntimeError("inside is broken")
            case Received(message=m.Execute(tracked=True) as task):
                done = m.Executed(task=task.task, service="echo", outcome="done")
                self.out.send(message.reply_to or "", done)
            case Received(message=m.Execute(command="NOTHING")):
                pass
            case Received(delivery=delivery):
                self.out.keep(delivery)
            case machine.Told((int() as delivery, Verdict() as verdict)):
                self.out.settle(delivery, verdict, "so")
            case _:
                pass
        return self.out.take()


class Lab:
    """A worker behind a balancer that is here; what is published is not confirmed by itself."""

    def __init__(self) -> None:
        self.inside = Inside()
        facts = BalancedFacts("rack", INSTANCE, (Pool("rack-1", (ECHO,), 2),), "host", 1)
        self.machine = BalancedMachine(self.inside, facts)
        self.now = 0.0
        self.deliveries = 0
        self.epoch = 0

    def tell(self, message: Input, after: float = 0.0) -> list[Effect]:
        """Tell it something, after some seconds."""
        self.now += after
        return self.machine.handle(message, now=self.now)

    def receive(self, message: Message, **how: Any) -> list[Effect]:  # noqa: ANN401 - of it
        """Let a message come."""
        self.deliveries += 1
        return self.tell(Received(message, self.deliveries, **how))

    def up(self) -> list[Effect]:
        """Connect, and be registered."""
        self.epoch += 1
        return [*self.tell(machine.LinkUp()), *self.registered()]

    def registered(self) -> list[Effect]:
        """Hear that it is in the table."""
        return self.receive(
            m.Registered(worker="rack-1", service=ECHO, balancer="cd" * 8, epoch=self.epoch)
        )

    def assign(self, id_: str, command: str = "KEEP", **said: Any) -> list[Effect]:  # noqa: ANN401 - of it
        """Be given a client's task."""
        tracked = said.pop("tracked", False)
        task = m.Execute(
            task="ef" * 8, service="echo", command=command, deadline=1.0, tracked=tracked
        )
        facts: dict[str, Any] = {
            "worker": "rack-1",
            "instance": INSTANCE,
            "epoch": self.epoch,
            "type": codec.type_of(task),
            "body": Raw(codec.encode(task)),
            "reply_to": REPLY,
            "sender": "pupil",
        } | said
        return self.receive(m.Assign(task=id_, service=ECHO, **facts))

    def told(self, effects: list[Effect], kind: type[Message]) -> list[Any]:
        """What of a kind is said to the balancer."""
        sends = [one for one in effects if isinstance(one, Send) and one.key == balancer_key(ECHO)]
        return [one.message for one in sends if isinstance(one.message, kind)]

    def ends(self, effects: list[Effect]) -> list[tuple[int, str, str]]:
        """Whose slots are said to be free: number, task and verdict."""
        said = self.told(effects, m.Increment)
        return [(one.number, one.task, one.verdict) for one in said]


def test_a_clients_message_comes_as_from_the_queue() -> None:
    """With its answer's key, its login and its id; its slot is freed when it is settled."""
    lab = Lab()
    (register,) = lab.told(lab.up(), m.Register)
    assert (register.worker, register.slots, register.epoch) == ("rack-1", 2, 1)
    lab.assign("x", redelivered=True)
    heard = lab.inside.heard[-1]
    assert isinstance(heard, Received)
    assert isinstance(heard.message, m.Execute)
    how = (heard.reply_to, heard.user, heard.redelivered, heard.key, heard.id)
    assert how == (REPLY, "pupil", True, ECHO, "x")
    delivery = heard.delivery
    said = lab.tell(machine.Told((delivery, Verdict.DEAD)))
    settles = [one for one in said if isinstance(one, Settle)]
    assert [(one.delivery, one.verdict) for one in settles] == [(delivery, Verdict.ACK)]
    assert lab.ends(said) == [(1, "x", "dead")], "the client's own message is the balancer's"
    lab.assign("y")
    assert lab.ends(lab.tell(machine.Told((lab.deliveries, Verdict.REQUEUE)))) == [(2, "y", "back")]


def test_what_is_done_with_by_rule_four_frees_its_slot() -> None:
    """Once its answer is confirmed, or at once if there is none."""
    lab = Lab()
    lab.up()
    assert lab.ends(lab.assign("x", "NOTHING")) == [(1, "x", "done")]
    said = lab.assign("y", tracked=True)
    (answer,) = [one for one in said if isinstance(one, Send) and one.key == REPLY]
    assert lab.ends(said) == []
    assert lab.ends(lab.tell(machine.Confirmed(answer.id))) == [(2, "y", "done")]
    assert not [one for one in said if isinstance(one, Keep)]


def test_an_answer_that_failed_with_the_connection_is_no_end() -> None:
    """The task is adrift; where the connection is well, what cannot be said is over."""
    lab = Lab()
    lab.up()
    for id_, ends in (("x", [(1, "x", "done")]), ("y", [])):
        (answer,) = [one for one in lab.assign(id_, tracked=True) if isinstance(one, Send)]
        assert lab.ends(lab.tell(machine.Failed(answer.id, "gone"))) == []
        if not ends:
            lab.tell(machine.LinkDown("gone"))
        assert lab.ends(lab.tell(machine.Woken())) == ends
    (register,) = lab.told(lab.up(), m.Register)
    assert (register.adrift, register.running, register.done) == (("y",), (), ("x",))


def test_nothing_is_begun_twice_or_for_another_life() -> None:
    """What it runs, what it has ended, and what was meant for an earlier connection."""
    lab = Lab()
    lab.up()
    lab.assign("x")
    lab.assign("x")
    lab.assign("y", "NOTHING")
    lab.assign("y", "NOTHING")
    lab.assign("z", epoch=7)
    lab.assign("z", instance="ef" * 8)
    tasks = [one.id for one in lab.inside.heard if isinstance(one, Received)]
    assert tasks == ["x", "y"]


def test_what_cannot_be_read_or_breaks_is_dead_and_frees_its_slot() -> None:
    """The client's message is set aside by the balancer, with the reason."""
    lab = Lab()
    lab.up()
    (said,) = lab.told(lab.assign("x", body=Raw(b"[]")), m.Increment)
    assert (said.verdict, said.reason != "") == ("dead", True)
    broke = False
    try:
        lab.assign("y", "BREAK")
    except RuntimeError:
        broke = True
    assert broke, "the pump hears of it, too"
    (said,) = lab.told(lab.tell(machine.Woken()), m.Increment)
    assert (said.task, said.verdict, said.reason) == ("y", "dead", "RuntimeError: inside is broken")


def test_increments_are_said_until_they_are_heard() -> None:
    """A balancer may die with what was confirmed: whoever follows is told again."""
    lab = Lab()
    lab.up()
    for id_ in "xy":
        lab.assign(id_, "NOTHING")
    lab.receive(m.IncrementsHeard(worker="rack-1", service=ECHO, number=1))
    lab.receive(m.IncrementsHeard(worker="rack-2", service=ECHO, number=9))
    (register,) = lab.told(
        lab.receive(m.BalancerStarted(balancer="fe" * 8, service=ECHO)), m.Register
    )
    assert (register.heard, register.done) == ("fe" * 8, ("y",))
    assert lab.ends(lab.assign("z", "NOTHING")) == [], "it is not registered"
    assert lab.ends(lab.registered()) == [(2, "y", "done"), (3, "z", "done")]
    assert lab.ends(lab.registered()) == [], "registered twice, said once"
    lab.receive(m.IncrementsHeard(worker="rack-1", service=ECHO, number=3))
    lab.receive(m.WorkerUnknown(worker="rack-1", service=ECHO))
    assert lab.ends(lab.registered()) == []


def test_a_lost_connection_leaves_what_runs_adrift() -> None:
    """It runs on, and is asked for again; given again it goes inside, for its new delivery."""
    lab = Lab()
    lab.up()
    lab.assign("x")
    lab.assign("y")
    lab.tell(machine.LinkDown("gone"))
    assert not lab.machine.registered
    (register,) = lab.told(lab.up(), m.Register)
    assert (register.epoch, register.running, register.adrift) == (2, (), ("x", "y"))
    lab.assign("x", redelivered=True)
    (register,) = lab.told(lab.receive(m.WorkerUnknown(worker="rack-1", service=ECHO)), m.Register)
    assert (register.running, register.adrift) == (("x",), ("y",))
    lab.registered()
    lab.tell(machine.Woken(), ADRIFT)
    (register,) = lab.told(lab.receive(m.WorkerUnknown(worker="rack-1", service=ECHO)), m.Register)
    assert register.adrift == ()


def test_it_is_heard_of_each_beat_and_registers_where_nobody_was() -> None:
    """What it runs is in each sign of life; one that finds no balancer asks for one again."""
    lab = Lab()
    lab.up()
    lab.assign("x")
    said = lab.tell(machine.Woken(), BEAT)
    (alive,) = lab.told(said, m.WorkerAlive)
    assert (alive.running, alive.epoch) == (("x",), 1)
    assert lab.tell(machine.Woken(), BEAT / 2) == []
    (send,) = [one for one in said if isinstance(one, Send)]
    lab.tell(machine.Returned(send.id))
    assert not lab.machine.registered
    said = lab.tell(machine.Woken(), BEAT / 2)
    assert len(lab.told(said, m.Register)) == 1
    assert lab.told(said, m.WorkerAlive) == []
    lab.registered()
    assert lab.machine.registered


def test_it_takes_its_leave() -> None:
    """Once; what it has goes on, and who follows that balancer is told that it leaves."""
    lab = Lab()
    lab.up()
    lab.assign("x")
    (leave,) = lab.told(lab.tell(machine.Told(Leave())), m.Deregister)
    assert (leave.worker, leave.instance) == ("rack-1", INSTANCE)
    delivery = lab.deliveries
    started = m.BalancerStarted(balancer="fe" * 8, service=ECHO)
    (register,) = lab.told(lab.receive(started), m.Register)
    assert (register.leaving, register.running) == (True, ("x",))
    lab.registered()
    assert lab.ends(lab.tell(machine.Told((delivery, Verdict.ACK)))) == [(1, "x", "done")]


def test_what_is_none_of_a_balancers_goes_through() -> None:
    """Messages, settling and outcomes; its own effects count downwards, and never meet."""
    lab = Lab()
    said = lab.up()
    assert all(one.id < 0 for one in said)
    lab.assign("x")
    own = lab.deliveries + 1
    kept = lab.receive(m.SeekBalancers(asker="ab" * 8))
    assert [one.delivery for one in kept if isinstance(one, Keep)] == [own]
    assert kept[0].id > 0
    (settle,) = lab.tell(machine.Told((own, Verdict.DEAD)))
    assert isinstance(settle, Settle)
    assert (settle.verdict, settle.reason) == (Verdict.DEAD, "so")
    heard = len(lab.inside.heard)
    lab.tell(machine.Confirmed(said[0].id))
    assert len(lab.inside.heard) == heard, "what was said to the balancer concerns nobody inside"


def test_a_workers_name_is_never_too_long() -> None:
    """A long one is told from others by its hash."""
    assert pool_name("rack", "judge") == "rack-judge"
    long = [pool_name("r" * 60, part) for part in ("judge1", "judge2")]
    assert [len(one) for one in long] == [LONGEST_NAME] * 2
    assert len({*long}) == 2
