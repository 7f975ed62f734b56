"""The broker as a process, with pika as its client: all that the shells of the product need."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC
from pathlib import Path
from typing import Any

import pika
import pytest
from brokerprocess import PATIENCE, Running, start, until
from msgspec.structs import asdict, replace
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    ProbableAuthenticationError,
    UnroutableError,
)

from pytest_gatherscatter.broker.url import parse
from pytest_gatherscatter.embedded.address import (
    Address,
    Place,
    default_address_path,
    former_place,
    read_address,
    withdraw_address,
    write_address,
)
from pytest_gatherscatter.host.process import boot_id, process_start

CONSUMER = """
import sys, pika
connection = pika.BlockingConnection(pika.URLParameters(sys.stdin.readline()))
channel = connection.channel()
channel.basic_qos(prefetch_count=1)
for method, _, body in channel.consume("work"):
    print(body.decode(), flush=True)
"""

PARENT = """
import subprocess, sys, os, time
child = subprocess.Popen([sys.executable, "-m", "pytest_gatherscatter.embedded",
                          "--address-file", sys.argv[1], "--parent-pid", str(os.getpid())])
time.sleep(600)
"""


def test_confirm_mandatory_and_consume(broker: Running) -> None:
    """What is confirmed is consumed; what nobody wants comes back at once."""
    with broker.connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("work[1]é", durable=True)
        sent = pika.BasicProperties(message_id="m", headers={"a": {"b": [1, True]}})
        channel.basic_publish("", "work[1]é", b"hello", sent, mandatory=True)
        with pytest.raises(UnroutableError):
            channel.basic_publish("", "nobody", b"", mandatory=True)
        method, properties, body = next(channel.consume("work[1]é", inactivity_timeout=PATIENCE))
        assert (body, properties) == (b"hello", sent)
        assert method is not None
        assert method.delivery_tag is not None
        channel.basic_ack(method.delivery_tag)
        assert channel.cancel() == 0


def test_a_full_queue_refuses_a_confirm(broker: Running) -> None:
    """x-overflow=reject-publish is a nack."""
    with broker.connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        channel.queue_declare("small", durable=True, arguments=arguments)
        channel.basic_publish("", "small", b"1")
        with pytest.raises(NackError):
            channel.basic_publish("", "small", b"2")


def test_exclusive_queue_is_405_for_others_and_free_afterwards(broker: Running) -> None:
    """The gatherer's singleton check: its name is taken, and free as soon as it is gone."""
    owner = broker.connect()
    owner.channel().queue_declare("gatherer", exclusive=True)
    with broker.connect() as other:
        channel = other.channel()
        with pytest.raises(ChannelClosedByBroker) as refused:
            channel.queue_declare("gatherer", exclusive=True)
        assert refused.value.reply_code == 405
        asking = other.channel()
        asking.confirm_delivery()
        asking.basic_publish("", "gatherer", b"ping", mandatory=True)
        owner.close()
        with pytest.raises(UnroutableError):
            asking.basic_publish("", "gatherer", b"ping", mandatory=True)
        other.channel().queue_declare("gatherer", exclusive=True)


def test_work_of_a_killed_consumer_comes_again(broker: Running) -> None:
    """Kill -9 loses nothing: the delivery is handed to the next one, marked."""
    with broker.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("work", durable=True)
        channel.basic_publish("", "work", b"precious")
        consumer = subprocess.Popen(
            [sys.executable, "-c", CONSUMER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with consumer:
            assert consumer.stdin is not None
            assert consumer.stdout is not None
            consumer.stdin.write(broker.address.url + "\n")
            consumer.stdin.flush()
            assert consumer.stdout.readline() == "precious\n"
            consumer.kill()
        method, _, body = next(channel.consume("work", inactivity_timeout=PATIENCE))
        assert method is not None
        assert (body, method.redelivered) == (b"precious", True)


def test_time_runs(broker: Running) -> None:
    """A message expires into the dead letters by the broker's own clock, and says so."""
    with broker.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("dead", durable=True)
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        channel.queue_declare("work", durable=True, arguments=arguments)
        before = time.time()
        channel.basic_publish("", "work", b"x", pika.BasicProperties(expiration="50"))
        _, properties, body = next(channel.consume("dead", inactivity_timeout=PATIENCE))
        assert body == b"x"
        assert properties is not None
        headers: Any = properties.headers
        (death,) = headers["x-death"]
        assert (death["reason"], death["original-expiration"]) == ("expired", "50")
        # A whole second, in UTC, which pika gives without saying so.
        assert abs(death["time"].replace(tzinfo=UTC).timestamp() - before) < PATIENCE


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"AMQP\x00\x00\x09\x01" + b"\xff" * 64],
    ids=["http", "random", "greeting and garbage"],
)
def test_garbage_hurts_nobody_else(broker: Running, garbage: bytes) -> None:
    """The offender's socket is closed; a client that was there goes on."""
    with broker.connect() as connection:
        channel = connection.channel()
        port = pika.URLParameters(broker.address.url).port
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as offender:
            offender.sendall(garbage)
            offender.settimeout(PATIENCE)
            try:
                while offender.recv(65536):
                    pass
            except ConnectionResetError:
                pass
        channel.queue_declare("still here", durable=True)


