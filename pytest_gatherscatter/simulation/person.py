"""A person at a terminal: holds a bench, lets go of it, resets the lab."""

from pytest_gatherscatter.machine import Effect, Effects, Input, Told
from pytest_gatherscatter.simulation.party import Party, reply_way
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.names import STEER_KEY, reply_key


class _Speaker:
    """Sends what it is told to send."""

    def __init__(self, reply: str) -> None:
        self._effects = Effects()
        self._reply = reply_key(reply)

    def handle(self, message: Input, *, now: float) -> list[Effect]:  # noqa: ARG002
        if isinstance(message, Told) and isinstance(message.request, Message):
            self._effects.send(STEER_KEY, message.request, reply_to=self._reply)
        return self._effects.take()


class Person(Party):
    """Somebody with the command line; says what it is given to say, if it can."""

    def begin(self) -> None:
        """Connect."""
        reply = self.world.id()
        self.connect(reply_way(reply, None))
        self.pump = self.join(_Speaker(reply), reply)

    def say(self, message: Message) -> None:
        """Say something to the gatherer, if there is a connection."""
        self.step(lambda: self._say_now(message))

    def _say_now(self, message: Message) -> None:
        if self.pump is not None:
            self.pump.feed(Told(message), now=self.now)
