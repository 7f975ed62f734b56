"""RabbitMQ in a container of its own: what ``--gs-broker=docker`` starts, and ends.

Apart from ``provider.py`` because it is the only thing that needs the extra ``docker``, and
because an engine has many ways to say no, each of which means something else to do. Over
testcontainers, whose reaper also removes the container of a run that was killed.
"""

import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any, Final

from pytest_gatherscatter.broker.provider import StartedBroker
from pytest_gatherscatter.errors import BrokerUnreachable, SettingsInvalid

IMAGE_VARIABLE: Final = "GATHERSCATTER_RABBITMQ_IMAGE"

IMAGE: Final = "rabbitmq:4-management"
"""The image for ``docker``: the newest RabbitMQ of the major version that is supported."""

AMQP_PORT: Final = 5672
CONTAINER_USER: Final = "gatherscatter"
LOOPBACK: Final = "127.0.0.1"

CONTAINER_SECONDS: Final = 120.0
"""How long RabbitMQ may take to boot in a container that runs: 5 to 10 s on an idle machine."""

ENGINE_SECONDS: Final = 60
"""How long the engine may be silent: one that copies its images (vfs) needs 15 s for a start."""

log = logging.getLogger(__name__)


def start_docker(image: str | None = None) -> StartedBroker:
    """Start RabbitMQ in a container (a minute or more where the image must be pulled).

    It has a user and a password of its own, and where the engine is this machine's, its port is
    open to this machine only.

    Args:
        image: ``None`` takes ``GATHERSCATTER_RABBITMQ_IMAGE``, else ``rabbitmq:4-management``.

    Raises:
        SettingsInvalid: the extra ``docker`` is not installed.
        BrokerUnreachable: no engine, no right to use it, no image, or the container does not
            come up; the text says which, and what to do.
    """
    try:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsInvalid(
            "broker", "docker needs the extra: python -m pip install 'pytest-gatherscatter[docker]'"
        ) from None
    image = image or os.environ.get(IMAGE_VARIABLE) or IMAGE
    where = f"docker:{image}"
    password = secrets.token_urlsafe(24)
    log.info("RabbitMQ in a container of %s, which is pulled first if it is not here", image)
    with contextlib.ExitStack() as stack:
        # The engine's client raises whatever its transport raises.
        container: Any = None
        try:
            container = DockerContainer(image, docker_client_kw={"timeout": ENGINE_SECONDS})
            stack.callback(_remove, container)
            container.with_exposed_ports(AMQP_PORT)
            if _on_this_machine(container):
                container.ports[str(AMQP_PORT)] = (LOOPBACK,)
            container.with_env("RABBITMQ_DEFAULT_USER", CONTAINER_USER)
            container.with_env("RABBITMQ_DEFAULT_PASS", password)
            container.start()
            host = container.get_container_host_ip()
            port = _port(container)
        except Exception as error:
            words = None if container is None else _last_words(container)
            reason = _reason(error) if words is None else f"its container ended: {words}"
            raise BrokerUnreachable(where, reason) from error
        _await(container, host, port, where)
        url = f"amqp://{CONTAINER_USER}:{password}@{host}:{port}"
        return StartedBroker(url, None, stack.pop_all().close)


def _on_this_machine(container: Any) -> bool:  # noqa: ANN401 - of an extra
    """Whether the port that it publishes is reached over this machine's loopback."""
    client = container.get_docker_client()
    mode = client.get_connection_mode()
    return mode.name == "docker_host" and client.host() in {"localhost", LOOPBACK, "::1"}


def _port(container: Any) -> int:  # noqa: ANN401 - of an extra
    """Return where its AMQP port is reached, now: testcontainers' own way waits until it runs."""
    client = container.get_docker_client()
    if not client.get_connection_mode().use_mapped_port:
        return AMQP_PORT
    return int(client.port(container.get_container_id(), AMQP_PORT))


def _await(container: Any, host: str, port: int, where: str) -> None:  # noqa: ANN401 - as above
    """Wait until the broker in it answers.

    Raises:
        BrokerUnreachable: it does not, or its container ended; with its last words.
    """
    deadline = time.monotonic() + CONTAINER_SECONDS
    while not _speaks_amqp(host, port):
        if (words := _last_words(container)) is not None:
            raise BrokerUnreachable(where, f"its container ended: {words}")
        if time.monotonic() >= deadline:
            raise BrokerUnreachable(
                where, f"nobody accepts at {host}:{port} within {CONTAINER_SECONDS:g} s"
            )
        time.sleep(0.1)


def _last_words(container: Any) -> str | None:  # noqa: ANN401 - as above
    """Return what it said last if it has ended; an engine that is gone says nothing of it."""
    with contextlib.suppress(Exception):
        wrapped = container.get_wrapped_container()
        wrapped.reload()
        if wrapped.status in {"exited", "dead"}:
            lines = wrapped.logs(tail=20).decode(errors="replace").split("\n")
            told = [line.strip() for line in lines if line.strip()]
            return str(told[-1][:200]) if told else "it said nothing"
    return None


def _remove(container: Any) -> None:  # noqa: ANN401 - as above
    """Remove it; what cannot be removed is told, not raised: the run's own result counts."""
    try:
        container.stop()
    except Exception as error:  # noqa: BLE001 - whatever the transport raises
        log.warning("the container of %s may be left: %s", container.image, _first_line(error))


def _reason(error: Exception) -> str:
    """Say why an engine did not start a container, and what to do."""
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    said = next((text for cause in causes if (text := getattr(cause, "explanation", None))), None)
    told = " ".join((said or _first_line(error)).split())[:200]
    for kind, why in (
        (PermissionError, "this user may not use the container engine; its group is 'docker'"),
        (FileNotFoundError, "no container engine is here; install one, or set DOCKER_HOST"),
        (ConnectionRefusedError, "the container engine is not started (or DOCKER_HOST is wrong)"),
        (TimeoutError, f"the container engine does not answer within {ENGINE_SECONDS} s"),
    ):
        if any(isinstance(cause, kind) for cause in causes):
            return why
    if "ryuk" in str(error):
        return f"no image for its reaper ({told}); TESTCONTAINERS_RYUK_DISABLED=true does without"
    if "ImageNotFound" in names:
        return f"the image cannot be had ({told}); {IMAGE_VARIABLE} names another"
    return f"the container does not start: {told}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _speaks_amqp(host: str, port: int) -> bool:
    """Whether a broker answers there: an engine accepts for a container that still boots."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1) as probe:
        probe.settimeout(2)
        probe.sendall(b"AMQP\x00\x00\x09\x01")
        return probe.recv(1) != b""
    return False
