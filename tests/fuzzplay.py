"""One connection under attack, without a socket: bytes in, the broker's code, bytes out, checked.

The input is what a client sends. One that starts with ``A`` is a stranger's, from the protocol
header on; any other is that of a client who has logged in and opened channels 1 and 2. So the
whole depth is in the reach of a few changed octets. ``tests/embedded/fuzz.py`` looks for inputs
that :func:`play` does not survive, ``tests/embedded/test_fuzz.py`` plays those that are known.
"""

import random
import struct
from pathlib import Path

from pamqp import body, commands, header
from pamqp import frame as pamqp_frame
from pamqp.common import FieldTable
from pika import spec

from pytest_gatherscatter.embedded.frames import PROTOCOL_HEADER
from pytest_gatherscatter.embedded.hub import Hub, Limits, Login
from pytest_gatherscatter.embedded.refusal import Code
from pytest_gatherscatter.embedded.session import Session

CORPUS = Path(__file__).parent / "embedded" / "corpus"
LIMITS = Limits(memory=1 << 20, message=1 << 16, channels=16, room=1 << 16)
MOST_AT_ONCE = LIMITS.room + LIMITS.message + (1 << 18)
"""What a session may hold for its client: its room, the last message, the last small answers."""

_FRAME = struct.Struct(">BHI")
_CLOSES = {(10, 50), (20, 40)}
_PROBE = b"still here"


def logged_in(hub: Hub, number: int) -> Session:
    """A session whose client has logged in and opened channels 1 and 2."""
    session = Session(hub, number, 0.0)
    session.receive(PROTOCOL_HEADER, 0.0)
    able: FieldTable = {"consumer_cancel_notify": True, "connection.blocked": True}
    for frame, on in (
        (commands.Connection.StartOk({"capabilities": able}, "PLAIN", "\0guest\0guest"), 0),
        (commands.Connection.TuneOk(hub.limits.channels, 131072, 10), 0),
        (commands.Connection.Open(), 0),
        (commands.Channel.Open(), 1),
        (commands.Channel.Open(), 2),
    ):
        session.receive(pamqp_frame.marshal(frame, on), 0.0)
    session.take()
    return session


def play(data: bytes, step: int = 1 << 18) -> bytes:
    """Give a connection these octets, ``step`` at a time, and return all that it says.

    Raises:
        AssertionError: it does what no broker must.
        Exception: whatever the broker lets through.
    """
    numbers = iter(range(1_000_000))
    hub = Hub(Login("guest", "guest"), limits=LIMITS, name=lambda: str(next(numbers)))
    neighbour = logged_in(hub, 1)
    declare = commands.Queue.Declare(queue="neighbour", exclusive=True)
    neighbour.receive(pamqp_frame.marshal(declare, 1), 0.0)
    neighbour.take()
    session = Session(hub, 2, 0.0) if data[:1] == b"A" else logged_in(hub, 2)
    said = []
    for start in range(0, len(data), step):
        session.receive(data[start : start + step], 1.0)
        said.append(_taken(session))
        while session.choked or session.starved:
            session.grant(1.0)
            session.proceed(1.0)
            said.append(_taken(session))
        assert hub.partial <= LIMITS.memory // 2 + step, "unfinished messages have no end"
    for _ in range(20):
        if (at := hub.vhost.next_deadline()) is None or at > 100:
            break
        hub.vhost.expire(at)
        hub.flush()
    session.tick(100.0)
    said.append(_taken(session))
    whole = b"".join(said)
    check(whole)
    assert hub.vhost.problems(100.0) == []
    _ask(neighbour)
    session.lost(100.0)
    assert hub.partial == 0, "half a message of a lost client is kept"
    assert hub.vhost.counts()["connections"] == 1
    assert hub.vhost.problems(100.0) == []
    return whole


def _taken(session: Session) -> bytes:
    data = session.take()
    assert len(data) <= MOST_AT_ONCE, f"{len(data)} octets wait for one client"
    return data


def _ask(neighbour: Session) -> None:
    """See that somebody else's messages come and go."""
    for frame in (
        commands.Basic.Publish(routing_key="neighbour"),
        header.ContentHeader(0, len(_PROBE)),
        body.ContentBody(_PROBE),
        commands.Basic.Get(queue="neighbour", no_ack=True),
    ):
        neighbour.receive(pamqp_frame.marshal(frame, 1), 100.0)
    assert _PROBE in neighbour.take(), "the neighbour is not served any more"


def check(said: bytes) -> None:
    """See that a broker's words are sound frames, its refusals known, its headers readable."""
    offset = len(PROTOCOL_HEADER) if said.startswith(PROTOCOL_HEADER) else 0
    missing = 0
    while offset < len(said):
        kind, _, size = _FRAME.unpack_from(said, offset)
        offset += _FRAME.size
        payload = said[offset : offset + size]
        offset += size + 1
        assert said[offset - 1] == 0xCE, "a frame without its end"
        if kind == 1:
            ids = struct.unpack_from(">HH", payload)
            if ids in _CLOSES:
                _check_close(payload)
        elif kind == 2:
            assert missing == 0, "a body is missing"
            # Another client decodes what this one has sent.
            spec.BasicProperties().decode(payload[12:])
            missing = int.from_bytes(payload[4:12])
        elif kind == 3:
            missing -= size
            assert missing >= 0, "a body is too long"
        else:
            assert (kind, size) == (8, 0)
    assert missing == 0


def _check_close(payload: bytes) -> None:
    code = Code(int.from_bytes(payload[4:6]))
    text = payload[7 : 7 + payload[6]].decode()
    assert text.startswith(f"{code.name} - "), text
    assert code is not Code.INTERNAL_ERROR or "is deprecated" in text, text


def frames(data: bytes) -> list[bytes]:
    """Cut a stream into frames; what is none is the last one."""
    found = []
    while len(data) > _FRAME.size:
        end = _FRAME.size + _FRAME.unpack_from(data)[2] + 1
        if end > len(data):
            break
        found.append(data[:end])
        data = data[end:]
    return [*found, data] if data else found


def mutate(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """Change a client's stream a little, mostly so that the frames stay frames."""
    parts = frames(data)
    if not parts:
        return other
    place = chance.randrange(len(parts))
    part = parts[place]
    match chance.randrange(8):
        case 0:
            parts.insert(chance.randrange(len(parts) + 1), part)
        case 1:
            del parts[place]
        case 2:
            parts[place:place] = frames(other)
        case 3:
            parts[place] = part[:1] + chance.randrange(18).to_bytes(2) + part[3:]
        case 4:
            parts[place] = part[: chance.randrange(len(part))]
        case 5:
            parts[place] = _changed(chance, part)
        case _:
            payload = _changed(chance, part[_FRAME.size : -1])
            parts[place] = part[:3] + len(payload).to_bytes(4) + payload + b"\xce"
    return b"".join(parts)


def _changed(chance: random.Random, data: bytes) -> bytes:
    """Change one to four octets, or put in or take out a few."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed) + 1)
        odd = chance.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, chance.randrange(256)))
        match chance.randrange(4):
            case 0:
                changed[place:place] = bytes([odd]) * chance.choice((1, 2, 4, 8))
            case 1:
                del changed[place : place + chance.choice((1, 2, 4, 8))]
            case _:
                changed[place : place + 1] = bytes([odd])
    return bytes(changed)