def test_a_slow_reader_costs_little_memory(broker: Running) -> None:
    """A consumer that never reads is not sent a whole queue, and others are served."""
    with broker.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("big", durable=True)
        for _ in range(60):
            channel.basic_publish("", "big", bytes(1024 * 1024))
        connection.process_data_events(0)
        slow = broker.connect(heartbeat=0)
        slow.channel().basic_consume("big", lambda *_: None)
        channel.queue_declare("other", durable=True)
        resident = int(
            Path(f"/proc/{broker.process.pid}/status").read_text().split("VmRSS:")[1].split()[0]
        )
        # The queue itself is 60 MiB; sent all at once, it would be there twice.
        assert resident < 130 * 1024
        slow.close()

        def back() -> bool | None:
            state = channel.queue_declare("big", passive=True).method
            return state.message_count == 60 or None

        assert until(back, "the messages to be back")


def test_it_refuses_what_its_profile_refuses(tmp_path: Path) -> None:
    """A queue that is neither durable nor exclusive was still taken by RabbitMQ 3.10."""
    older = start(tmp_path / "older.json", "--profile", "3.10")
    with older.connect() as connection:
        connection.channel().queue_declare("shared")
    strict = start(tmp_path / "broker.json")
    with pytest.raises(ConnectionClosedByBroker) as refused:
        strict.connect().channel().queue_declare("shared")
    assert refused.value.reply_code == 541
    assert "`transient_nonexcl_queues` is deprecated" in refused.value.reply_text
    for running in (older, strict):
        running.process.terminate()
        assert running.process.wait(PATIENCE) == 0


def test_publishers_wait_while_memory_is_short(tmp_path: Path) -> None:
    """They are told so, what they sent is kept, and they go on when a consumer made room."""
    running = start(tmp_path / "broker.json", "--memory", "8")
    publisher, consumer = running.connect(), running.connect()
    told: list[str] = []
    publisher.add_on_connection_blocked_callback(lambda *_: told.append("blocked"))
    publisher.add_on_connection_unblocked_callback(lambda *_: told.append("unblocked"))
    channel = publisher.channel()
    channel.queue_declare("big", durable=True)
    for _ in range(9):
        channel.basic_publish("", "big", bytes(1024 * 1024))
    end = time.monotonic() + PATIENCE
    while not told and time.monotonic() < end:
        publisher.process_data_events(0.05)
    assert told == ["blocked"]
    channel.basic_publish("", "big", b"held back")
    publisher.process_data_events(0.3)
    taking = consumer.channel()
    # Eight bodies and what a message costs beside its body are more than 8 MiB.
    assert taking.queue_declare("big", passive=True).method.message_count == 8
    sizes = [len(taking.basic_get("big", auto_ack=True)[2] or b"") for _ in range(8)]
    assert sizes == [1024 * 1024] * 8
    rest: list[bytes] = []
    while len(rest) < 2 and time.monotonic() < end:
        publisher.process_data_events(0.05)
        if (body := taking.basic_get("big", auto_ack=True)[2]) is not None:
            rest.append(body)
    assert told == ["blocked", "unblocked"]
    assert rest[1] == b"held back"
    publisher.close()
    consumer.close()
    running.process.terminate()
    assert running.process.wait(PATIENCE) == 0


def test_a_wrong_password_is_refused(broker: Running) -> None:
    """As a refused login, not as a broken socket."""
    wrong = pika.PlainCredentials("gatherscatter", "guess")
    with pytest.raises(ProbableAuthenticationError, match="403"):
        broker.connect(credentials=wrong)


def test_heartbeats_keep_a_silent_client_and_find_a_dead_one(broker: Running) -> None:
    """Two silent intervals end a client, however healthy its socket looks."""
    dead = broker.connect(heartbeat=1)
    dead.channel().queue_declare("mine", exclusive=True)
    with broker.connect(heartbeat=1) as alive:
        alive.channel().queue_declare("other", exclusive=True)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            alive.process_data_events(0.2)
        alive.channel().queue_declare("mine", exclusive=True)
    with pytest.raises(AMQPConnectionError):
        dead.process_data_events(0)


