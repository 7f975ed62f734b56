"""One connection's side of AMQP 0-9-1, without a socket.

``receive`` takes what came, ``take`` gives what shall go, ``tick`` lets time pass, and
``lost`` says that the client is gone. All are called from one thread, and none of them blocks
or raises for anything that a client can do: a client's fault ends its own connection with
RabbitMQ's code, and nobody else's.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum

from pamqp import base, commands

from pytest_gatherscatter.embedded.channel import NO_METHOD, ChannelSession
from pytest_gatherscatter.embedded.frames import (
    FRAME_MAX,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    PROTOCOL_HEADER,
    FrameReader,
    RawFrame,
)
from pytest_gatherscatter.embedded.handshake import Handshake
from pytest_gatherscatter.embedded.hub import Hub
from pytest_gatherscatter.embedded.method import decode_method, encode_method, method_id
from pytest_gatherscatter.embedded.record import ConnectionId, Output
from pytest_gatherscatter.embedded.refusal import AmqpError, Code

_CLOSE, _CLOSE_OK = (10, 50), (10, 51)
_CHANNEL_OPEN, _CHANNEL_CLOSE, _CHANNEL_CLOSE_OK = (20, 10), (20, 40), (20, 41)
_PUBLISH = (60, 40)
_OPEN_TWICE = "second 'channel.open' seen"
# A reply text is a short text; one that is cut ends as RabbitMQ's does.
_TEXT_MAX = 255
_CUT = "..."
# What one client may have done before others have their turn: some tens of milliseconds.
_MOST_FRAMES, _MOST_EFFORT = 1000, 1000


class Phase(Enum):
    """Where a connection is."""

    HEADER = "protocol header"
    HANDSHAKE = "handshake"
    RUNNING = "running"
    CLOSING = "Connection.CloseOk"
    CLOSED = "closed"


class Session:
    """One connection, from its protocol header to its end.

    Args:
        hub: the broker.
        id: its id in the vhost, never used twice.
        now: the vhost's time, in seconds.
    """

    def __init__(self, hub: Hub, id: ConnectionId, now: float) -> None:  # noqa: A002
        self.id = id
        self.phase = Phase.HEADER
        self.blocked = False
        self.frame_max = FRAME_MAX
        self._hub = hub
        self._handshake = Handshake(hub.login, hub.limits, hub.profile)
        self._reader = FrameReader()
        self._frames: deque[RawFrame] = deque()
        self._out: deque[bytes | memoryview] = deque()
        self.unsent = 0
        """Octets that wait for :meth:`take`."""
        self._channels: dict[int, ChannelSession] = {}
        # Those that were closed here, until the client agrees: nothing else is kept of them.
        self._closing: set[int] = set()
        self._heard = self._sent = self._since = now
        self._connected = False

    @property
    def capabilities(self) -> Mapping[str, object]:
        """What the client says that it can bear."""
        return self._handshake.capabilities

    # What a shell calls

    def receive(self, data: bytes, now: float) -> None:
        """Handle what the client sent."""
        self._heard = now
        if self.closed:
            return
        self._reader.feed(data)
        if self.phase is Phase.HEADER and not self._greet(now):
            return
        self.proceed(now)

    def proceed(self, now: float) -> None:
        """Handle the frames that came, until there is more than the client's room to be taken.

        A request of some octets may have an answer of megabytes: who asks for much in one
        breath has it bit by bit, and is read on when it has read. It may also be much work, of
        which others shall not have to wait for all. See :attr:`choked`.
        """
        ids = (0, 0)
        frames, enough = _MOST_FRAMES, self._hub.vhost.effort + _MOST_EFFORT
        try:
            while not self.closed:
                if not self._frames:
                    # A broken frame is no method's fault, least of all the one's before it.
                    ids = (0, 0)
                    self._frames.extend(self._reader.frames())
                if (
                    not self._frames
                    or self.unsent > self._hub.limits.room
                    or self._hub.vhost.effort >= enough
                    or not frames
                ):
                    break
                frames -= 1
                frame = self._frames.popleft()
                # Content belongs to a publish, so that is what a refusal names.
                ids = method_id(frame[2]) if frame[0] == METHOD else _PUBLISH
                self._handle(frame, ids, now)
                self._hub.flush()
        except AmqpError as error:
            self._close(error, ids, now)
        self._hub.flush()

    @property
    def choked(self) -> bool:
        """Whether frames of the client wait for :meth:`proceed`."""
        return bool(self._frames) and not self.closed

    def take(self, most: int | None = None) -> bytes:
        """What shall be sent, once: all of it, or as soon as it is ``most`` octets."""
        parts, size = [], 0
        while self._out and (most is None or size < most):
            parts.append(self._out.popleft())
            size += len(parts[-1])
        self.unsent -= size
        self._hub.unsent -= size
        return b"".join(parts)

    @property
    def closed(self) -> bool:
        """Whether the socket shall be closed once everything was sent."""
        return self.phase is Phase.CLOSED

    @property
    def pending(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._out)

    def tick(self, now: float) -> None:
        """Send a heartbeat when one is due, and end what has timed out."""
        if self.phase is Phase.CLOSING:
            if now - self._since >= self._hub.limits.farewell:
                self._end(now)
        elif self.phase not in {Phase.RUNNING, Phase.CLOSED}:
            if now - self._since >= self._hub.limits.handshake:
                self._end(now)
        elif self.phase is Phase.RUNNING and (heartbeat := self._handshake.heartbeat):
            # A blocked publisher is not read, so its silence says nothing.
            if not self.blocked and now - self._heard > 2 * heartbeat:
                self._end(now)
            elif now - self._sent >= heartbeat / 2:
                self.send(HEARTBEAT_FRAME)
                self._sent = now

    def wrote(self, now: float) -> None:
        """The shell has given bytes to the client, which is as good as a heartbeat."""
        self._sent = now

    def drained(self, now: float) -> None:
        """The client, who is not read, has read: it lives."""
        self._heard = now

    def lost(self, now: float) -> None:
        """The client is gone."""
        self._end(now)
        self._hub.flush()
        self._out.clear()
        self._hub.unsent -= self.unsent
        self.unsent = 0

    @property
    def starved(self) -> bool:
        """Whether it has had its room, so that :meth:`grant` may give it more."""
        return self._connected and self._hub.vhost.paused(self.id)

    def grant(self, now: float) -> None:
        """The client has read what it was sent: it may have more."""
        if self.starved:
            self._hub.vhost.resume(self.id, room=self._hub.limits.room, now=now)
            self._hub.flush()

    def stall(self) -> None:
        """The client does not read: nothing more is delivered to it."""
        if self._connected:
            self._hub.vhost.pause(self.id)

    def shut(self, now: float) -> None:
        """The broker ends: say so to the client."""
        if self.phase is Phase.RUNNING:
            self._close(AmqpError(Code.CONNECTION_FORCED, "broker shut down"), (0, 0), now)

    def block(self) -> None:
        """Memory is short: tell a publisher that it will not be read for a while."""
        self.blocked = True
        if self.capabilities.get("connection.blocked") is True:
            self._reply(commands.Connection.Blocked("low on memory"))

    def unblock(self, now: float) -> None:
        """Memory is there again."""
        self.blocked = False
        # Its silence while nobody read it must not count against it.
        self._heard = now
        running = self.phase is Phase.RUNNING
        if running and self.capabilities.get("connection.blocked") is True:
            self._reply(commands.Connection.Unblocked())

    # What channels and the hub call

    def send(self, data: bytes | memoryview) -> None:
        """Give bytes to the client."""
        if self.phase is not Phase.CLOSED:
            self._out.append(data)
            self.unsent += len(data)
            self._hub.unsent += len(data)
            self._hub.talking[self.id] = None

    def emit(self, output: Output) -> None:
        """Send what the vhost says to one of the channels."""
        assert isinstance(output.channel, tuple)  # noqa: S101 - as made in _open_channel
        channel = self._channels.get(output.channel[1])
        if channel is not None:
            channel.emit(output)

    # Frames

    def _greet(self, now: float) -> bool:
        header = self._reader.protocol_header()
        if header is None:
            return False
        if header != PROTOCOL_HEADER:
            # The specification's answer to a stranger: what would be understood, and good-bye.
            self.send(PROTOCOL_HEADER)
            self._end(now)
            return False
        self.phase = Phase.HANDSHAKE
        self._reply(self._handshake.start())
        return True

    def _handle(self, frame: RawFrame, ids: tuple[int, int], now: float) -> None:
        kind, number, payload = frame
        if self.phase is Phase.CLOSING:
            if number == 0 and ids in {_CLOSE, _CLOSE_OK}:
                if ids == _CLOSE:
                    self._reply(commands.Connection.CloseOk())
                self._end(now)
        elif kind == HEARTBEAT:
            if number:
                raise AmqpError(Code.UNEXPECTED_FRAME, "heartbeat on a channel")
        elif number == 0:
            if kind != METHOD:
                raise AmqpError(Code.UNEXPECTED_FRAME, "content on channel 0")
            self._handle_connection(decode_method(payload), now)
        elif self.phase is not Phase.RUNNING:
            raise AmqpError(Code.COMMAND_INVALID, f"expected {self._handshake.awaited.value}")
        else:
            self._handle_channel(number, kind, payload, ids, now)

    def _handle_connection(self, frame: base.Frame, now: float) -> None:
        if isinstance(frame, commands.Connection.Close):
            self._reply(commands.Connection.CloseOk())
            self._end(now)
        elif self.phase is Phase.HANDSHAKE:
            self._shake(frame, now)
        elif self.phase is Phase.RUNNING and isinstance(frame, commands.Connection.UpdateSecret):
            # The one password of this broker never expires, so there is nothing to renew.
            self._reply(commands.Connection.UpdateSecretOk())
        else:
            raise AmqpError(
                Code.CHANNEL_ERROR, f"unexpected method in connection state {self.phase.value}"
            )

    def _shake(self, frame: base.Frame, now: float) -> None:
        handshake = self._handshake
        answer = handshake.answer(frame)
        if handshake.refused:
            self._end(now)
            return
        self.frame_max = self._reader.frame_max = handshake.frame_max
        if handshake.done:
            self._hub.vhost.connect(self.id, handshake.user)
            self._hub.vhost.resume(self.id, room=self._hub.limits.room, now=now)
            self._hub.sessions[self.id] = self
            self._connected = True
            self.phase = Phase.RUNNING
        if answer is not None:
            self._reply(answer)

    # Channels

    def _handle_channel(
        self, number: int, kind: int, payload: bytes, ids: tuple[int, int], now: float
    ) -> None:
        channel = self._channels.get(number)
        if channel is None:
            if number in self._closing:
                self._handle_closing(number, ids)
            else:
                self._open_channel(number, kind, payload)
            return
        if ids == _CHANNEL_CLOSE:
            decode_method(payload)
            self._drop_channel(channel, now)
            self._reply(commands.Channel.CloseOk(), number)
        elif ids == _CHANNEL_OPEN:
            raise AmqpError(Code.CHANNEL_ERROR, _OPEN_TWICE)
        else:
            try:
                channel.receive(kind, payload, now)
            except AmqpError as error:
                if error.hard:
                    raise
                # Deliveries of the calls before it go out while the channel is open.
                self._hub.flush()
                self._drop_channel(channel, now)
                self._closing.add(number)
                self._reply(commands.Channel.Close(error.code, _short(error.text), *ids), number)
            # Only publishers: a consumer must be read, for its acks are what makes room.
            if ids == _PUBLISH and self._hub.full and not self.blocked:
                self.block()

    def _handle_closing(self, number: int, ids: tuple[int, int]) -> None:
        """What was on its way when the channel was closed has no meaning any more."""
        if ids == _CHANNEL_CLOSE:
            # Both closed at once: its close is answered, and its CloseOk to ours still comes.
            self._reply(commands.Channel.CloseOk(), number)
        elif ids == _CHANNEL_CLOSE_OK:
            self._closing.discard(number)
        elif ids == _CHANNEL_OPEN:
            raise AmqpError(Code.CHANNEL_ERROR, _OPEN_TWICE)

    def _open_channel(self, number: int, kind: int, payload: bytes) -> None:
        most = self._handshake.channel_max
        if number > most:
            raise AmqpError(
                Code.NOT_ALLOWED,
                f"channel number {number} is past the negotiated channel_max ({most})",
            )
        if kind != METHOD:
            raise AmqpError(Code.UNEXPECTED_FRAME, NO_METHOD)
        if not isinstance(decode_method(payload), commands.Channel.Open):
            raise AmqpError(Code.CHANNEL_ERROR, "expected 'channel.open'")
        channel = ChannelSession(self._hub, self, (self.id, number), number)
        self._hub.vhost.open_channel(self.id, channel.id)
        self._channels[number] = channel
        self._reply(commands.Channel.OpenOk(), number)

    def _drop_channel(self, channel: ChannelSession, now: float) -> None:
        channel.drop()
        del self._channels[channel.number]
        self._hub.vhost.close_channel(channel.id, now=now)

    # The end

    def _close(self, error: AmqpError, ids: tuple[int, int], now: float) -> None:
        if self.phase in {Phase.CLOSING, Phase.CLOSED}:
            # The stream cannot be followed any more, not even to a CloseOk.
            self._end(now)
            return
        self._disconnect(now)
        self.phase = Phase.CLOSING
        self._since = now
        self._reply(commands.Connection.Close(error.code, _short(error.text), *ids))

    def _end(self, now: float) -> None:
        self._disconnect(now)
        self.phase = Phase.CLOSED

    def _disconnect(self, now: float) -> None:
        if self._connected:
            self._connected = False
            del self._hub.sessions[self.id]
            for channel in self._channels.values():
                channel.drop()
            self._channels.clear()
            self._hub.vhost.disconnect(self.id, now=now)

    def _reply(self, frame: base.Frame, number: int = 0) -> None:
        self.send(encode_method(number, frame))


def _short(text: str) -> str:
    """At most 255 octets of a text, whole characters."""
    data = text.encode()
    if len(data) <= _TEXT_MAX:
        return text
    return data[: _TEXT_MAX - len(_CUT)].decode(errors="ignore") + _CUT
