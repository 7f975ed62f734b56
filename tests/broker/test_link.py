"""The link, on each broker: what holds on the embedded one holds on RabbitMQ."""

import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import rabbitmq
import trustme
from faultproxy import FaultProxy
from peer import Peer
from pika.heartbeat import HeartbeatChecker

from pytest_gatherscatter.broker import comeback
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.outbox import Outbox
from pytest_gatherscatter.broker.port import (
    ConsumeCancelled,
    Delivered,
    PortDown,
    PortEvent,
    PortUp,
    Properties,
    PublishConfirmed,
    PublishReturned,
    Tag,
    Verdict,
)
from pytest_gatherscatter.broker.topology import (
    Binding,
    Consumer,
    Exchange,
    Queue,
    Topology,
    lab_topology,
    reply_topology,
)
from pytest_gatherscatter.broker.topology.sections import gatherer_topology, section_topology
from pytest_gatherscatter.broker.topology.slips import processor_topology
from pytest_gatherscatter.broker.upkeep import Upkeep
from pytest_gatherscatter.broker.url import parse
from pytest_gatherscatter.embedded.frames import PROTOCOL_HEADER
from pytest_gatherscatter.embedded.hub import Hub, Login
from pytest_gatherscatter.embedded.session import Session
from pytest_gatherscatter.errors import (
    BrokerLost,
    BrokerRefused,
    BrokerUnreachable,
    LoginRefused,
    NameTaken,
    SettingsInvalid,
)
from pytest_gatherscatter.wire import names

PLAIN = Properties(type="t.1", message_id="m1")


@contextlib.contextmanager
def up(url: str, topology: Topology, **more: bool) -> Iterator[Link]:
    """Open a link that has told its ``PortUp`` already."""
    with Link(url, topology, name="test", **more) as link:
        link.open(10)
        assert link.poll(1) == [PortUp(link.generation)]
        yield link


def until(
    link: Link, done: Callable[[list[PortEvent]], bool], timeout: float = 10
) -> list[PortEvent]:
    """Poll until what has happened is enough."""
    events: list[PortEvent] = []
    end = time.monotonic() + timeout
    while not done(events):
        assert time.monotonic() < end, events
        events += link.poll(0.2)
    return events


def some(kind: type[PortEvent], count: int = 1) -> Callable[[list[PortEvent]], bool]:
    """Enough is ``count`` events of ``kind``."""
    return lambda events: sum(isinstance(event, kind) for event in events) >= count


def proxy_of(url: str) -> tuple[FaultProxy, str]:
    """Put a fault proxy before a broker."""
    parsed = parse(url)
    proxy = FaultProxy(parsed.host, parsed.port)
    return proxy, url.replace(f":{parsed.port}", f":{proxy.port}")


def descriptors() -> set[tuple[str, str]]:
    """What this process keeps open."""
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - no Path needed for a number
        with contextlib.suppress(OSError):
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))  # noqa: PTH115
    return found


def sockets(link: Link) -> set[str]:
    """The sockets of the link's connections, as the kernel names them."""
    assert link._upkeep.loop is not None
    return {os.readlink(f"/proc/self/fd/{fd}") for fd in link._upkeep.loop.sockets}  # noqa: PTH115


# ── opening and closing ────────────────────────────────────────────────────────────────


def test_open_and_close_leave_nothing(broker_url: str, lab: str) -> None:
    """After close there is no descriptor and no thread; between, no thread either."""
    threads, before = threading.enumerate(), descriptors()
    link = Link(broker_url, gatherer_topology(lab), name="test")
    for generation in (1, 2):
        link.open(10)
        assert link.up
        assert threading.enumerate() == threads
        assert descriptors() > before
        assert link.poll(1) == [PortUp(generation)]
        link.close()
        assert not link.up
        assert descriptors() == before
    link.close()
    assert threading.enumerate() == threads


def test_closing_sends_what_waits(broker_url: str, lab: str) -> None:
    """What was published just before close is with the broker, and its outcome is told."""
    with up(broker_url, gatherer_topology(lab)) as other:
        with up(broker_url, lab_topology(lab)) as link:
            number = link.publish(
                names.direct_exchange(lab), names.GATHERER_KEY, b"last", PLAIN, mandatory=True
            )
        assert link.poll(0) == [PublishConfirmed(number)]
        (event,) = until(other, some(Delivered))
        assert isinstance(event, Delivered)
        assert event.body == b"last"


def test_a_close_that_nobody_answers_is_bounded(broker_url: str, lab: str) -> None:
    """Behind a dead line, close takes its timeout and still leaves nothing."""
    proxy, url = proxy_of(broker_url)
    with proxy:
        link = Link(url, gatherer_topology(lab), name="test")
        link.open(10)
        mine = sockets(link)
        assert mine
        proxy.stall()
        link.publish(names.event_exchange(lab), "x.y", b"", PLAIN, mandatory=False)
        start = time.monotonic()
        link.close(timeout=0.3)
        assert time.monotonic() - start < 1.3
        assert not mine & {target for _, target in descriptors()}


