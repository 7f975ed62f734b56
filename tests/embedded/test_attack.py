"""Attacks over real sockets: the offender hears the right code and is gone, all others go on."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from brokerprocess import PATIENCE, Running, start, until
from pamqp import body, commands, header
from pamqp import frame as pamqp_frame
from pika.exceptions import AMQPConnectionError

from pytest_gatherscatter.broker.url import BrokerUrl, parse
from pytest_gatherscatter.embedded.address import read_address
from pytest_gatherscatter.embedded.frames import FRAME_MAX, PROTOCOL_HEADER, encode_frame
from pytest_gatherscatter.embedded.hub import Limits
from pytest_gatherscatter.embedded.server import serve

MIB = 1024 * 1024
PUBLISH = pamqp_frame.marshal(commands.Basic.Publish(routing_key="q"), 1)


def resident(broker: Running) -> int:
    """Octets of memory that a broker has."""
    status = Path(f"/proc/{broker.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


class Offender:
    """A client by hand, who keeps to no rule."""

    def __init__(self, broker: Running, *, login: bool = True, receive: int = 0) -> None:
        url = parse(broker.address.url)
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((url.host, url.port))
        self._held = b""
        if login:
            self.socket.sendall(PROTOCOL_HEADER)
            answer = f"\0{url.user}\0{url.password}"
            self.say(commands.Connection.StartOk({}, "PLAIN", answer), on=0)
            self.say(commands.Connection.TuneOk(2047, FRAME_MAX, 0), on=0)
            self.say(commands.Connection.Open(), on=0)
            self.say(commands.Channel.Open())
            self.say(commands.Queue.Declare(queue="q", durable=True))
            until(lambda: isinstance(self.heard(), commands.Queue.DeclareOk) or None, "the queue")

    def say(self, *frames: Any, on: int = 1) -> None:  # noqa: ANN401
        """Send sound frames."""
        self.socket.sendall(b"".join(pamqp_frame.marshal(frame, on) for frame in frames))

    def heard(self) -> Any:  # noqa: ANN401
        """The next frame, or None at the end."""
        while True:
            if len(self._held) >= 7:
                size = 8 + struct.unpack_from(">I", self._held, 3)[0]
                if len(self._held) >= size:
                    frame, self._held = self._held[:size], self._held[size:]
                    return pamqp_frame.unmarshal(frame)[2]
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._held += data

    def end(self) -> int | None:
        """The code by which the connection was closed, once the socket is; None without one."""
        code = None
        while (frame := self.heard()) is not None:
            if isinstance(frame, commands.Connection.Close):
                code = frame.reply_code
                self.say(commands.Connection.CloseOk(), on=0)
        self.socket.close()
        return code


@contextmanager
def others_go_on(broker: Running, most: int = 16 * MIB) -> Iterator[None]:
    """See that a client who was there before is served afterwards, and what it cost."""
    with broker.connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        queue = str(channel.queue_declare("", exclusive=True).method.queue)
        before = resident(broker)
        yield
        channel.basic_publish("", queue, b"still here", mandatory=True)
        assert channel.basic_get(queue, auto_ack=True)[2] == b"still here"
        assert resident(broker) - before < most


def _method(*numbers: int, arguments: bytes = b"", on: int = 1) -> bytes:
    return encode_frame(1, on, struct.pack(">HH", *numbers) + arguments)


def _declare(table: bytes) -> bytes:
    return _method(50, 10, arguments=b"\0\0\x01q\x02" + table)


def _header(size: int, properties: bytes = b"\0\0") -> bytes:
    return PUBLISH + encode_frame(2, 1, struct.pack(">HHQ", 60, 0, size) + properties)


ATTACKS: dict[str, tuple[bytes, int]] = {
    "unknown frame type": (b"\x05\0\x01\0\0\0\0\xce", 501),
    "wrong frame end": (_declare(bytes(4))[:-1] + b"\xcd", 501),
    "giant frame": (b"\x03\0\x01\xff\xff\xff\xff", 501),
    "frame past frame_max": (struct.pack(">BHI", 3, 1, FRAME_MAX - 7), 501),
    "giant method": (b"\x01\0\x01\0\0\xff\xff", 501),
    "heartbeat with a payload": (encode_frame(8, 0, b"x"), 501),
    "heartbeat on a channel": (encode_frame(8, 1, b""), 505),
    "table longer than its method": (_declare(b"\x7f\xff\xff\xff"), 502),
    "table of a negative size": (_declare(b"\xff\xff\xff\xff"), 502),
    "text longer than its table": (_declare(b"\0\0\0\x07\x01xS\0\0\xff\xff"), 502),
    "array of a negative size": (_declare(b"\0\0\0\x07\x01xA\x80\0\0\0"), 502),
    "unknown type in a table": (_declare(b"\0\0\0\x03\x01x?"), 502),
    "method without numbers": (encode_frame(1, 1, b"\0"), 503),
    "unknown method": (_method(77, 77), 503),
    "cut method": (_method(50, 10), 502),
    "header of a negative table": (_header(1, b"\x20\0\xff\xff\xff\xff"), 502),
    "header that does not end": (_header(1, b"\xff\xff" * 8), 502),
    "header longer than its properties": (_header(1, b"\0\0" + bytes(60_000)), 502),
    "header of another class": (
        PUBLISH + encode_frame(2, 1, struct.pack(">HHQH", 61, 0, 1, 0)),
        505,
    ),
    "body longer than announced": (_header(3) + encode_frame(3, 1, b"four"), 501),
    "header without a method": (_header(3)[len(PUBLISH) :], 505),
    "body without a header": (PUBLISH + encode_frame(3, 1, b"x"), 505),
    "body without a method": (encode_frame(3, 1, b"x"), 505),
    "method within a content": (_header(3) + _declare(bytes(4)), 505),
    "method on a channel that is not open": (
        _method(50, 10, arguments=b"\0\0\x01q\x02" + bytes(4), on=9),
        504,
    ),
    "content on a channel that is not open": (encode_frame(3, 9, b"x"), 505),
    "channel past the limit": (_method(20, 10, arguments=b"\0", on=5000), 530),
    "content on channel 0": (encode_frame(3, 0, b"x"), 505),
    "queue on channel 0": (_method(50, 10, arguments=b"\0\0\x01q\x02" + bytes(4), on=0), 504),
    "second login": (_method(10, 40, arguments=b"\x01/\0\0", on=0), 504),
    "delivery by a client": (_method(60, 60, arguments=b"\0" + bytes(9) + b"\0\0"), 503),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One broker for all attacks: it has to stand them one after the other."""
    running = start(tmp_path_factory.mktemp("attacked") / "broker.json")
    yield running
    running.process.terminate()
    assert running.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("name", ATTACKS)
