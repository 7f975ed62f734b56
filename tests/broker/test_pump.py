"""Decode, handle, perform, settle: against a port that only writes down what it is told."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pytest_gatherscatter.broker.port import (
    NO_ROUTE,
    Delivered,
    PortDown,
    PortUp,
    Properties,
    PublishConfirmed,
    PublishReturned,
    Tag,
    Verdict,
)
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.errors import JournalUnwritable
from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Effects,
    Failed,
    Input,
    LinkDown,
    LinkUp,
    Received,
    Returned,
    Told,
    Unreadable,
    Woken,
)
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import ClockProbe, ClockReading, Message, StepFinished
from pytest_gatherscatter.wire.roundrobin import Execute, Increment

PROBE = ClockProbe(sent=1.0)
READING = ClockReading(sent=1.0, read=2.0, gatherer="0" * 8)

STEP: dict[str, Any] = {
    "run": "0" * 8,
    "test": "t",
    "number": 1,
    "step": "s",
    "started_wall": 0.0,
    "seconds": 0.0,
    "outcome": "passed",
}


class Paper:
    """A port, a journal and a runner that write everything into one list, in order."""

    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []
        self.properties: list[Properties] = []
        self.full = False

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, *, mandatory: bool
    ) -> int:
        """Write a publish down."""
        self.properties.append(properties)
        self.lines.append(("publish", exchange, key, body, mandatory))
        return len(self.properties)

    def settle(self, tag: Tag, verdict: Verdict) -> None:
        """Write a settlement down."""
        self.lines.append(("settle", tag.number, verdict))

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event down, if there is room."""
        if self.full:
            raise JournalUnwritable("journal", "disk full")
        self.lines.append(("record", event["what"]))

    def verbs(self) -> list[object]:
        """Return what was done, in order."""
        return [line[0] for line in self.lines]