def test_the_name_is_taken(broker_url: str, lab: str) -> None:
    """Who comes second for an exclusive queue is told so, and can have it afterwards."""
    with up(broker_url, gatherer_topology(lab)):
        second = Link(broker_url, gatherer_topology(lab), name="second")
        with pytest.raises(NameTaken) as caught:
            second.open(10, retry=True)
        assert caught.value.code == 405
    second.open(10)
    assert second.up
    second.close()


@pytest.mark.parametrize("change", ["password", "user", "vhost"])
def test_a_refused_login(broker_url: str, lab: str, change: str) -> None:
    """A login that is refused is not tried again, and no password is in what is said."""
    parsed = parse(broker_url)
    user, password, vhost = parsed.user, parsed.password or "", ""
    if change == "password":
        password = "wr0ng"  # noqa: S105 - wrong on purpose
    elif change == "user":
        user = "nobody-of-this-name"
    else:
        vhost = "/no-such-vhost"
    url = f"amqp://{user}:{password}@{parsed.host}:{parsed.port}{vhost}"
    start = time.monotonic()
    with pytest.raises(LoginRefused) as caught:
        Link(url, lab_topology(lab), name="test").open(10, retry=True)
    assert time.monotonic() - start < 5
    assert f":{password}" not in str(caught.value)


def test_a_refused_declare(broker_url: str, lab: str) -> None:
    """A declare that does not fit what is there is a refusal with the broker's code."""
    with up(broker_url, lab_topology(lab)):
        other = Topology(exchanges=(Exchange(names.event_exchange(lab), kind="fanout"),))
        with pytest.raises(BrokerRefused) as caught:
            Link(broker_url, other, name="test").open(10, retry=True)
        assert caught.value.code == 406
        bound = Topology(
            queues=(Queue(f"{lab}.q", exclusive=True),),
            bindings=(Binding(f"{lab}.q", f"{lab}.nowhere", "#"),),
        )
        with pytest.raises(BrokerRefused) as caught:
            Link(broker_url, bound, name="test").open(10)
        assert caught.value.code == 404


def test_nobody_there_is_bounded(lab: str) -> None:
    """A closed port is told at once, or after the deadline if asked to retry."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"amqp://guest:s3cret@127.0.0.1:{port}"
    before = descriptors()
    start = time.monotonic()
    with pytest.raises(BrokerUnreachable, match="refused") as caught:
        Link(url, lab_topology(lab), name="test").open(5)
    assert time.monotonic() - start < 1
    assert "s3cret" not in str(caught.value)
    start = time.monotonic()
    with pytest.raises(BrokerUnreachable):
        Link(url, lab_topology(lab), name="test").open(0.4, retry=True)
    assert 0.35 < time.monotonic() - start < 2
    assert descriptors() == before


def test_a_server_that_says_nothing_is_bounded(lab: str) -> None:
    """Something listens and never answers: the deadline ends it, at any phase."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
        before = descriptors()
        start = time.monotonic()
        with pytest.raises(BrokerUnreachable, match=r"no answer within 0\.2 s"):
            Link(url, lab_topology(lab), name="test").open(0.2)
        assert time.monotonic() - start < 2
        assert descriptors() == before


def test_a_host_that_swallows_everything_is_bounded(lab: str) -> None:
    """Not even a connection comes to be, as behind a firewall: here because the queue is full."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _ in range(3):
            full = stack.enter_context(socket.socket())
            full.setblocking(False)  # noqa: FBT003 - the module's own
            full.connect_ex(hole.getsockname())
        before, threads = descriptors(), threading.enumerate()
        link = Link(f"amqp://127.0.0.1:{hole.getsockname()[1]}", lab_topology(lab), name="test")
        start = time.monotonic()
        with pytest.raises(BrokerUnreachable, match=r"no answer within 0\.3 s"):
            link.open(0.3, retry=True)
        assert time.monotonic() - start < 2
        assert (descriptors(), threading.enumerate()) == (before, threads)


class Dying(threading.Thread):
    """A broker that dies when it has heard so many frames, and is itself again afterwards."""

    def __init__(self, frames: int) -> None:
        super().__init__(daemon=True)
        self.died = False
        self._frames = frames
        self._hub = Hub(Login("u", "p"))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"amqp://u:p@127.0.0.1:{self._listener.getsockname()[1]}"
        self.start()

    def run(self) -> None:
        """Serve one connection after the other."""
        with self._listener, contextlib.suppress(OSError):
            for number in (1, 2):
                peer, _ = self._listener.accept()
                with peer:
                    self._serve(peer, Session(self._hub, number, 0.0))

    def end(self) -> None:
        """Take nobody in any more."""
        with contextlib.suppress(OSError):  # or it has ended by itself
            self._listener.shutdown(socket.SHUT_RDWR)
        self.join(10)

    def _serve(self, peer: socket.socket, session: Session) -> None:
        held = bytearray()
        greeting = len(PROTOCOL_HEADER)
        while not session.closed and (data := peer.recv(65536)):
            held += data
            # A frame's length is known with its seventh octet.
            while len(held) >= (size := greeting or 8 + int.from_bytes(held[3:7])) > 0:
                if not greeting and len(held) < 8:
                    break
                self._frames -= 1
                if self._frames < 0 and not self.died:
                    self.died = True
                    session.lost(0.0)
                    return
                session.receive(bytes(held[:size]), 0.0)
                del held[:size]
                greeting = 0
            peer.sendall(session.take())
        session.lost(0.0)


def test_a_broker_that_dies_at_any_step_of_opening(
    lab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first word of it, after the last one, and in the middle of any declare."""
    monkeypatch.setattr("pytest_gatherscatter.broker.upkeep.FIRST_WAIT", 0.0)
    monkeypatch.setattr(comeback, "FIRST_WAIT", 0.001)
    before = descriptors()
    for step in range(100):
        broker = Dying(step)
        with Link(broker.url, gatherer_topology(lab), name="test") as link:
            link.open(10, retry=True)
            assert link.poll(1) == [PortUp(1)]
            over = not broker.died
        broker.end()
        if over:
            break
    assert step > 15
    assert descriptors() == before