def test_the_offender_hears_the_right_code(shared: Running, name: str) -> None:
    """And its socket is closed after it; a neighbour is served, memory stays."""
    data, code = ATTACKS[name]
    with others_go_on(shared):
        offender = Offender(shared)
        offender.socket.sendall(data)
        assert offender.end() == code


def test_a_stream_may_be_cut_anywhere(shared: Running) -> None:
    """Whoever is lost in the middle of a publish leaves nothing of it."""
    whole = _header(3) + encode_frame(3, 1, b"abc")
    with others_go_on(shared):
        for place in range(len(whole)):
            offender = Offender(shared)
            offender.socket.sendall(whole[:place])
            offender.socket.close()
        last = Offender(shared)
        last.say(commands.Queue.Declare(queue="q", passive=True))
        told = last.heard()
        assert isinstance(told, commands.Queue.DeclareOk)
        assert told.message_count == 0
        last.socket.close()


@pytest.mark.parametrize("greeting", [b"AMQP\0\0\x08\0", b"AMQP\x01\x01\0\x09", b"GET / HTTP/1.0"])
def test_a_stranger_hears_the_version_before_the_end(shared: Running, greeting: bytes) -> None:
    """Also one that goes on talking: closing on unread octets would take the answer back."""
    with others_go_on(shared):
        offender = Offender(shared, login=False)
        offender.socket.sendall(greeting + bytes(100_000))
        said = b""
        while data := offender.socket.recv(100):
            said += data
        assert said == PROTOCOL_HEADER
        offender.socket.close()


