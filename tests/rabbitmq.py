"""A private RabbitMQ node for one test run: its own ports, cookie, epmd and data.

Run as a program it supervises one node: it writes the node's address to a file, and ends
node and epmd when it is told to (SIGTERM) or when the run that it serves has ended, however
that ended. So nothing is left behind, and xdist's workers can share one node.

Usage: ``python rabbitmq.py DIRECTORY OWNER_PID``
"""

import contextlib
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

BOOT_SECONDS = 60.0
"""A node boots in about 6 s on an idle machine; two busy cores may need many times that."""

SERVERS = (
    # Debian's wrapper on PATH insists on being root; the server itself does not.
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    shutil.which("rabbitmq-server"),
)

CONFIGURATION = """\
listeners.tcp.local = 127.0.0.1:{port}
loopback_users.guest = true
log.console = false
vm_memory_high_watermark.relative = 0.6
disk_free_limit.absolute = 50MB
"""


def server() -> Path | None:
    """Find the program that runs a node; ``GS_RABBITMQ_SERVER`` is the only one if it is set."""
    named = os.environ.get("GS_RABBITMQ_SERVER")
    for candidate in (named,) if named else SERVERS:
        if candidate and Path(candidate).exists():
            return Path(candidate)
    return None


TLS = """\
listeners.ssl.local = 127.0.0.1:{port}
ssl_options.cacertfile = {directory}/ca.pem
ssl_options.certfile = {directory}/server.pem
ssl_options.keyfile = {directory}/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_cert_login_from = common_name
auth_mechanisms.1 = EXTERNAL
auth_mechanisms.2 = PLAIN
heartbeat = 0
"""
"""More of it for a node with certificates, which suggests to do without heartbeats."""

NO_SPINNING = "+sbwt none +sbwtdcpu none +sbwtdio none"
"""For Erlang's schedulers, which would wait actively: the processors belong to the tests."""

_supervisors: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Node:
    """A node that runs: how to reach it, and how to talk to it with ``rabbitmqctl``."""

    url: str
    pid: int
    environment: dict[str, str]
    tls_port: int

    @property
    def shell(self) -> dict[str, str]:
        """The environment of a shell in which ``$CTL`` is this node's ``rabbitmqctl``."""
        program = server()
        assert program is not None
        return {**os.environ, **self.environment, "CTL": str(program.with_name("rabbitmqctl"))}

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` against this node (a second or two) and return what it says."""
        program = server()
        assert program is not None
        done = subprocess.run(
            [program.with_name("rabbitmqctl"), *arguments],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout


def start(directory: Path, owner: int) -> None:
    """Start a supervisor for a node under ``directory`` that ends with process ``owner``.

    Where there are ``ca.pem``, ``server.pem`` and ``server.key``, it speaks TLS too, and takes
    the name in a client's certificate for its login.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "supervisor.log").open("wb") as log:
        _supervisors.append(
            subprocess.Popen(
                [sys.executable, __file__, str(directory), str(owner)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )


def wait(directory: Path) -> Node:
    """Wait until the node under ``directory`` answers.

    Raises:
        TimeoutError: it does not; the text ends with the node's last words.
    """
    end = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            return Node(**json.loads((directory / "node.json").read_text()))
        if (directory / "failed").exists():
            break
        time.sleep(0.05)
    words = b""
    for log in ("supervisor.log", "node.log"):
        with contextlib.suppress(OSError):
            words += (directory / log).read_bytes()[-2000:]
    raise TimeoutError(f"no RabbitMQ node in {directory}: {words.decode(errors='replace')}")


def stop() -> None:
    """End the supervisors that this process started, and with them their nodes."""
    while _supervisors:
        supervisor = _supervisors.pop()
        supervisor.terminate()
        supervisor.wait(30)


def _ports(count: int) -> list[int]:
    """Find ports that are free now, and that the kernel gives to nobody while the node boots."""
    given_out = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    found: list[int] = []
    for port in random.sample(range(10_000, min(32_768, int(given_out[0]))), 1000):
        if len(found) == count:
            break
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def _answers(port: int) -> bool:
    """Whether an AMQP broker says its first word on ``port``."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
        probe.settimeout(2)
        probe.sendall(b"AMQP\x00\x00\x09\x01")
        return probe.recv(1) != b""
    return False


def _environment(directory: Path, amqp: int, dist: int, epmd: int, tls: int = 0) -> dict[str, str]:
    configuration, plugins = CONFIGURATION.format(port=amqp), ""
    if (directory / "ca.pem").exists():
        configuration += TLS.format(port=tls, directory=directory)
        plugins = "rabbitmq_auth_mechanism_ssl"
    (directory / "rabbitmq.conf").write_text(configuration)
    (directory / "plugins").write_text(f"[{plugins}].\n")
    return {
        "HOME": str(directory),
        "RABBITMQ_NODENAME": f"gs{amqp}@localhost",
        "RABBITMQ_DIST_PORT": str(dist),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "no-environment"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            f"{NO_SPINNING} -kernel inet_dist_use_interface {{127,0,0,1}}"
        ),
        "RABBITMQ_CTL_ERL_ARGS": NO_SPINNING,
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }


def supervise(directory: Path, owner: int) -> None:
    """Run a node until SIGTERM, its own end, or the end of process ``owner``."""
    program = server()
    assert program is not None, "rabbitmq-server is not installed"
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    amqp, dist, epmd, tls = _ports(4)
    environment = _environment(directory, amqp, dist, epmd, tls)
    children: list[subprocess.Popen[bytes]] = []
    watch = os.pidfd_open(owner)
    try:
        with (directory / "node.log").open("wb") as log:
            # Started here and in the foreground: one that a node starts would outlive it.
            for command in (["epmd", "-port", str(epmd)], [str(program)]):
                children.append(  # noqa: PERF401 - an end in between must find the first
                    subprocess.Popen(
                        command,
                        env=os.environ | environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        node = children[-1]
        booted = False
        end = time.monotonic() + BOOT_SECONDS
        while not told and node.poll() is None:
            if not booted and _answers(amqp):
                booted = True
                url = f"amqp://guest:guest@127.0.0.1:{amqp}"
                address = Node(url, os.getpid(), environment, tls)
                draft = directory / "node.json.new"
                draft.write_text(json.dumps(asdict(address)))
                draft.rename(directory / "node.json")
            if not booted and time.monotonic() > end:
                break
            if select.select([watch], [], [], 0.1)[0]:
                break
    finally:
        (directory / "node.json").unlink(missing_ok=True)
        (directory / "failed").touch()
        for child in reversed(children):
            # The whole group: rabbitmq-server is a shell around the node. SIGKILL, because
            # nothing in a test node is worth the seconds of an orderly end.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        shutil.rmtree(directory / "data", ignore_errors=True)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), int(sys.argv[2]))
