"""How a connection to a broker comes to be over pika, and why it does not.

Apart from ``connection.py``, so that there one can read what a connection does once it is
made. Knows nothing of channels, topologies and messages.
"""

import logging
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import pika
from pika.adapters.select_connection import SelectConnection
from pika.adapters.utils import connection_workflow as workflow
from pika.exceptions import (
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from pytest_gatherscatter.broker.loop import PIKA_BROKE, Loop
from pytest_gatherscatter.broker.url import GUEST, PORTS, BrokerUrl
from pytest_gatherscatter.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    LoginRefused,
    NameTaken,
    SettingsInvalid,
)

BLOCKED_SECONDS = 30.0
"""How long a broker that is out of memory or disk may keep us waiting for confirms."""

ACCESS_REFUSED, RESOURCE_LOCKED, NOT_ALLOWED = 403, 405, 530

_log = logging.getLogger("pika")
if _log.level == logging.NOTSET:
    # pika logs each lost connection as errors with tracebacks, past any capture; what is
    # lost comes as an event here. Whoever gave pika's logger a level of their own keeps it.
    _log.setLevel(logging.CRITICAL)

Address: TypeAlias = tuple[Any, ...]
"""One answer of ``socket.getaddrinfo``."""


class _InTurn(workflow.AbstractAMQPConnectionWorkflow):
    """Try the addresses of a host in turn, without the thread in which pika resolves names."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._addresses = deque(addresses)

    def start(
        self,
        connection_configs: Sequence[Any],
        connector_factory: Callable[..., Any],
        native_loop: object,
        on_done: Callable[[Any], None],
    ) -> None:
        del native_loop
        (self._config,) = connection_configs
        self._factory = connector_factory
        self._on_done = on_done
        self._next()

    def _next(self) -> None:
        self._connector = self._factory()
        self._connector.start(
            addr_record=self._addresses.popleft(), conn_params=self._config, on_done=self._done
        )

    def _done(self, result: object) -> None:
        if isinstance(result, workflow.AMQPConnectorSocketConnectError) and self._addresses:
            self._next()
        else:
            self._on_done(result)

    def abort(self) -> None:
        self._connector.abort()


class _Bundling(SelectConnection):
    """Hands the system what leaves in one turn of the loop as one piece.

    pika would hand over each frame alone, three for a message: each is a call of the system, and
    wakes the broker. Until it is open, and from its end on, frames go as they come.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - pika's own
        self._bundle: list[bytes] = []
        super().__init__(*args, **kwargs)

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self.is_open:
            self._send()
            self._emit(data)
            return
        if not self._bundle:
            loop: Any = self.ioloop
            loop.before_poll(self._send)
        self._bundle.append(data)

    def _send(self) -> None:
        bundle, self._bundle = self._bundle, []
        if bundle and not self.is_closed:
            self._emit(b"".join(bundle))

    def _emit(self, data: bytes) -> None:
        adapter: Any = super()  # pika's types leave out what adapters are to override
        adapter._adapter_emit_data(data)  # noqa: SLF001 - as above


def dial(  # noqa: PLR0913 - each is a fact of the attempt
    url: BrokerUrl,
    *,
    loop: Loop,
    name: str,
    heartbeat: int,
    seconds: float,
    on_done: Callable[[Any], None],
) -> Any:  # noqa: ANN401 - pika's own
    """Start to connect; ``on_done`` gets pika's connection or an exception, in the loop.

    Returns:
        The attempt, for :func:`hang_up`.

    Raises:
        SettingsInvalid: a TLS file cannot be read.
        OSError: no descriptor is left, or the like.
    """
    return _Bundling.create_connection(
        [_parameters(url, name, heartbeat, seconds)],
        on_done,
        custom_ioloop=loop,
        workflow=_addresses(url),
    )


def hang_up(attempt: Any, loop: Loop) -> None:  # noqa: ANN401 - pika's own
    """End an attempt that is under way; its ``on_done`` still comes."""
    try:
        attempt.abort()
    except workflow.AMQPConnectorException:
        pass  # it is over
    except AssertionError:
        # pika 1.4 cannot abort during the AMQP handshake; the end of the stream can.
        loop.cut()


def _addresses(url: BrokerUrl) -> _InTurn | None:
    """Resolve what needs no name server; ``None`` leaves a name to pika's own thread.

    A name server may not answer for half a minute: pika's thread keeps that out of
    ``poll``. Numbers and ``localhost`` cannot hang, and save the thread.
    """
    flags = 0 if url.host == "localhost" else socket.AI_NUMERICHOST
    try:
        found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        return None
    return _InTurn(found)