class Scripted:
    """A machine that does what a function says, and remembers what it was told."""

    def __init__(self, script: Callable[[Effects, Input], object]) -> None:
        self.out = Effects()
        self.told: list[Input] = []
        self._script = script

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Follow the script."""
        assert now >= 0
        self.told.append(message)
        if isinstance(message, Received | Told | LinkUp):
            self._script(self.out, message)
        return self.out.take()


def made(script: Callable[[Effects, Input], object]) -> tuple[Pump, Paper, Scripted]:
    """Join a pump with paper and a scripted machine."""
    paper, machine = Paper(), Scripted(script)
    pump = Pump(machine, paper, "lab", sender="me", journal=paper, run=None, user="guest")
    return pump, paper, machine


def delivered(body: bytes, number: int = 1, kind: str | None = None) -> Delivered:
    """Make a delivery."""
    properties = Properties(type=kind, reply_to="reply.1", user_id="eve", message_id="m1")
    return Delivered(
        Tag(1, number), "queue", "gs.lab.to", "gatherer", properties, body, redelivered=False
    )


def nothing(_: Effects, __: Input) -> None:
    """Do nothing."""


def test_a_delivery_becomes_a_message_and_is_acked() -> None:
    """With who vouches for it and where the answer goes."""
    pump, paper, machine = made(nothing)
    pump.take(delivered(codec.encode(PROBE)), now=1.0)
    (received,) = machine.told
    assert isinstance(received, Received)
    assert (received.message, received.reply_to, received.user) == (PROBE, "reply.1", "eve")
    assert paper.lines == [("settle", 1, Verdict.ACK)]


def test_the_ack_waits_for_the_record_and_every_outcome() -> None:
    """Record, then publish; the ack comes after the last confirm or return."""

    def script(out: Effects, _: Input) -> None:
        out.record("opened")
        out.send("reply.1", READING)
        out.publish("clock.read", READING)

    pump, paper, machine = made(script)
    pump.take(delivered(codec.encode(PROBE)), now=1.0)
    assert paper.verbs() == ["record", "publish", "publish"]
    pump.take(PublishConfirmed(2), now=1.1)
    assert paper.verbs() == ["record", "publish", "publish"]
    pump.take(PublishReturned(1, NO_ROUTE), now=1.2)
    assert paper.verbs()[-1] == "settle"
    assert machine.told[1:] == [Confirmed(3), Returned(2)]


def test_sends_are_mandatory_and_events_are_not() -> None:
    """Absence is told of a party, not of an audience."""

    def script(out: Effects, _: Input) -> None:
        out.send("agent.scope", PROBE, reply_to="gatherer", ttl=2.0)
        out.publish("x", PROBE)

    pump, paper, _ = made(script)
    pump.feed(LinkUp(), now=0.0)
    assert [line[1:3] + line[4:] for line in paper.lines] == [
        ("gs.lab.to", "agent.scope", True),
        ("gs.lab", "x", False),
    ]
    first = paper.properties[0]
    assert (first.type, first.message_id, first.user_id) == ("ClockProbe/1", "me-1", "guest")
    assert (first.reply_to, first.ttl) == ("gatherer", 2.0)


def test_not_connected_is_not_nobody_there() -> None:
    """Only an unroutable publish tells the machine that somebody is absent."""
    pump, _, machine = made(lambda out, _: out.send("agent.scope", PROBE))
    pump.feed(LinkUp(), now=0.0)
    pump.take(PublishReturned(1, "connection reset"), now=0.1)
    assert machine.told[-1] == Failed(1, "connection reset")


def test_a_settlement_of_the_machines_own_comes_first() -> None:
    """A step may ack early, or send back; then nothing is settled twice."""

    def script(out: Effects, message: Input) -> None:
        if isinstance(message, Received):
            out.settle(message.delivery, Verdict.REQUEUE)
            out.send("agent.scope", PROBE)

    pump, paper, _ = made(script)
    pump.take(delivered(codec.encode(PROBE)), now=0.0)
    pump.take(PublishConfirmed(1), now=0.1)
    assert paper.verbs() == ["settle", "publish"]
    assert paper.lines[0][2] is Verdict.REQUEUE


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"\xff", None), (b"{}", "Nonsense/1"), (codec.encode(PROBE), "ClockProbe/9")],
)
def test_what_cannot_be_read_goes_to_the_dead_with_the_reason(
    body: bytes, kind: str | None
) -> None:
    """A copy with the reason first, then the ack; the machine hears only that it was."""
    pump, paper, machine = made(nothing)
    pump.take(delivered(body, kind=kind), now=0.0)
    assert [type(one) for one in machine.told] == [Unreadable]
    assert paper.lines == [("publish", "gs.lab.dead", "gatherer", body, False)]
    assert paper.properties[0].headers["gs-queue"] == "queue"
    assert paper.properties[0].headers["gs-reason"]
    pump.take(PublishConfirmed(1), now=0.1)
    assert paper.lines[-1] == ("settle", 1, Verdict.ACK)


def test_a_message_on_which_the_machine_breaks_is_set_aside() -> None:
    """It would break on it again; the lab goes on."""

    def script(_: Effects, __: Input) -> None:
        raise ZeroDivisionError("a bug")

    pump, paper, _ = made(script)
    pump.take(delivered(codec.encode(PROBE)), now=0.0)
    assert paper.lines[0][1] == "gs.lab.dead"
    assert paper.properties[0].headers["gs-reason"] == "ZeroDivisionError: a bug"


def test_what_was_kept_of_another_step_keeps_nothing_of_this_one() -> None:
    """A step that broke may leave such an effect; a queue whose delivery stays brings no more."""
    pump, paper, _ = made(lambda out, _: out.keep(1))
    pump.take(delivered(codec.encode(PROBE)), now=0.0)
    pump.take(delivered(codec.encode(READING), number=2), now=0.1)
    assert paper.lines == [("settle", 2, Verdict.ACK)]


def test_a_lost_link_fails_what_was_open_and_forgets_deliveries() -> None:
    """They come again on the next generation; acking them there would close the channel."""
    pump, paper, machine = made(lambda out, _: out.send("agent.scope", PROBE))
    pump.take(delivered(codec.encode(PROBE)), now=0.0)
    pump.take(PortDown("cut"), now=0.1)
    assert machine.told[1:] == [Failed(1, "cut"), LinkDown("cut")]
    pump.take(PublishConfirmed(1), now=0.2)
    assert "settle" not in paper.verbs()
    pump.take(PortUp(2), now=0.3)
    assert isinstance(machine.told[-1], LinkUp)


def test_nothing_follows_a_record_that_was_not_written() -> None:
    """The failure is let out, and the delivery stays open for the next one to take."""

    def script(out: Effects, _: Input) -> None:
        out.record("committed")
        out.publish("section.go.default", PROBE)

    pump, paper, _ = made(script)
    paper.full = True
    with pytest.raises(JournalUnwritable):
        pump.take(delivered(codec.encode(PROBE)), now=0.0)
    assert paper.lines == []


def test_wakes_come_once_when_they_are_due() -> None:
    """Several due ones are one look."""

    def script(out: Effects, _: Input) -> None:
        for at in (5.0, 3.0, 3.5):
            out.wake(at)

    pump, _, machine = made(script)
    pump.feed(LinkUp(), now=0.0)
    assert pump.next_wake == 3.0
    assert not pump.wake_due(now=2.9)
    assert pump.wake_due(now=4.0)
    assert machine.told[1:] == [Woken()]
    assert pump.next_wake == 5.0


def test_what_cannot_be_encoded_fails_alone() -> None:
    """The rest of the step is done, the machine hears of it, and a timer's step survives it."""

    def script(out: Effects, _: Input) -> None:
        out.record("closed")
        out.send("reply.1", StepFinished(**{**STEP, "test": "x" * codec.MAX_BODY}))
        out.send("reply.1", StepFinished(**{**STEP, "test": "\udc80"}))
        out.publish("section.changed.default", PROBE)

    pump, paper, machine = made(script)
    pump.feed(Told("anything"), now=0.0)
    assert paper.verbs() == ["record", "publish"]
    too_large, no_text = machine.told[1:]
    assert isinstance(too_large, Failed)
    assert isinstance(no_text, Failed)
    assert (too_large.effect, no_text.effect) == (2, 3)
    assert "1048576 allowed" in too_large.reason
    pump.take(delivered(codec.encode(PROBE)), now=0.1)
    pump.take(PublishConfirmed(2), now=0.2)
    assert paper.lines[-1] == ("settle", 1, Verdict.ACK)


@pytest.mark.parametrize(
    ("message", "correlation"),
    [
        (Execute(task="ab" * 8, service="echo", command="PING", deadline=0.0), "ab" * 8),
        (
            Increment(
                worker="w",
                service="service.echo",
                instance="0" * 8,
                number=1,
                task="\U0001f600" * 255,
            ),
            None,
        ),
        (PROBE, None),
    ],
)
def test_what_is_answered_says_by_which_id(message: Message, correlation: str | None) -> None:
    """Also where nobody can read it; a text of anybody's, too long for a property, is none."""
    pump, paper, _ = made(lambda out, _: out.send("service.echo", message))
    pump.feed(Told(None), now=0.0)
    assert paper.properties[0].correlation_id == correlation