def test_silence_is_told_with_the_whole_patience(lab: str) -> None:
    """The last of several attempts has a sliver of the time, which nobody wants to know."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
        link = Link(url, lab_topology(lab), name="test", connect_timeout=0.1)
        with pytest.raises(BrokerUnreachable, match=r"no answer within 0\.3 s"):
            link.open(0.3, retry=True)


def test_something_that_is_no_broker(lab: str) -> None:
    """A web server on that port is no broker, and is said to be none without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            for _ in range(2):
                peer, _address = other.accept()
                with peer:
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"amqp://127.0.0.1:{other.getsockname()[1]}"
        for _ in range(2):
            with pytest.raises(BrokerUnreachable):
                Link(url, lab_topology(lab), name="test").open(3)
        thread.join()


def test_opening_waits_for_a_broker_that_comes(broker_url: str, lab: str) -> None:
    """With retry, a broker that is not yet there is waited for."""
    proxy, url = proxy_of(broker_url)
    with proxy:
        proxy.refuse()
        timer = threading.Timer(0.2, proxy.refuse, kwargs={"on": False})
        timer.start()
        link = Link(url, lab_topology(lab), name="test")
        link.open(20, retry=True)
        assert link.up
        link.close()
        timer.join()


def test_opening_can_be_cancelled(lab: str) -> None:
    """Another thread ends an open that would go on for a minute."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    link = Link(f"amqp://127.0.0.1:{port}", lab_topology(lab), name="test")
    timer = threading.Timer(0.2, link.cancel)
    timer.start()
    start = time.monotonic()
    with pytest.raises(BrokerUnreachable, match="cancelled"):
        link.open(60, retry=True)
    assert time.monotonic() - start < 3
    timer.join()


def test_a_missing_ca_file_is_named(lab: str) -> None:
    """A file of the URL that cannot be read is a mistake in the settings, by name."""
    link = Link("amqps://127.0.0.1/?cacertfile=/no/such/ca.pem", lab_topology(lab), name="test")
    with pytest.raises(SettingsInvalid, match=r"cacertfile: /no/such/ca.pem"):
        link.open(5)


# ── publishing and settling ────────────────────────────────────────────────────────────


def test_a_publish_is_confirmed_or_returned(broker_url: str, lab: str) -> None:
    """Each publish has one outcome: confirmed where a queue is, returned where none is."""
    to = names.direct_exchange(lab)
    with up(broker_url, gatherer_topology(lab)) as link:
        here = link.publish(to, names.GATHERER_KEY, b"x", PLAIN, mandatory=True)
        nowhere = link.publish(to, names.agent_key("nobody"), b"x", PLAIN, mandatory=True)
        event = link.publish(names.event_exchange(lab), "a.b.c", b"x", PLAIN, mandatory=False)
        events = until(link, lambda events: len(events) >= 4)
        assert link.unconfirmed == 0
        assert link.poll(0.05) == []
    outcomes = {item for item in events if not isinstance(item, Delivered)}
    assert outcomes == {
        PublishConfirmed(here),
        PublishReturned(nowhere, "NO_ROUTE"),
        PublishConfirmed(event),
    }


def test_an_absent_party_is_told_within_milliseconds(broker_url: str, lab: str) -> None:
    """That nobody is there is known in the time of one round trip."""
    with up(broker_url, lab_topology(lab)) as link:
        took = []
        for _ in range(20):
            start = time.perf_counter()
            number = link.publish(
                names.direct_exchange(lab), names.GATHERER_KEY, b"x", PLAIN, mandatory=True
            )
            assert until(link, some(PublishReturned)) == [PublishReturned(number, "NO_ROUTE")]
            took.append(time.perf_counter() - start)
    assert sorted(took)[10] < 0.05


def test_equal_letters_have_an_outcome_each(broker_url: str, lab: str) -> None:
    """A return has no tag; equal letters are told apart by their order."""
    with up(broker_url, lab_topology(lab)) as link:
        numbers = {
            link.publish(names.direct_exchange(lab), "nobody", b"same", PLAIN, mandatory=True)
            for _ in range(50)
        }
        events = until(link, some(PublishReturned, 50))
        assert {event.number for event in events if isinstance(event, PublishReturned)} == numbers
        assert len(events) == 50


def test_what_is_published_is_what_arrives(broker_url: str, lab: str) -> None:
    """Body, key, exchange and all properties come through, also empty and large bodies."""
    to = names.direct_exchange(lab)
    with up(broker_url, gatherer_topology(lab)) as link:
        full = Properties(
            type="t.1",
            message_id="m",
            correlation_id="c",
            reply_to="reply.x",
            user_id=link.user,
            ttl=60.0,
            headers={"gs-reason": "größer", "count": 7},
        )
        sent = [(b"", PLAIN), (bytes(range(256)) * 2000, full)]
        began = int(time.time())
        for body, properties in sent:
            link.publish(to, names.GATHERER_KEY, body, properties, mandatory=True)
        events = [e for e in until(link, some(Delivered, 2)) if isinstance(e, Delivered)]
    for event, (body, properties) in zip(events, sent, strict=True):
        assert event.body == body
        said_at = event.properties.timestamp
        assert said_at is not None
        assert began <= said_at <= time.time()
        assert event.properties == msgspec.structs.replace(properties, timestamp=said_at)
    assert {(e.queue, e.exchange, e.key) for e in events} == {
        (names.gatherer_queue(lab), to, names.GATHERER_KEY)
    }


def test_a_forged_user_costs_the_connection(broker_url: str, lab: str) -> None:
    """The broker refuses a ``user_id`` that is not the login, and the link says so."""
    with up(broker_url, lab_topology(lab)) as link:
        link.publish(
            names.event_exchange(lab), "a.b", b"", Properties(user_id="root"), mandatory=False
        )
        (event,) = until(link, some(PortDown))
        assert isinstance(event, PortDown)
        assert "406" in event.reason


def test_verdicts(broker_url: str, lab: str) -> None:
    """Acked is gone, requeued comes again marked as such, dead goes to the dead letters."""
    to, dead = names.direct_exchange(lab), names.dead(lab)
    with up(broker_url, gatherer_topology(lab)) as link:

        def deliver(body: bytes) -> Delivered:
            link.publish(to, names.GATHERER_KEY, body, PLAIN, mandatory=True)
            events = until(link, lambda e: some(Delivered)(e) and some(PublishConfirmed)(e))
            return next(event for event in events if isinstance(event, Delivered))

        link.settle(deliver(b"acked").tag, Verdict.ACK)
        again = deliver(b"requeued")
        assert not again.redelivered
        link.settle(again.tag, Verdict.REQUEUE)
        (back,) = until(link, some(Delivered))
        assert isinstance(back, Delivered)
        assert (back.body, back.redelivered) == (b"requeued", True)
        link.settle(back.tag, Verdict.ACK)
        link.settle(deliver(b"dead").tag, Verdict.DEAD)
        end = time.monotonic() + 5
        while link.queue_depth(dead) != (1, 0):
            assert time.monotonic() < end
        assert link.queue_depth(names.gatherer_queue(lab)) == (0, 1)


def test_settling_twice_or_late_is_ignored(broker_url: str, lab: str) -> None:
    """A tag that is settled, unknown or of another generation does not hurt the channel."""
    with up(broker_url, gatherer_topology(lab)) as link:
        link.publish(names.direct_exchange(lab), names.GATHERER_KEY, b"x", PLAIN, mandatory=True)
        events = until(link, lambda e: some(Delivered)(e) and some(PublishConfirmed)(e))
        tag = next(event.tag for event in events if isinstance(event, Delivered))
        link.settle(Tag(tag.generation - 1, tag.number), Verdict.ACK)
        link.settle(Tag(tag.generation, 99), Verdict.ACK)
        for verdict in (Verdict.ACK, Verdict.ACK, Verdict.REQUEUE):
            link.settle(tag, verdict)
        assert link.poll(0.2) == []
        assert link.queue_depth(names.gatherer_queue(lab)) == (0, 1)


def test_each_consumer_has_its_own_prefetch(broker_url: str, lab: str) -> None:
    """A queue that is full of unsettled deliveries does not hold up the other one."""
    one, two = f"{lab}.one", f"{lab}.two"
    exchange = names.direct_exchange(lab)
    topology = lab_topology(lab) + Topology(
        queues=(Queue(one, exclusive=True), Queue(two, exclusive=True)),
        bindings=(Binding(one, exchange, "one"), Binding(two, exchange, "two")),
        consumers=(Consumer(one, prefetch=2), Consumer(two, prefetch=5)),
    )
    with up(broker_url, topology) as link:
        for key in ("one", "two"):
            for _ in range(7):
                link.publish(exchange, key, b"x", PLAIN, mandatory=True)
        events = until(link, lambda e: some(PublishConfirmed, 14)(e) and some(Delivered, 7)(e))
        events += link.poll(0.2)
        queues = [event.queue for event in events if isinstance(event, Delivered)]
        assert (queues.count(one), queues.count(two)) == (2, 5)


# ── waiting and waking ─────────────────────────────────────────────────────────────────


def test_poll_waits_no_longer_than_told(broker_url: str, lab: str) -> None:
    """Nothing happens: the time passes, and an empty list comes."""
    with up(broker_url, lab_topology(lab)) as link:
        for timeout in (0.0, 0.2):
            start = time.monotonic()
            assert link.poll(timeout) == []
            assert timeout <= time.monotonic() - start < timeout + 0.2


def test_another_thread_wakes_poll(broker_url: str, lab: str) -> None:
    """A wake during a poll ends it, one before it ends the next, and then it is used up."""
    with up(broker_url, lab_topology(lab)) as link:
        timer = threading.Timer(0.2, link.wake)
        timer.start()
        start = time.monotonic()
        assert link.poll(10) == []
        assert time.monotonic() - start < 2
        timer.join()
        link.wake()
        assert link.poll(10) == []
        assert time.monotonic() - start < 4
        start = time.monotonic()
        link.poll(0.2)
        assert time.monotonic() - start >= 0.2


class Ended(KeyboardInterrupt):
    """What a command makes of SIGTERM: Ctrl-C in all but name."""


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    """Interrupt the block in the middle of its wait; the interrupt ends in a frame of ours."""

    def end(_number: int, _frame: object) -> None:
        raise Ended

    before = signal.signal(signal.SIGUSR1, end)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    start = time.monotonic()
    try:
        with pytest.raises(Ended) as caught:
            yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert Path(caught.traceback[-1].path).name == "interrupt.py"
    assert time.monotonic() - start < 2


def test_an_interrupt_tears_nothing(
    embedded_url: str, lab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while pika reads strikes when it has read: nothing is lost, the link stays up."""
    take = Upkeep._tell
    struck: list[PortEvent] = []

    def tell(self: Upkeep, event: PortEvent) -> None:
        if isinstance(event, PublishConfirmed) and not struck:
            struck.append(event)
            signal.raise_signal(signal.SIGINT)
        take(self, event)

    monkeypatch.setattr(Upkeep, "_tell", tell)
    before = signal.getsignal(signal.SIGINT)
    with up(embedded_url, gatherer_topology(lab)) as link:
        key, exchange = names.GATHERER_KEY, names.direct_exchange(lab)
        numbers = [link.publish(exchange, key, b"{}", PLAIN, mandatory=True) for _ in range(3)]
        with pytest.raises(KeyboardInterrupt):
            until(link, some(PortDown))
        assert signal.getsignal(signal.SIGINT) is before
        events = until(link, some(Delivered, 3))
        found = [event.number for event in events if isinstance(event, PublishConfirmed)]
        assert found == numbers
        assert link.up