def _parameters(
    url: BrokerUrl, name: str, heartbeat: int, seconds: float
) -> pika.ConnectionParameters:
    credentials: Any
    if url.external:
        credentials = pika.credentials.ExternalCredentials()
    else:
        credentials = pika.PlainCredentials(url.user or GUEST, url.password or GUEST)
    return pika.ConnectionParameters(
        host=url.host,
        port=url.port,
        virtual_host=url.vhost,
        credentials=credentials,
        heartbeat=heartbeat,
        # Whoever dials ends an attempt when its time is over, and says so in its own words.
        socket_timeout=seconds + 1.0,
        stack_timeout=seconds + 1.0,
        blocked_connection_timeout=BLOCKED_SECONDS,
        ssl_options=_ssl_options(url),
        client_properties={"connection_name": name},
    )


def explain(url: BrokerUrl, error: BaseException) -> BrokerError:  # noqa: PLR0911 - one for each
    """Say in this package's words why a connection could not be made, and what to try next."""
    if isinstance(error, workflow.AMQPConnectionWorkflowFailed):
        error = error.exceptions[-1]
    if isinstance(error, workflow.AMQPConnectorPhaseErrorBase):
        error = error.exception
    if (trouble := _tls_trouble(url, error)) is not None:
        return trouble
    if isinstance(error, ProbableAuthenticationError | ProbableAccessDeniedError):
        # pika guesses from the phase; only what the broker said is a refusal.
        said = _SAID.search(str(error))
        if said:
            return _refused(url, int(said[1]), said[3])
        return BrokerUnreachable(url.safe, "the connection broke at login")
    if isinstance(error, AuthenticationError):
        cure = "; RabbitMQ's plugin rabbitmq_auth_mechanism_ssl does" if url.external else ""
        return LoginRefused(url.safe, f"it does not offer our way to log in{cure}")
    if isinstance(error, ConnectionClosedByBroker):
        return _refused(url, error.reply_code, error.reply_text)
    if isinstance(error, IncompatibleProtocolError):
        hint = "is this an AMQP port? one for TLS is amqps://"
        if url.tls is not None:
            hint = "is this an AMQP port, and does it take our certificate?"
        return BrokerUnreachable(url.safe, f"the connection broke before the login ({hint})")
    return BrokerUnreachable(url.safe, words(error) + _advice(error))


_SAID = re.compile(r"ConnectionClosedByBroker: \((\d+)\) (['\"])(.*?)\2(?=[\"',)]*$)")
"""What the broker said, in the text that pika makes of it; it may hold quotes itself."""

_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})
"""How OpenSSL, by its version, says that the other side speaks something else."""


_ALERTS = {
    "CERTIFICATE_REQUIRED": "it asks for a certificate: ?certfile=… (and keyfile) names ours",
    "HANDSHAKE_FAILURE": "it may ask for a certificate: ?certfile=… (and keyfile) names ours",
    "CERTIFICATE_EXPIRED": "the one in certfile has expired",
    "UNKNOWN_CA": "it does not know who signed the one in certfile",
    "BAD_CERTIFICATE": "it finds the one in certfile bad",
    "CERTIFICATE_REVOKED": "the one in certfile was revoked",
    "CERTIFICATE_UNKNOWN": "it does not accept the one in certfile",
}
"""What a broker that speaks TLS may say of our certificate, by words of OpenSSL's reasons."""


def _tls_trouble(url: BrokerUrl, error: BaseException) -> BrokerError | None:
    """Say what TLS does not like: their certificate, ours, or that they speak none."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return LoginRefused(url.safe, _distrust(error), "was not used")
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        cure = f"use amqp://, or the port for TLS ({PORTS['amqps']})"
        return LoginRefused(url.safe, cure, "speaks no TLS at this port")
    if isinstance(error, ssl.SSLError | IncompatibleProtocolError):
        # TLS 1.3: what the broker thinks of our certificate comes after the handshake, as text.
        for alert, cure in _ALERTS.items():
            if alert in str(error):
                return LoginRefused(url.safe, cure, "refuses our certificate")
    return None


_EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 10, 62, 64
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH."""


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    """Say why the broker's certificate is not good enough, and what to do."""
    if error.verify_code == _EXPIRED:
        return "its certificate has expired: it needs a new one"
    why = f"its certificate is not trusted: {error.verify_message.rstrip('.')}"
    if error.verify_code in {_OTHER_HOST, _OTHER_ADDRESS}:
        return f"{why}; ?server_name_indication=… says which name it has"
    return f"{why}; ?cacertfile=… names the authority that signed it"