def test_who_only_sends_slowly_has_a_limit(tmp_path: Path) -> None:
    """An octet now and then is no login, and neither is silence; who is in is served.

    With a second where all others have ten: test_session.py has those.
    """

    async def ended(at: BrokerUrl, send: Callable[[asyncio.StreamWriter, int], None]) -> float:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        began = time.monotonic()
        for number in range(1000):
            with suppress(OSError):
                send(writer, number)
                async with asyncio.timeout(0.05):
                    while await reader.read(65536):
                        pass
                    writer.close()
                    return time.monotonic() - began
        pytest.fail("it was never turned away")

    def octet(writer: asyncio.StreamWriter, number: int) -> None:
        slowly = PROTOCOL_HEADER + bytes([1, 0, 0, 0, 0, 1, 0, 0, 10, 0, 11]) + bytes(1000)
        writer.write(slowly[number : number + 1])

    async def story() -> None:
        path, ready = tmp_path / "broker.json", asyncio.Event()
        limits = Limits(handshake=1.0)
        serving = asyncio.create_task(serve(path, limits=limits, accepting=ready.set))
        await ready.wait()
        address = read_address(path)
        assert address is not None
        at = parse(address.url)
        reader, writer = await asyncio.open_connection(at.host, at.port)
        answer = f"\0{at.user}\0{at.password}"
        writer.write(
            PROTOCOL_HEADER
            + pamqp_frame.marshal(commands.Connection.StartOk({}, "PLAIN", answer), 0)
            + pamqp_frame.marshal(commands.Connection.TuneOk(10, FRAME_MAX, 0), 0)
            + pamqp_frame.marshal(commands.Connection.Open(), 0)
            + pamqp_frame.marshal(commands.Channel.Open(), 1)
        )
        took = await asyncio.gather(ended(at, octet), ended(at, lambda _writer, _number: None))
        assert all(0.9 < seconds < 6 for seconds in took), took
        writer.write(pamqp_frame.marshal(commands.Queue.Declare(queue="q", exclusive=True), 1))
        await reader.readuntil(struct.pack(">HH", 50, 11))
        writer.close()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    asyncio.run(story())


def test_who_asks_and_does_not_read_is_not_read(shared: Running) -> None:
    """A megabyte that is taken and given back for ever costs some megabytes, once."""
    with others_go_on(shared, most=40 * MIB):
        offender = Offender(shared, receive=65536)
        content = bytes(100_000)
        parts = [body.ContentBody(content)] * 10
        sized = header.ContentHeader(0, len(content) * len(parts))
        offender.say(commands.Basic.Publish(routing_key="q"), sized, *parts)
        offender.socket.settimeout(2)
        get = pamqp_frame.marshal(commands.Basic.Get(queue="q"), 1)
        asked = b"".join(
            get + _method(60, 90, arguments=struct.pack(">QB", number, 1))
            for number in range(1, 300_000)
        )
        with pytest.raises(TimeoutError):
            offender.socket.sendall(asked)
        offender.socket.close()


def test_publishers_who_do_not_stop_are_not_read(tmp_path: Path) -> None:
    """Past the memory limit a publisher waits, as long as it takes, and costs no more."""
    running = start(tmp_path / "broker.json", "--memory", "16")
    with others_go_on(running, most=60 * MIB):
        offender = Offender(running, receive=65536)
        message = _header(100_000) + encode_frame(3, 1, bytes(100_000))
        offender.socket.settimeout(2)
        with pytest.raises(TimeoutError):
            offender.socket.sendall(message * 2000)
        offender.socket.close()
        with running.connect() as connection:
            connection.channel().queue_purge("q")
    running.process.terminate()
    assert running.process.wait(PATIENCE) == 0


