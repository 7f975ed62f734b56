"""The census: what a process keeps open, checked against what a test opened itself."""

import _thread
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from pytest_gatherscatter.sections.census import Census
from pytest_gatherscatter.sections.service import proc


@contextmanager
def connection(family: socket.AddressFamily, host: str) -> Iterator[tuple[str, int, int]]:
    """Open a server and one connection to it; gives host, port and the connection's number."""
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        yield host, server.getsockname()[1], client.fileno()


def can_bind(host: str) -> bool:
    """Tell whether this machine has the address; some containers have no IPv6."""
    try:
        socket.create_server((host, 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


NEEDS_IPV6 = pytest.mark.skipif(not can_bind("::1"), reason="this machine has no IPv6 loopback")


@pytest.mark.parametrize(
    ("family", "host", "shown"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        pytest.param(socket.AF_INET6, "::1", "[::1]", marks=NEEDS_IPV6),
    ],
)
def test_a_connection_to_the_broker_is_ours(
    family: socket.AddressFamily, host: str, shown: str
) -> None:
    """A socket to the broker's host and port is ours; the server's end is not."""
    with connection(family, host) as (_, port, number):
        found = proc.take((host, port))
        broker = f"{shown}:{port}"
        (ours,) = [item for item in found.sockets if item.ours]
        assert (ours.number, ours.remote, ours.state) == (number, broker, "established")
        (server,) = [item for item in found.sockets if item.local == broker]
        assert (server.state, server.ours) == ("listening", False)
        assert found.ours() == (f"socket {number} {ours.local} to {broker} established",)
        assert any(broker in line for line in found.foreign())
        (descriptor,) = [item for item in found.descriptors if item.number == number]
        assert (descriptor.kind, descriptor.ours) == ("socket", True)
    assert proc.take((host, port)).ours() == ()


@pytest.mark.skipif(sys.byteorder != "little", reason="the examples are of little-endian kernels")
def test_the_kernels_addresses_are_decoded() -> None:
    """IPv4, IPv6, and IPv4 on an IPv6 socket, as the kernel's tables write them."""
    assert proc._address("0100007F:1628") == ("127.0.0.1", 5672)
    assert proc._address("00000000000000000000000001000000:1627") == ("::1", 5671)
    assert proc._address("0000000000000000FFFF00000100007F:1628") == ("127.0.0.1", 5672)
    assert proc._address("B80D0120000000000000000001000000:0000") == ("2001:db8::1", 0)


@NEEDS_IPV6
def test_a_mapped_address_is_the_same_broker() -> None:
    """An IPv6 socket that is connected to an IPv4 broker is ours too."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET6) as client,
    ):
        port = server.getsockname()[1]
        client.connect(("::ffff:127.0.0.1", port))
        assert [item.number for item in proc.take(("127.0.0.1", port)).sockets if item.ours] == [
            client.fileno()
        ]


def test_other_brokers_are_not_ours() -> None:
    """Another port, another address or no broker at all makes a socket foreign."""
    with connection(socket.AF_INET, "127.0.0.1") as (_, port, number):
        for broker in (
            None,
            ("127.0.0.1", port + 1),
            ("127.0.0.2", port),
            ("not-a-host.invalid", port),
        ):
            found = proc.take(broker)
            assert found.ours() == ()
            assert number in {item.number for item in found.sockets}


def test_a_brokers_name_is_looked_up() -> None:
    """A name stands for its addresses, an address for itself, an unknown name for none."""
    assert "127.0.0.1" in proc.addresses("localhost")
    assert proc.addresses("[::1]") == {"::1"}
    with connection(socket.AF_INET, "127.0.0.1") as (_, port, _number):
        assert len(proc.take(("localhost", port)).ours()) == 1


def test_threads_are_told_apart_by_name() -> None:
    """Our prefix makes a thread ours; another is foreign; the main thread is neither."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=stop.wait, name=name) for name in ("gatherscatter-pump", "other")
    ]
    for thread in threads:
        thread.start()
    try:
        found = proc.take(None)
        assert found.ours() == (f"thread gatherscatter-pump {threads[0].native_id}",)
        assert f"thread other {threads[1].native_id}" in found.foreign()
        (main,) = [item for item in found.threads if item.main]
        assert (main.native_id, main.python) == (os.getpid(), True)
        assert not any(str(os.getpid()) in line for line in found.foreign())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert proc.take(None).ours() == ()


def test_a_thread_that_python_does_not_know_is_seen() -> None:
    """The kernel's list of tasks counts, not the threading module's."""
    end = threading.Event()
    begun: queue.SimpleQueue[int] = queue.SimpleQueue()

    def hidden() -> None:
        begun.put(threading.get_native_id())
        end.wait()

    _thread.start_new_thread(hidden, ())
    try:
        number = begun.get(timeout=10)
        (found,) = [item for item in proc.take(None).threads if item.native_id == number]
        assert not found.python
        assert f"thread unknown to Python {found.name} {number}" in proc.take(None).foreign()
    finally:
        end.set()


def test_every_descriptor_is_listed(tmp_path: Path) -> None:
    """Files, pipes, local sockets and the kernel's own kinds, each by its number."""
    with ExitStack() as stack:
        file = stack.enter_context((tmp_path / "file").open("w"))
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        left, right = socket.socketpair()
        stack.enter_context(left)
        stack.enter_context(right)
        event = os.eventfd(0)
        stack.callback(os.close, event)
        found = {item.number: item for item in proc.take(None).descriptors}
        assert (found[file.fileno()].kind, found[file.fileno()].target) == (
            "file",
            str(tmp_path / "file"),
        )
        assert found[reader].kind == "pipe"
        assert found[left.fileno()].kind == "socket"
        assert found[event].kind == "eventfd"
        lines = proc.take(None).foreign()
        assert any(line.startswith(f"socket {left.fileno()} ") for line in lines)
        open_now = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
        assert set(found) <= open_now


def test_a_census_is_plain() -> None:
    """It survives JSON as it is, for reports and messages."""
    found = proc.take(None)
    assert found.complete
    assert found.note == ""
    assert msgspec.json.decode(msgspec.json.encode(found), type=Census) == found


def test_elsewhere_it_says_that_it_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``/proc`` the census is empty, incomplete, and says why."""
    monkeypatch.setattr("sys.platform", "darwin")
    found = proc.take(("127.0.0.1", 5672))
    assert not found.complete
    assert found.note == "no census on darwin: there is no /proc"
    assert found.ours() == found.foreign() == ()


def test_it_is_quick_enough_for_the_lead() -> None:
    """The lead is at least 5 ms; a census with a connection that nobody interrupts takes less."""
    times = []
    with connection(socket.AF_INET, "127.0.0.1") as (host, port, _):
        for _ in range(15):
            began = time.perf_counter()
            proc.take((host, port))
            times.append(time.perf_counter() - began)
    assert min(times) < 0.005