def test_an_interrupted_open_leaves_nothing(lab: str) -> None:
    """Ctrl-C while nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        before = descriptors()
        link = Link(f"amqp://127.0.0.1:{silent.getsockname()[1]}", lab_topology(lab), name="test")
        with interrupted():
            link.open(5)
        assert descriptors() == before


def test_each_wait_can_be_interrupted(embedded_url: str, lab: str) -> None:
    """Whatever the link waits for on a dead line; afterwards it can still be closed."""
    proxy, url = proxy_of(embedded_url)
    with proxy, up(url, gatherer_topology(lab)) as link:
        proxy.stall()
        for wait in (
            lambda: link.poll(5),
            lambda: link.queue_depth(names.dead(lab)),
            lambda: link.delete_queue(names.section_queue(lab, "0123abcd")),
            lambda: link.declare(section_topology(lab, "0123abcd", prefetch=1)),
        ):
            with interrupted():
                wait()
        assert link.up
        proxy.cut()  # or closing would take its whole time


def test_an_interrupted_close_leaves_nothing(embedded_url: str, lab: str) -> None:
    """A person who does not wait for the last confirms has everything closed all the same."""
    proxy, url = proxy_of(embedded_url)
    with proxy, up(url, gatherer_topology(lab)) as link:
        mine = sockets(link)
        proxy.stall()
        link.publish(names.event_exchange(lab), "x.y", b"", PLAIN, mandatory=False)
        with interrupted():
            link.close(timeout=10)
        assert not link.up
        assert not mine & {target for _, target in descriptors()}


# ── losing and coming back ─────────────────────────────────────────────────────────────


def test_a_lost_connection_is_an_event(broker_url: str, lab: str) -> None:
    """Without reconnect: PortDown, publishes are returned with the reason, open works again."""
    proxy, url = proxy_of(broker_url)
    with proxy, up(url, gatherer_topology(lab)) as link:
        proxy.cut()
        (event,) = until(link, some(PortDown))
        assert not link.up
        number = link.publish(names.event_exchange(lab), "a.b", b"", PLAIN, mandatory=False)
        (returned,) = link.poll(1)
        assert isinstance(returned, PublishReturned)
        assert (returned.number, returned.reason) == (number, event.reason)  # type: ignore[union-attr]
        with pytest.raises(BrokerLost):
            link.queue_depth(names.dead(lab))
        link.open(10)
        assert link.poll(1) == [PortUp(2)]


def test_it_comes_back_by_itself(broker_url: str, lab: str) -> None:
    """With reconnect: down, up with the next generation, declared and consuming again."""
    proxy, url = proxy_of(broker_url)
    with proxy, up(url, gatherer_topology(lab), reconnect=True) as link:
        link.publish(names.direct_exchange(lab), names.GATHERER_KEY, b"1", PLAIN, mandatory=True)
        events = until(link, lambda e: some(Delivered)(e) and some(PublishConfirmed)(e))
        stale = next(event.tag for event in events if isinstance(event, Delivered))
        proxy.refuse()
        until(link, some(PortDown))
        troubled(link)
        assert isinstance(link.trouble, BrokerUnreachable)
        proxy.refuse(on=False)
        assert until(link, some(PortUp)) == [PortUp(link.generation)]
        link.settle(stale, Verdict.ACK)
        number = link.publish(
            names.direct_exchange(lab), names.GATHERER_KEY, b"2", PLAIN, mandatory=True
        )
        events = until(link, lambda e: some(Delivered)(e) and some(PublishConfirmed)(e))
        assert PublishConfirmed(number) in events
        assert [event.body for event in events if isinstance(event, Delivered)] == [b"2"]


def test_what_was_open_at_the_loss_is_not_told_twice(broker_url: str, lab: str) -> None:
    """PortDown is the outcome of every open publish; no other one follows."""
    proxy, url = proxy_of(broker_url)
    with proxy, up(url, gatherer_topology(lab)) as link:
        proxy.stall()
        for _ in range(3):
            link.publish(names.event_exchange(lab), "a.b", b"", PLAIN, mandatory=False)
        assert link.poll(0.1) == []
        assert link.unconfirmed == 3
        proxy.cut()
        assert [type(event) for event in until(link, some(PortDown))] == [PortDown]
        assert link.unconfirmed == 0


def test_a_broker_that_confirms_nothing_is_given_up(
    embedded_url: str, lab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives and says so, and holds up whoever waits for it: an ack may wait for a confirm."""
    place = names.event_exchange(lab), "a.b", b"", PLAIN
    with Link(embedded_url, lab_topology(lab), name="test", reconnect=True) as link:
        with monkeypatch.context() as deaf:
            deaf.setattr("pytest_gatherscatter.broker.connection.CONFIRM_SECONDS", 0.2)
            deaf.setattr(Outbox, "_on_outcome", lambda *_: None)
            link.open(10)
            link.poll(0.5)  # nothing is open, so however often it is looked at, it is kept
            assert link.up
            link.publish(*place, mandatory=False)
            (down,) = until(link, some(PortDown))
        assert down == PortDown("the broker confirms nothing for 0.2 s")
        assert link.unconfirmed == 0
        until(link, some(PortUp))
        connection = link._upkeep.connection
        assert connection is not None
        for _ in range(2):  # at each look another one is the oldest
            link.publish(*place, mandatory=False)
            connection._watch(connection.outbox.oldest and connection.outbox.oldest - 1)
            assert link.up
            until(link, some(PublishConfirmed))