def _refused(url: BrokerUrl, code: int, text: str) -> BrokerError:
    """Say what the broker refused when it closed the connection, and the cure."""
    if code == NOT_ALLOWED and "vhost" in text:
        vhost = url.vhost
        if "not found" in text:
            cure = f"correct the URL's path, or 'rabbitmqctl add_vhost {vhost}'"
            return LoginRefused(url.safe, f"{text}; {cure}", f"has no vhost {vhost!r}")
        cure = f"'rabbitmqctl set_permissions -p {vhost} {url.user or GUEST} …' lets it in"
        return LoginRefused(url.safe, f"{text}; {cure}", f"lets nobody into vhost {vhost!r}")
    if code not in {ACCESS_REFUSED, NOT_ALLOWED}:
        return BrokerUnreachable(url.safe, text)
    if url.external:
        cure = "the certificate's name must be a user of the broker"
    elif url.user is None:
        cure = f"the URL names no user, and {GUEST!r} may log in from the broker's own host only"
    elif url.password is None:
        cure = "no password was given: set GATHERSCATTER_PASSWORD"
    else:
        cure = "look at the user in the URL and the password (GATHERSCATTER_PASSWORD)"
    return LoginRefused(url.safe, f"{text.rstrip('.')}; {cure}")


def _advice(error: BaseException) -> str:
    """Say what to look at when nobody answered."""
    if isinstance(error, socket.gaierror):
        return " (is the host's name right?)"
    if isinstance(error, ConnectionRefusedError):
        return " (is a broker started there, at this port?)"
    if isinstance(error, TimeoutError | workflow.AMQPConnectorStackTimeout):
        return " (is the host up, and no firewall in between?)"
    return ""


def close(connection: Any) -> None:  # noqa: ANN401 - pika's own
    """Ask for an orderly end, unless it has begun."""
    with suppress(*PIKA_BROKE):
        if not (connection.is_closed or connection.is_closing):
            connection.close()


def refusal(reason: ChannelClosedByBroker) -> BrokerRefused:
    """Say in this package's words why the broker closed a channel."""
    kind = NameTaken if reason.reply_code == RESOURCE_LOCKED else BrokerRefused
    return kind(reason.reply_code, reason.reply_text)


def _ssl_options(url: BrokerUrl) -> pika.SSLOptions | None:
    """Build the TLS context.

    Raises:
        SettingsInvalid: naming the file that cannot be read.
    """
    if url.tls is None:
        return None
    files = url.tls
    for what, path in (
        ("cacertfile", files.ca),
        ("certfile", files.certificate),
        ("keyfile", files.key),
    ):
        if path is not None:
            try:
                with open(path, "rb"):  # noqa: PTH123 - only whether it can be read
                    pass
            except OSError as error:
                raise SettingsInvalid(what, f"{path} cannot be read: {error.strerror}") from None
    try:
        context = ssl.create_default_context(cafile=files.ca)
        if files.certificate is not None:
            key = files.key or files.certificate
            context.load_cert_chain(files.certificate, files.key, lambda: _locked(key))
    except (ssl.SSLError, OSError) as error:
        raise SettingsInvalid(
            "cacertfile, certfile, keyfile", f"not PEM files that belong together: {error}"
        ) from None
    return pika.SSLOptions(context, server_hostname=files.server_name or url.host)


def _locked(key: str) -> str:
    """Stand where OpenSSL would ask for a passphrase, and wait for it for ever.

    Raises:
        SettingsInvalid: always.
    """
    cure = f"'openssl pkey -in {key} -out …' writes it as it is needed"
    raise SettingsInvalid("keyfile", f"{key} is encrypted, and nobody is there to be asked; {cure}")


def words(error: BaseException) -> str:
    """Say an error of pika or the system in words for a person."""
    if isinstance(error, ConnectionClosedByBroker | ChannelClosedByBroker):
        return f"{error.reply_code} {error.reply_text}"
    if isinstance(error, TimeoutError | workflow.AMQPConnectorStackTimeout):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return ": ".join(str(part) for part in error.args) or type(error).__name__
