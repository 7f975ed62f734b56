"""What the sessions of one broker share: the vhost, the login, the limits, and each other."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from pytest_gatherscatter.embedded.record import ConnectionId, Output, Profile
from pytest_gatherscatter.embedded.vhost import VHost


class Limits(Struct, frozen=True):
    """What one broker bears; sizes in bytes, times in seconds.

    ``memory`` is for queued messages and for what waits for slow readers: past it publishers are
    blocked until it is down to four fifths. Half as much again is for messages that are still on
    their way in. ``room`` is what a client is sent ahead of its reading.
    """

    memory: int = 256 * 1024 * 1024
    # RabbitMQ 4's default.
    message: int = 16 * 1024 * 1024
    # The design's largest lab has a thousand agents on few processes; each costs a descriptor.
    connections: int = 2000
    channels: int = 2047
    heartbeat: int = 60
    # RabbitMQ's own time for the handshake.
    handshake: float = 10.0
    # How long a client may take to answer Connection.Close before its socket is closed.
    farewell: float = 3.0
    room: int = 1024 * 1024
    # For all that is declared: the design's largest lab, a thousand agents with a queue, five
    # bindings and a connection each, weighs an eighth of it.
    declared: int = 64 * 1024 * 1024


class Receiver(Protocol):
    """A session, seen from the hub."""

    def emit(self, output: Output) -> None:
        """Send what the vhost says to one of its channels."""


class Login(Struct, frozen=True):
    """The one user of a broker."""

    user: str
    password: str


class Hub:
    """One broker: sessions over one vhost.

    Args:
        login: who may come in.
        limits: what it bears.
        wall: what must be added to ``now`` to have seconds since 1970, for x-death.
        name: gives the random part of server-made names, see :class:`VHost`.
        profile: which RabbitMQ's refusals are copied.
    """

    def __init__(
        self,
        login: Login,
        *,
        limits: Limits | None = None,
        wall: float = 0.0,
        name: Callable[[], str] | None = None,
        profile: Profile = Profile.RABBITMQ_4_3,
    ) -> None:
        self.login = login
        self.limits = limits or Limits()
        self.wall = wall
        self.profile = profile
        self.vhost = VHost(profile=profile, name=name, declared=self.limits.declared)
        # Octets of messages that are on their way in, and of what waits for slow readers.
        self.partial = self.unsent = 0
        self.sessions: dict[ConnectionId, Receiver] = {}
        # Sessions with something to send, for the shell to write.
        self.talking: dict[ConnectionId, None] = {}

    def flush(self) -> None:
        """Hand everything that the vhost has to say to its sessions, in order."""
        for output in self.vhost.drain():
            channel = output.channel
            # Sessions name their channels (session, number).
            assert isinstance(channel, tuple)  # noqa: S101
            session = self.sessions.get(channel[0])
            if session is not None:
                session.emit(output)

    @property
    def full(self) -> bool:
        """Whether publishers have to wait."""
        return self.vhost.bytes_held + self.unsent > self.limits.memory

    @property
    def relieved(self) -> bool:
        """Whether blocked publishers may go on; lower than full, so that it does not flutter."""
        return self.vhost.bytes_held + self.unsent <= self.limits.memory * 4 // 5
