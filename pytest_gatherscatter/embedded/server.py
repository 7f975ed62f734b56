"""The process around the sessions: sockets, signals, time, and its parent's life.

One thread and one event loop. Each connection is a protocol object that hands bytes to its
session and takes bytes from it; what one client's bytes make others hear is written by
:meth:`Server.settle`, which every event ends with.
"""

import asyncio
import errno
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from msgspec.structs import replace

from pytest_gatherscatter.embedded.address import (
    Place,
    former_place,
    hold_address,
    withdraw_address,
    write_address,
)
from pytest_gatherscatter.embedded.hub import Hub, Limits, Login
from pytest_gatherscatter.embedded.record import Profile
from pytest_gatherscatter.embedded.session import Session
from pytest_gatherscatter.host.process import process_start

HOST = "127.0.0.1"
USER = "gatherscatter"
# Twice a second is fine enough for the smallest heartbeat, which is one second.
_TICK = 0.5
# Above this much unsent data a client counts as not reading.
_HIGH_WATER = 256 * 1024
# Descriptors that are left for the process itself.
_SPARE_DESCRIPTORS = 32
# How long a former broker's port may still be in use: a client that tries to reach it can have
# it for its own end of a connection, for a moment.
_LINGER = 2.0
# Octets of randomness in the password and in server-made names.
_SECRET = 18