def test_unfinished_messages_have_a_limit(tmp_path: Path) -> None:
    """Bodies that never end are held up to half of the memory, then the connection goes."""
    running = start(tmp_path / "broker.json", "--memory", "16")
    with others_go_on(running, most=40 * MIB):
        offender = Offender(running)
        for number in range(2, 40):
            offender.say(commands.Channel.Open(), on=number)
            part = _header(10 * MIB) + encode_frame(3, 1, bytes(100_000)) * 10
            parts = b"".join(one[:1] + number.to_bytes(2) + one[3:] for one in _cut(part))
            try:
                offender.socket.sendall(parts)
            except OSError:
                break
        assert offender.end() == 506
    running.process.terminate()
    assert running.process.wait(PATIENCE) == 0


def _cut(data: bytes) -> Iterator[bytes]:
    while data:
        end = 8 + struct.unpack_from(">I", data, 3)[0]
        yield data[:end]
        data = data[end:]


def test_connections_past_the_limit_are_turned_away(tmp_path: Path) -> None:
    """Three thousand of them: those who were there go on, and there is room again afterwards."""
    running = start(tmp_path / "broker.json")
    url = parse(running.address.url)
    sockets = []
    with others_go_on(running, most=60 * MIB):
        turned_away = 0
        for _ in range(3000):
            one = socket.create_connection((url.host, url.port), timeout=PATIENCE)
            sockets.append(one)
            if len(sockets) > 2050:
                one.settimeout(PATIENCE)
                try:
                    turned_away += not one.recv(1)
                except ConnectionResetError:
                    turned_away += 1
                if turned_away > 20:
                    break
        assert turned_away > 20
        for one in sockets:
            one.close()
    until(lambda: _room(running), "room")
    running.process.terminate()
    assert running.process.wait(PATIENCE) == 0


def _room(running: Running) -> bool | None:
    try:
        running.connect().close()
    except AMQPConnectionError:
        return None
    return True


def test_every_channel_of_many_connections(shared: Running) -> None:
    """Ten clients with all the channels that there are, and one more for each."""
    with others_go_on(shared, most=120 * MIB):
        offenders = [Offender(shared) for _ in range(10)]
        for offender in offenders:
            opens = b"".join(_method(20, 10, arguments=b"\0", on=n) for n in range(2, 2049))
            offender.socket.sendall(opens)
        assert [offender.end() for offender in offenders] == [530] * 10


def test_who_declares_without_end_is_refused(shared: Running) -> None:
    """Patterns of many words, which cost more memory than octets: 406 in time, others have room."""
    with others_go_on(shared, most=120 * MIB):
        offender = Offender(shared)
        offender.say(commands.Queue.Declare(queue="mine", exclusive=True))
        binds = (
            commands.Queue.Bind(
                queue="mine", exchange="amq.topic", routing_key=f"{n}" + ".a" * 120, nowait=True
            )
            for n in range(3000)
        )
        offender.say(*binds)
        until(lambda: isinstance(offender.heard(), commands.Queue.DeclareOk) or None, "the queue")
        close = offender.heard()
        assert isinstance(close, commands.Channel.Close)
        assert close.reply_code == 406
        assert "no more room" in close.reply_text
        with shared.connect() as connection:
            channel = connection.channel()
            channel.queue_bind(
                channel.queue_declare("", exclusive=True).method.queue, "amq.topic", "others"
            )
        offender.say(commands.Connection.Close(200, "bye", 0, 0), on=0)
        assert offender.end() is None
    with shared.connect() as connection:  # its queue is gone, and all that led to it
        connection.channel().queue_declare("mine", exclusive=True)