def troubled(link: Link) -> None:
    """Poll until an attempt to come back has failed, which is no event."""
    end = time.monotonic() + 10
    while link.trouble is None:
        assert time.monotonic() < end
        assert link.poll(0.02) == []


def test_a_returning_link_waits_for_its_own_name(broker_url: str, lab: str) -> None:
    """The broker still believes in the old connection: its name is asked for again."""
    proxy, url = proxy_of(broker_url)
    with proxy, up(url, gatherer_topology(lab), reconnect=True) as link:
        proxy.abandon()
        until(link, some(PortDown))
        assert link.trouble is None
        troubled(link)
        # It stays told while the next attempt is under way.
        for _ in range(20):
            assert isinstance(link.trouble, NameTaken)
            assert link.poll(0.02) == []
        for kept in proxy._kept:  # the broker hears at last that the old connection is dead
            kept.close()
        assert until(link, some(PortUp)) == [PortUp(link.generation)]


def test_the_name_of_a_frozen_host_is_free_in_time(rabbitmq_url: str, lab: str) -> None:
    """RabbitMQ gives a connection up by its heartbeats before the link gives up its name."""
    proxy, url = proxy_of(rabbitmq_url)
    with (
        proxy,
        Link(url, gatherer_topology(lab), name="test", heartbeat=1, reconnect=True) as link,
    ):
        link.open(10)
        proxy.abandon()
        until(link, some(PortDown))
        assert until(link, some(PortUp)) == [PortUp(link.generation)]


