"""Where a broker is found, and how one is started: what ``--gs-broker`` may say.

``amqp://…`` and ``amqps://…`` are taken as they are, ``local`` is the embedded broker that
runs on this machine for this user, ``docker`` a RabbitMQ in a container, ``none`` nothing.
``auto``, the default, is a URL from the environment, else a live local broker, else none;
:attr:`Found.why` says which and why, because "which broker did it take?" is the first
question when a lab does not gather.

Nothing here imports pika or testcontainers; ``container.py`` starts what ``docker`` means.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pytest_gatherscatter.broker.url import ALLOWED, parse, safe_url
from pytest_gatherscatter.embedded.address import default_address_path, read_address
from pytest_gatherscatter.errors import BrokerUnreachable, SettingsInvalid

BROKER_VARIABLE: Final = "GATHERSCATTER_BROKER"
PASSWORD_VARIABLE: Final = "GATHERSCATTER_PASSWORD"  # noqa: S105 - a variable's name
PASSWORD_FILE_VARIABLE: Final = "GATHERSCATTER_PASSWORD_FILE"  # noqa: S105 - as above

START_SECONDS: Final = 10.0
"""How long the embedded broker may take to start: it takes 0.1 s, so this is a machine
under a hundred times the load."""

STOP_SECONDS: Final = 3.0
"""How long it may take to end before it is killed."""

Kind = Literal["url", "local", "docker", "none"]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found; ``url`` holds the password, so it is kept out of ``repr``.

    ``url`` is ``None`` where there is no broker now: for ``none``, for ``local`` without a
    live one, and for ``docker``, whose container ``container.start_docker`` starts.
    """

    url: str | None = field(repr=False)
    kind: Kind
    why: str

    @property
    def safe(self) -> str:
        """What may be shown of it."""
        return self.kind if self.url is None else safe_url(self.url)


def resolve(broker: str, *, env: Mapping[str, str]) -> Found:
    """Find the broker that ``broker`` means; connects to nothing.

    Raises:
        SettingsInvalid: it is no URL and none of the words, or the password file cannot be
            read; the text names the setting and what is allowed.
    """
    if "://" in broker:
        return _url(broker, "broker", "as the settings say", env)
    match broker:
        case "auto":
            return _auto(env)
        case "local":
            url = local_url()
            why = "no local broker runs" if url is None else "the local broker, as asked"
            return Found(url, "local", why)
        case "docker":
            return Found(None, "docker", "a container for this run, as asked")
        case "none":
            return Found(None, "none", "no broker, as asked")
    raise SettingsInvalid(
        "broker", f"{safe_url(broker)!r}: allowed are auto, local, docker, none, {ALLOWED}"
    )


def _auto(env: Mapping[str, str]) -> Found:
    if named := env.get(BROKER_VARIABLE):
        if "://" in named:
            return _url(named, BROKER_VARIABLE, f"from {BROKER_VARIABLE}", env)
        if named != "auto":
            return resolve(named, env=env)
    if url := local_url():
        return Found(url, "local", "a local broker runs, and nothing else is configured")
    return Found(None, "none", "no broker is configured, and no local one runs")


def _url(broker: str, where: str, why: str, env: Mapping[str, str]) -> Found:
    """Check a URL, and give it the password of the environment if it has none."""
    parsed = parse(broker, where=where)
    if parsed.user is None or parsed.password is not None or parsed.external:
        return Found(broker, "url", why)
    password = _password(env)
    if password is None:
        return Found(broker, "url", why)
    parts = urlsplit(broker)
    user, _, host = parts.netloc.rpartition("@")
    login = f"{user.removesuffix(':')}:{quote(password, safe='')}"
    return Found(urlunsplit(parts._replace(netloc=f"{login}@{host}")), "url", why)


def _password(env: Mapping[str, str]) -> str | None:
    """Read the password from the environment or from the file that it names.

    Raises:
        SettingsInvalid: the file cannot be read.
    """
    if password := env.get(PASSWORD_VARIABLE):
        return password
    path = env.get(PASSWORD_FILE_VARIABLE)
    if not path:
        return None
    try:
        # A file made by an editor or by echo ends with a newline, which no password does.
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise SettingsInvalid(PASSWORD_FILE_VARIABLE, f"{path} cannot be read: {reason}") from None


def local_url() -> str | None:
    """Return the URL of the local broker of this user that runs, if one does."""
    address = read_address(default_address_path())
    return None if address is None else address.url


@dataclass(slots=True)
class StartedBroker:
    """A broker that this process started; ends with :meth:`stop`, or with this process.

    ``url`` holds its password. ``pid`` is that of the embedded broker, ``None`` in a container.
    """

    url: str = field(repr=False)
    pid: int | None
    _stop: Callable[[], None]

    def stop(self) -> None:
        """End it and wait until it has ended (some seconds at most). May be called twice."""
        self._stop()

    def __enter__(self) -> Self:
        """Return the broker."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the broker."""
        self.stop()


def start_local(
    *, address: Path | None = None, port: int = 0, timeout: float = START_SECONDS
) -> StartedBroker:
    """Start the embedded broker as a child that ends with this process; wait until it accepts.

    Args:
        address: the file for its address. ``None`` is a private one, which only this
            process knows; ``embedded.address.default_address_path()`` is where others look.
        port: 0 takes the port of the file's former broker if it is free, else any.
        timeout: seconds.

    Raises:
        BrokerUnreachable: it did not start; the text has its own last words.
    """
    alone = address is None
    with contextlib.ExitStack() as stack, tempfile.TemporaryFile() as words:
        if address is None:
            # The broker removes it too: it outlives this process if that is killed.
            private = tempfile.TemporaryDirectory(
                prefix="gatherscatter-", ignore_cleanup_errors=True
            )
            address = Path(stack.enter_context(private)) / "address"
        child = subprocess.Popen(  # noqa: S603 - our own module
            [
                *(sys.executable, "-m", "pytest_gatherscatter.embedded"),
                *("--address-file", str(address)),
                *("--port", str(port)),
                *("--parent-pid", str(os.getpid())),
                *(("--private",) if alone else ()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            # Ctrl-C is for the tests: the broker must outlive what they still have to say.
            start_new_session=True,
        )
        stack.callback(_end, child)
        deadline = time.monotonic() + timeout
        while (found := read_address(address)) is None or found.pid != child.pid:
            if child.poll() is not None:
                words.seek(0)
                said = words.read().decode(errors="replace").strip().splitlines()
                reason = said[-1] if said else f"exit status {child.returncode}"
                raise BrokerUnreachable("local", f"it ended at once: {reason}")
            if time.monotonic() >= deadline:
                raise BrokerUnreachable("local", f"it did not accept within {timeout:g} s")
            time.sleep(0.005)
        return StartedBroker(found.url, child.pid, stack.pop_all().close)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a child in order, else by force."""
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