class Peer(asyncio.Protocol):
    """One client's socket."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.transport: asyncio.Transport | None = None
        self.session: Session | None = None
        self._reading = True
        self._stalled = False
        self._leaving = self._silent = False
        self._granted = False
        self._unsent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a client in, or turn it away when there are too many."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.session = self._server.enter(self)
        if self.session is None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the session."""
        if self.session is not None:
            self.session.receive(data, self._server.now())
            self._server.settle(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Tell the session that its client is gone."""
        if self.session is not None:
            self._server.leave(self, self.session)
            self.session = None

    def pause_writing(self) -> None:
        """The client does not read."""
        self._stalled = True
        if self.session is not None:
            self.session.stall()

    def resume_writing(self) -> None:
        """The client has read."""
        self._stalled = False
        self._server.settle(self)

    def write(self) -> None:
        """Send what the session has to say, and follow what it wants of the socket."""
        session, transport = self.session, self.transport
        if session is None or transport is None or transport.is_closing() or self._silent:
            return
        # Asyncio copies what the socket does not take; the rest waits where it is shared.
        while session.pending and not self._stalled:
            session.wrote(self._server.now())
            transport.write(session.take(_HIGH_WATER))
        if session.closed:
            self._leave(session, transport)
            return
        if session.blocked:
            self._server.blocked(self)
        # Who asks and does not read is not read either: answers would pile up here.
        full = self._stalled and session.unsent > self._server.limits.room
        reading = not (session.blocked or session.choked or full)
        if reading != self._reading:
            self._reading = reading
            if reading:
                transport.resume_reading()
            else:
                transport.pause_reading()
        if (session.starved or session.choked) and not (self._stalled or self._granted):
            self._granted = True
            self._server.grant(self)

    def _leave(self, session: Session, transport: asyncio.Transport) -> None:
        """Say nothing more than what waits, and hear nothing more.

        The client's end of it stays open for a moment: a socket that is closed with unread
        octets in it takes back even what it has said last.
        """
        if not self._leaving:
            self._leaving = True
            # A client that never reads the last bytes must not keep its socket.
            self._server.later(self._server.limits.farewell, transport.abort)
        if not session.pending:
            self._silent = True
            transport.write_eof()
            transport.resume_reading()

    def grant(self) -> None:
        """Let a client that reads have more of the vhost, and of what it asked for."""
        self._granted = False
        if self.session is not None and not self._stalled and not self._leaving:
            now = self._server.now()
            self.session.grant(now)
            self.session.proceed(now)
            self._server.settle(self)

    def tick(self) -> None:
        """Let time pass for the session."""
        if self.session is not None and self.transport is not None:
            now = self._server.now()
            left = self.transport.get_write_buffer_size() + self.session.unsent
            if not self._reading and left < self._unsent:
                self.session.drained(now)
            self._unsent = left
            self.session.tick(now)


class Server:
    """The broker as a process; see :func:`serve` for its life."""

    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        self.limits = hub.limits
        self._hub = hub
        self._loop = loop
        self._peers: dict[int, Peer] = {}
        self._numbers = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._blocked: dict[Peer, None] = {}
        self._ending = False
        self._deserted = asyncio.Event()

    def now(self) -> float:
        """The vhost's time."""
        return self._loop.time()

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call something after a while."""
        self._loop.call_later(seconds, call)

    def enter(self, peer: Peer) -> Session | None:
        """A session for a new client, or None when there are too many."""
        if len(self._peers) >= self.limits.connections or self._ending:
            return None
        self._numbers += 1
        session = Session(self._hub, self._numbers, self.now())
        self._peers[self._numbers] = peer
        return session

    def leave(self, peer: Peer, session: Session) -> None:
        """A client is gone."""
        del self._peers[cast("int", session.id)]
        self._blocked.pop(peer, None)
        session.lost(self.now())
        if not self._peers:
            self._deserted.set()
        self.settle(peer)

    def settle(self, first: Peer) -> None:
        """Write to everybody who has something to hear, the one who asked first."""
        first.write()
        talking = self._hub.talking
        while talking:
            peer = self._peers.get(cast("int", talking.popitem()[0]))
            if peer is not None:
                peer.write()
        self._relieve()
        self._schedule()

    def _relieve(self) -> None:
        if self._blocked and self._hub.relieved:
            waiting, self._blocked = self._blocked, {}
            for peer in waiting:
                if peer.session is not None:
                    peer.session.unblock(self.now())
                    peer.write()

    def blocked(self, peer: Peer) -> None:
        """Remember a publisher that waits for memory."""
        self._blocked[peer] = None

    def grant(self, peer: Peer) -> None:
        """Let a client have more, in its own turn of the loop: others have theirs before."""
        self._loop.call_soon(peer.grant)

    def _schedule(self) -> None:
        at = self._hub.vhost.next_deadline()
        if self._deadline is not None:
            if at == self._deadline.when():
                return
            self._deadline.cancel()
            self._deadline = None
        if at is not None:
            self._deadline = self._loop.call_at(at, self._expire)

    def _expire(self) -> None:
        self._deadline = None
        self._hub.vhost.expire(self.now())
        self._hub.flush()
        self._write_all()
        self._schedule()

    def tick(self) -> None:
        """Heartbeats and time limits of every connection."""
        for peer in list(self._peers.values()):
            peer.tick()
        self._hub.flush()
        self._write_all()
        self._schedule()

    def _write_all(self) -> None:
        for peer in list(self._peers.values()):
            peer.write()
        self._relieve()

    async def shut(self) -> None:
        """Tell every client, and give them a moment to hear it."""
        self._ending = True
        for peer in list(self._peers.values()):
            if peer.session is not None:
                peer.session.shut(self.now())
                peer.write()
        if self._peers:
            await _wait(self._deserted, self.limits.farewell)
        for peer in list(self._peers.values()):
            if peer.transport is not None:
                peer.transport.abort()


async def serve(  # noqa: PLR0913 - all that a broker is told
    path: Path,
    *,
    port: int = 0,
    parent: int | None = None,
    limits: Limits | None = None,
    profile: Profile = Profile.RABBITMQ_4_3,
    accepting: Callable[[], None] = lambda: None,
) -> None:
    """Run a broker until SIGTERM, SIGINT or the end of ``parent`` (a pid).

    The address file at ``path`` names it from when clients are accepted until the end. A broker
    that was there before hands its place over: with ``port`` 0 this one takes its port if that
    is free, and in any case but a new port of its own choice its password. ``profile``
    says which RabbitMQ's refusals are copied. ``accepting`` is called once clients are taken in.

    Raises:
        SettingsInvalid: another broker serves that address file.
        OSError: ``port`` is taken, or the file cannot be written.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if parent is not None:
        _watch(loop, parent, ended)
    lock = hold_address(path)
    try:
        server, listener, url = await _listen(port, former_place(path), limits or Limits(), profile)
        write_address(path, url)
        accepting()
        try:
            while not ended.is_set():
                server.tick()
                await _wait(ended, _TICK)
        finally:
            withdraw_address(path)
            listener.close()
            # Nobody is taken in any more: a successor need not wait for the farewells.
            lock.close()
            await server.shut()
    finally:
        lock.close()


async def _listen(
    port: int, former: Place | None, limits: Limits, profile: Profile
) -> tuple[Server, asyncio.Server, str]:
    """Accept clients at ``port``, else at the former broker's, else at a free one.

    Returns:
        The broker, its listening socket, and its URL.

    Raises:
        OSError: ``port`` is taken.
    """
    loop = asyncio.get_running_loop()
    hub = Hub(
        Login(USER, os.urandom(_SECRET).hex() if former is None else former.password),
        limits=_affordable(limits),
        wall=time.time() - loop.time(),
        name=lambda: os.urandom(_SECRET).hex(),
        profile=profile,
    )
    server = Server(hub, loop)
    end = loop.time() + _LINGER
    while True:
        try:
            listener = await loop.create_server(
                lambda: Peer(server),
                HOST,
                port or (0 if former is None else former.port),
                backlog=server.limits.connections,
            )
        except OSError as error:
            if port or former is None or error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
            if loop.time() >= end:
                # Whoever has it now may have heard the password from clients that came back.
                return await _listen(0, None, limits, profile)
            await asyncio.sleep(_TICK / 10)
        else:
            port = listener.sockets[0].getsockname()[1]
            login = hub.login
            return server, listener, f"amqp://{login.user}:{login.password}@{HOST}:{port}/%2F"


async def _wait(ended: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        pass


def _affordable(limits: Limits) -> Limits:
    """The limits with no more connections than there are descriptors for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + _SPARE_DESCRIPTORS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return replace(limits, connections=min(limits.connections, soft - _SPARE_DESCRIPTORS))


def _watch(loop: asyncio.AbstractEventLoop, parent: int, ended: asyncio.Event) -> None:
    """End with a process. Its pidfd tells; PR_SET_PDEATHSIG would tell of its thread only."""
    try:
        descriptor = os.pidfd_open(parent)
    except ProcessLookupError:
        ended.set()
        return
    except OSError:
        # A kernel or sandbox without pidfds: look each second.
        _poll(loop, parent, process_start(parent), ended)
        return
    loop.add_reader(descriptor, _parent_gone, loop, descriptor, ended)


def _parent_gone(loop: asyncio.AbstractEventLoop, descriptor: int, ended: asyncio.Event) -> None:
    loop.remove_reader(descriptor)
    os.close(descriptor)
    ended.set()


def _poll(
    loop: asyncio.AbstractEventLoop, parent: int, started: int | None, ended: asyncio.Event
) -> None:
    if started is None or process_start(parent) != started:
        ended.set()
    else:
        loop.call_later(1.0, _poll, loop, parent, started, ended)