def test_a_name_that_stays_taken_is_an_error(
    embedded_url: str, lab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else took the name meanwhile: that is said, once, when the patience is over."""
    monkeypatch.setattr(comeback, "NAME_TAKEN_HEARTBEATS", 0.5)  # test_comeback.py has the four
    proxy, url = proxy_of(embedded_url)
    with (
        proxy,
        Link(url, gatherer_topology(lab), name="test", heartbeat=1, reconnect=True) as link,
    ):
        link.open(10)
        proxy.refuse()
        until(link, some(PortDown))
        with up(embedded_url, gatherer_topology(lab)):
            proxy.refuse(on=False)
            with pytest.raises(NameTaken):
                until(link, some(PortUp))
            assert link.poll(0.1) == []


def test_what_breaks_each_connection_makes_no_busy_loop(
    embedded_url: str, lab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publish that closes every channel is answered with growing waits, all of them waited."""
    waits: list[float] = []
    wait = comeback.Comeback.wait

    def noted(asked: comeback.Comeback) -> float:
        waits.append(wait(asked))
        return waits[-1]

    def connection() -> None:
        with up(embedded_url, lab_topology(lab)):
            pass

    monkeypatch.setattr(comeback.Comeback, "wait", noted)
    with (
        up(embedded_url, lab_topology(lab), reconnect=True) as link,
        Peer(connection) as peer,
    ):
        began = time.monotonic()
        link.publish(f"{lab}.nowhere", "x", b"", PLAIN, mandatory=False)
        while link.generation < 5:
            assert time.monotonic() - began < sum(waits) + 10
            for event in link.poll(0.1):
                if isinstance(event, PortDown):
                    assert "404" in event.reason
                if isinstance(event, PortUp):
                    assert time.monotonic() - began > sum(waits)
                    link.publish(f"{lab}.nowhere", "x", b"", PLAIN, mandatory=False)
        took = time.monotonic() - began
    assert took > sum(waits) > 1.5
    # How long the connections themselves take is the machine's affair; between them nothing is.
    assert took < sum(waits) + 4 * (0.2 + 3 * peer.slowest)
    for given, least in zip(waits, [0.1, 0.2, 0.4, 0.8], strict=True):
        assert least <= given <= least + 0.1


def test_open_takes_over_from_coming_back(broker_url: str, lab: str) -> None:
    """Who cannot wait for the next attempt may open, and nothing of the old one is left."""
    proxy, url = proxy_of(broker_url)
    with proxy, up(url, gatherer_topology(lab), reconnect=True) as link:
        proxy.refuse()
        until(link, some(PortDown))
        troubled(link)
        proxy.refuse(on=False)
        link.open(10, retry=True)
        assert until(link, some(PortUp)) == [PortUp(link.generation)]
        assert link.poll(0.4) == []  # the attempt that was planned, 0.3 s at most after the last
        assert proxy.connections == 1


class Strict(HeartbeatChecker):
    """pika's, without the 5 s that it adds to the heartbeat that was agreed on."""

    def _start_check_timer(self) -> None:
        self._check_interval = self._timeout  # type: ignore[attr-defined]
        super()._start_check_timer()  # type: ignore[misc]


def test_a_dead_line_is_noticed_by_heartbeats(
    embedded_url: str, lab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes any more and nothing breaks: the second silent look ends the connection."""
    monkeypatch.setattr("pika.heartbeat.HeartbeatChecker", Strict)
    proxy, url = proxy_of(embedded_url)
    with proxy, Link(url, lab_topology(lab), name="test", heartbeat=1) as link:
        link.open(10)
        link.poll(0)
        assert link.poll(1.2) == []  # the broker's heartbeats keep it
        proxy.stall()
        start = time.monotonic()
        until(link, some(PortDown))
        assert time.monotonic() - start < 4


def test_an_operator_closes_all_connections(rabbitmq_node: rabbitmq.Node, lab: str) -> None:
    """What RabbitMQ says on closing is in the event, and the link comes back."""
    with up(rabbitmq_node.url, gatherer_topology(lab), reconnect=True) as link:
        rabbitmq_node.ctl("close_all_connections", "for the test")
        down = until(link, some(PortDown))[0]
        assert isinstance(down, PortDown)
        assert "320 CONNECTION_FORCED - for the test" in down.reason
        until(link, some(PortUp))


# ── TLS ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of our own."""
    return trustme.CA()


def tls_files(authority: trustme.CA, directory: Path) -> tuple[ssl.SSLContext, str, str]:
    """A server's context that wants client certificates, the CA's file, a client's file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ca, client = directory / "ca.pem", directory / "client.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(
        str(client)
    )
    return context, str(ca), str(client)


def test_tls_with_a_client_certificate(
    rabbitmq_url: str, lab: str, authority: trustme.CA, tmp_path: Path
) -> None:
    """CA, client certificate and key from the URL; large bodies come through."""
    context, ca, client = tls_files(authority, tmp_path)
    at = parse(rabbitmq_url)
    with FaultProxy(at.host, at.port, context) as proxy:
        login = f"amqps://{at.user}:{at.password}@localhost:{proxy.port}"
        good = f"{login}?cacertfile={ca}&certfile={client}"
        with up(good, gatherer_topology(lab)) as link:
            body = os.urandom(1_000_000)
            link.publish(
                names.direct_exchange(lab), names.GATHERER_KEY, body, PLAIN, mandatory=True
            )
            events = until(link, lambda e: some(Delivered)(e) and some(PublishConfirmed)(e))
            assert body in [event.body for event in events if isinstance(event, Delivered)]
        with pytest.raises(LoginRefused, match="certificate is not trusted"):
            Link(f"{login}?certfile={client}", lab_topology(lab), name="test").open(5, retry=True)
        named = f"{good}&server_name_indication=other.example.org"
        with pytest.raises(LoginRefused, match="certificate is not trusted"):
            Link(named, lab_topology(lab), name="test").open(5, retry=True)
        # Its reason and its end race each other; on RabbitMQ test_tls.py tells them apart.
        with pytest.raises((BrokerUnreachable, LoginRefused), match="certificate"):
            Link(f"{login}?cacertfile={ca}", lab_topology(lab), name="test").open(2)
        with pytest.raises(BrokerUnreachable):
            Link(f"amqp://127.0.0.1:{proxy.port}", lab_topology(lab), name="test").open(2)
        (tmp_path / "broken.pem").write_text("no certificate")
        broken = f"{login}?cacertfile={tmp_path}/broken.pem"
        with pytest.raises(SettingsInvalid, match="PEM"):
            Link(broken, lab_topology(lab), name="test").open(2)


def test_tls_to_a_broker_without_tls(broker_url: str, lab: str) -> None:
    """Amqps to a plain port is told at once, with the cure, and not tried again."""
    at = parse(broker_url)
    with pytest.raises(LoginRefused, match="speaks no TLS at this port: use amqp://"):
        Link(f"amqps://{at.host}:{at.port}", lab_topology(lab), name="test").open(3, retry=True)


# ── at run time ────────────────────────────────────────────────────────────────────────


def test_queues_at_run_time(broker_url: str, lab: str) -> None:
    """A section's queue is declared, consumed, left alone and deleted while the link is up."""
    section = "0123abcd"
    queue = names.section_queue(lab, section)
    to, key = names.direct_exchange(lab), names.section_key(section)
    with up(broker_url, gatherer_topology(lab)) as link:
        assert link.queue_depth(queue) is None
        link.declare(section_topology(lab, section, prefetch=1))
        assert link.queue_depth(queue) == (0, 1)
        link.publish(to, key, b"chunk", PLAIN, mandatory=True)
        events = until(link, lambda e: some(Delivered)(e) and some(PublishConfirmed)(e))
        (delivered,) = (event for event in events if isinstance(event, Delivered))
        assert (delivered.queue, delivered.body) == (queue, b"chunk")
        link.settle(delivered.tag, Verdict.ACK)
        link.cancel_consumer(queue)
        assert link.queue_depth(queue) == (0, 0)
        link.delete_queue(queue)
        link.delete_queue(queue)
        assert link.queue_depth(queue) is None
        assert link.topology == gatherer_topology(lab)


def test_a_refused_declare_at_run_time_leaves_the_link_up(broker_url: str, lab: str) -> None:
    """Another's exclusive queue is refused, and nothing else suffers."""
    with (
        up(broker_url, gatherer_topology(lab)),
        up(broker_url, reply_topology(lab, "0123abcd")) as link,
    ):
        with pytest.raises(NameTaken):
            link.declare(gatherer_topology(lab))
        with pytest.raises(NameTaken):
            link.queue_depth(names.gatherer_queue(lab))
        assert link.up
        assert link.topology == reply_topology(lab, "0123abcd")


def test_a_deleted_queue_is_told_to_its_consumer(broker_url: str, lab: str) -> None:
    """Somebody deletes a durable queue: its consumer hears of it."""
    queue = names.section_queue(lab, "0123abcd")
    with (
        up(broker_url, lab_topology(lab) + section_topology(lab, "0123abcd", prefetch=1)) as link,
        up(broker_url, lab_topology(lab)) as other,
    ):
        other.delete_queue(queue)
        assert until(link, some(ConsumeCancelled)) == [ConsumeCancelled(queue)]


def test_a_deleted_queue_of_who_comes_back_is_made_again(broker_url: str, lab: str) -> None:
    """It hears what is said to it afterwards, over the connection and channel that it had."""
    topology = processor_topology(lab, "rack1", ["power"], 1)
    queue = names.steps_queue(lab, "power")
    with (
        up(broker_url, topology, reconnect=True) as link,
        up(broker_url, lab_topology(lab)) as other,
    ):
        other.delete_queue(queue)

        def heard(events: list[PortEvent]) -> bool:
            exchange, key = names.direct_exchange(lab), names.steps_key("power")
            other.publish(exchange, key, b"x", PLAIN, mandatory=True)
            other.poll(0.0)
            return some(Delivered)(events)

        (first, *more) = until(link, heard)
        assert isinstance(first, Delivered)
        assert (first.queue, first.tag.generation) == (queue, 1)
        assert all(isinstance(event, Delivered) for event in more)


# ── forks ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_lets_go_silently(broker_url: str, lab: str) -> None:
    """The child has no copy of the socket and can use a link of its own; ours lives on."""
    with up(broker_url, gatherer_topology(lab)) as link:
        ours = sockets(link)
        assert ours
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                assert not ours & {target for _, target in descriptors()}
                assert not link.up
                link.close()
                mine = Link(broker_url, reply_topology(lab, "0123abcd"), name="child")
                mine.open(10)
                mine.close()
                code = 0
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        number = link.publish(
            names.direct_exchange(lab), names.GATHERER_KEY, b"x", PLAIN, mandatory=True
        )
        events = until(link, lambda e: some(Delivered)(e) and some(PublishConfirmed)(e))
        assert PublishConfirmed(number) in events