def test_signals_end_it_cleanly(tmp_path: Path) -> None:
    """Clients are told, the address counts for nothing any more, the status is 0."""
    running = start(tmp_path / "broker.json")
    connection = running.connect()
    running.process.send_signal(signal.SIGINT)
    with pytest.raises(ConnectionClosedByBroker) as told:
        connection.process_data_events(PATIENCE)
    assert told.value.reply_code == 320
    assert running.process.wait(PATIENCE) == 0
    assert read_address(running.path) is None


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """Also when the parent is killed and cannot tell anybody."""
    path = tmp_path / "broker.json"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(path)])
    address = until(lambda: read_address(path), "the broker's address")
    parent.kill()
    parent.wait()
    until(lambda: True if process_start(address.pid) is None else None, "the broker's end")
    assert read_address(path) is None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "in order"])
def test_a_private_folder_goes_with_its_broker(tmp_path: Path, how: signal.Signals) -> None:
    """However the process ends that had it made, in which no clean-up may ever run."""
    command = (
        "import time\nfrom pytest_gatherscatter.broker import provider\n"
        "with provider.start_local() as broker:\n    print(broker.pid, flush=True)\n"
        "    time.sleep(600)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", command], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert list(tmp_path.glob("gatherscatter-*/address"))
        parent.send_signal(how)
    until(lambda: True if process_start(pid) is None else None, "the broker's end")
    assert list(tmp_path.iterdir()) == []


