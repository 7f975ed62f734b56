"""The loop around a pump: deadlines under a flood, and what other threads post."""

import time
from typing import cast

from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Delivered, PortEvent, Properties, Tag, Verdict
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.machine import Effect, Effects, Input, LinkUp, Received, Told, Woken
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import AskStatus


class Flooded:
    """A link on which two hundred messages have come in at once."""

    def __init__(self) -> None:
        body = codec.encode(AskStatus())
        self.waiting: list[PortEvent] = [
            Delivered(Tag(1, number), "q", "x", "k", Properties(), body, redelivered=False)
            for number in range(1, 201)
        ]

    def poll(self, timeout: float) -> list[PortEvent]:
        """Return all of them."""
        assert timeout >= 0
        events, self.waiting = self.waiting, []
        return events

    def settle(self, tag: Tag, verdict: Verdict) -> None:
        """Take every settlement."""

    def wake(self) -> None:
        """Return from the poll that is not under way."""


class Frozen(Flooded):
    """A link on which a process stood still in the middle of waiting."""

    def poll(self, timeout: float) -> list[PortEvent]:
        """Let the time pass that was to be waited and see nothing, though all is in the socket."""
        if timeout > 0:
            time.sleep(timeout)
            return []
        return super().poll(timeout)


class Slow:
    """A machine that wants to be woken soon, and takes a millisecond for every message."""

    def __init__(self) -> None:
        self.told: list[type[Input]] = []
        self.out = Effects()
        self.driver: Driver | None = None

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Note it, take the time, and post one more if it was posted."""
        self.told.append(type(message))
        if len(self.told) == 1:
            self.out.wake(now + 0.01)
        if isinstance(message, Received):
            time.sleep(0.001)
        elif isinstance(message, Told) and self.driver is not None and len(self.told) < 50:
            self.driver.post(Told("again"))
        return self.out.take()


def driven(flooded: type[Flooded] = Flooded) -> tuple[Driver, Slow]:
    """Join them."""
    link, machine = cast("Link", flooded()), Slow()
    machine.driver = Driver(link, Pump(machine, link, "lab", sender="me"))
    return machine.driver, machine


def test_a_flood_of_messages_does_not_make_a_deadline_late() -> None:
    """It is looked at between two of them."""
    driver, machine = driven()
    driver.turn(0.0)
    assert machine.told.count(Received) == 200
    assert machine.told.index(Woken) < 100


def test_what_came_while_the_process_stood_still_comes_before_the_deadlines() -> None:
    """It may be the very answer for which the deadline was."""
    driver, machine = driven(Frozen)
    driver.pump.feed(LinkUp(), now=time.monotonic())
    driver.turn(1.0)
    assert machine.told[1] is Received
    assert Woken in machine.told


def test_what_is_posted_in_answer_to_a_post_waits_for_the_next_turn() -> None:
    """Or a turn would never end."""
    driver, machine = driven()
    cast("Flooded", driver.link).waiting.clear()
    driver.post(Told("first"))
    driver.turn(0.0)
    assert machine.told.count(Told) == 1
    driver.turn(0.0)
    assert machine.told.count(Told) == 2