def test_one_address_file_has_one_broker(broker: Running) -> None:
    """A second one says who is there, in one line, and ends."""
    command = [sys.executable, "-m", "pytest_gatherscatter.embedded"]
    second = subprocess.run(
        [*command, "--address-file", str(broker.path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert second.returncode == 2
    assert f"another broker (pid {broker.process.pid}) serves it already" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert read_address(broker.path) == broker.address


def test_a_port_that_is_taken_is_one_line(broker: Running, tmp_path: Path) -> None:
    """No traceback, and no address file."""
    port = pika.URLParameters(broker.address.url).port
    command = [sys.executable, "-m", "pytest_gatherscatter.embedded", "--port", str(port)]
    second = subprocess.run(
        [*command, "--address-file", str(tmp_path / "second.json")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert second.returncode == 2
    assert len(second.stderr.splitlines()) == 1
    assert not (tmp_path / "second.json").exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "in order"])
def test_its_successor_is_where_it_was(tmp_path: Path, how: signal.Signals) -> None:
    """Whoever was connected finds the next broker by the URL that it has."""
    first = start(tmp_path / "broker.json")
    connection = first.connect()
    first.process.send_signal(how)
    with pytest.raises(AMQPConnectionError):  # and so the end in order has nobody to wait for
        connection.process_data_events(PATIENCE)
    first.process.wait(PATIENCE)
    second = start(first.path)
    try:
        assert second.address.pid != first.address.pid
        assert second.address.url == first.address.url
        assert second.path.stat().st_mode & 0o777 == 0o600
        first.connect().close()
    finally:
        end(second, signal.SIGTERM)


def test_a_successor_need_not_wait_for_farewells(tmp_path: Path) -> None:
    """A client that does not hear the end keeps the old process for a while, not its place."""
    first = start(tmp_path / "broker.json")
    deaf = first.connect()
    first.process.terminate()
    until(lambda: True if read_address(first.path) is None else None, "the end of the address")
    second = start(first.path)
    assert first.process.poll() is None
    assert second.address.url == first.address.url
    end(second, signal.SIGTERM)
    assert first.process.wait(PATIENCE) == 0
    with pytest.raises(AMQPConnectionError):
        deaf.process_data_events(PATIENCE)


def test_a_successor_whose_place_is_taken_has_another_password(tmp_path: Path) -> None:
    """Whoever has the port now may have heard the old one from clients that came back."""
    first = start(tmp_path / "broker.json")
    end(first, signal.SIGKILL)
    old = parse(first.address.url)
    with socket.create_server((old.host, old.port)):
        second = start(first.path)
    new = parse(second.address.url)
    assert new.port != old.port
    assert new.password != old.password
    second.connect().close()
    end(second, signal.SIGTERM)


def test_a_port_that_is_named_keeps_the_login(tmp_path: Path) -> None:
    """--port says where; the password stays what clients know."""
    first = start(tmp_path / "broker.json")
    end(first, signal.SIGKILL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    second = start(first.path, "--port", str(port))
    old, new = (parse(one.address.url) for one in (first, second))
    assert new.port == port
    assert new.password == old.password
    end(second, signal.SIGTERM)


def end(broker: Running, how: signal.Signals) -> None:
    """End a broker; it is gone when this returns."""
    broker.process.send_signal(how)
    broker.process.wait(PATIENCE)


@pytest.mark.parametrize("wrong", [["--memory", "0"], ["--port", "99999"], ["--port", "x"]])
def test_a_wrong_option_is_told(tmp_path: Path, wrong: list[str]) -> None:
    """Status 2, a last line with the cause, no traceback, no address file."""
    path = tmp_path / "broker.json"
    command = [sys.executable, "-m", "pytest_gatherscatter.embedded", "--address-file", str(path)]
    run = subprocess.run(
        [*command, *wrong], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert run.returncode == 2
    assert wrong[0] in run.stderr.splitlines()[-1] or "port" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert not path.exists()


def test_many_clients_at_once(broker: Running) -> None:
    """Fifty of them say hello to each other over one fanout exchange."""
    connections = [broker.connect() for _ in range(50)]
    channels = [connection.channel() for connection in connections]
    channels[0].exchange_declare("hello", "fanout")
    names = [str(c.queue_declare("", exclusive=True).method.queue) for c in channels]
    for channel, name in zip(channels, names, strict=True):
        channel.queue_bind(name, "hello")
    channels[0].basic_publish("hello", "", b"hi")
    for channel, name in zip(channels, names, strict=True):
        _, _, body = next(channel.consume(name, inactivity_timeout=PATIENCE))
        assert body == b"hi"
    for connection in connections:
        connection.close()


def test_the_address_is_private(broker: Running) -> None:
    """Readable by its owner only, and it does not listen beyond this machine."""
    assert broker.path.stat().st_mode & 0o777 == 0o600
    assert broker.address.pid == broker.process.pid
    parameters = pika.URLParameters(broker.address.url)
    assert (parameters.host, parameters.virtual_host) == ("127.0.0.1", "/")
    port = f":{parameters.port:04X}"
    rows = Path("/proc/net/tcp").read_text().splitlines() + (
        Path("/proc/net/tcp6").read_text().splitlines() if Path("/proc/net/tcp6").exists() else []
    )
    listening = [row.split()[1] for row in rows[1:] if row.split()[3] == "0A"]
    assert [place for place in listening if place.endswith(port)] == [f"0100007F{port}"]


# The address file


def test_an_address_is_stale_when_its_process_is_not_the_same(tmp_path: Path) -> None:
    """A pid that is gone, a pid of somebody else, another boot."""
    path = tmp_path / "broker.json"
    mine = write_address(path, "amqp://x")
    assert read_address(path) == mine
    started = process_start(os.getpid())
    assert started is not None
    for stale in (
        Address("amqp://x", 2**22 + 1, started, boot_id()),
        Address("amqp://x", os.getpid(), started + 1, boot_id()),
        Address("amqp://x", os.getpid(), started, "another boot"),
    ):
        path.write_text(json.dumps(asdict(stale)))
        assert read_address(path) is None


def test_a_former_place_is_known_by_its_own_boot_only(tmp_path: Path) -> None:
    """A dead broker's port and password are handed over; an earlier boot's, or no URL's, not."""
    path = tmp_path / "broker.json"
    gone = write_address(path, "amqp://gatherscatter:5ec2e7@127.0.0.1:4711/%2F")
    withdraw_address(path)
    assert read_address(path) is None
    assert former_place(path) == Place(4711, "5ec2e7")
    assert "5ec2e7" not in repr(former_place(path))
    for odd in (
        replace(gone, boot="another boot"),
        replace(gone, url="amqp://x"),
        replace(gone, url="amqp://u:p@h:x"),
        replace(gone, url="amqp://u:%2F@h:1"),
    ):
        path.write_text(json.dumps(asdict(odd)))
        assert former_place(path) is None
    path.unlink()
    assert former_place(path) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"url": 1}', "{", "\udcff"])
def test_an_odd_address_file_counts_for_nothing(tmp_path: Path, text: str) -> None:
    """Whatever stands in it."""
    path = tmp_path / "broker.json"
    path.write_text(text, errors="surrogateescape")
    path.chmod(0o600)
    assert read_address(path) is None


def test_an_address_file_that_others_may_read_counts_for_nothing(tmp_path: Path) -> None:
    """They could have written it as well."""
    path = tmp_path / "broker.json"
    write_address(path, "amqp://x")
    path.chmod(0o644)
    assert json.loads(path.read_text())["url"] == "amqp://x"
    assert read_address(path) is None


def test_an_address_file_of_somebody_else_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its mode: that would be their broker, which hears this user's messages."""
    path = tmp_path / "broker.json"
    write_address(path, "amqp://gatherscatter:5ec2e7@127.0.0.1:4711/%2F")
    assert former_place(path) is not None
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert read_address(path) is None
    assert former_place(path) is None


def test_the_address_stands_in_the_users_runtime_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody else can put one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = default_address_path()
    assert path.parent.parent == tmp_path
    assert path.parent.stat().st_mode & 0o777 == 0o700
