"""A broker's URL, taken apart and checked; nothing here does I/O.

``amqp://user:password@host:port/vhost`` or ``amqps://…``; for TLS the query takes the names
that RabbitMQ's own clients use: ``cacertfile``, ``certfile``, ``keyfile``,
``server_name_indication``, ``auth_mechanism=external``. Whatever is shown to anybody is
:attr:`BrokerUrl.safe`, which has no password in it.
"""

import re
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from msgspec import Struct

from pytest_gatherscatter.errors import SettingsInvalid

PORTS = {"amqp": 5672, "amqps": 5671}
"""The schemes that are understood, with the ports that IANA gave them."""

ALLOWED = "amqp://[user[:password]@]host[:port][/vhost] or amqps://…"

_TLS_KEYS = {
    "cacertfile": "ca",
    "certfile": "certificate",
    "keyfile": "key",
    "server_name_indication": "server_name",
}

_LABEL_MAX = 63
"""Letters between two dots of a host's name."""

_MECHANISM, _EXTERNAL = "auth_mechanism", "external"

GUEST = "guest"
"""User and password of a URL that names none: what RabbitMQ is installed with."""

_PASSWORD = re.compile(r"(?<=//)([^:@/]*):.*@", re.DOTALL)
_HOSTLESS = re.compile(r"(?<=//)([^:@/\[]*):(?!\d*(?:[/?#]|$))[^@]*$", re.DOTALL)
"""A password without a host after it, as in ``amqp://user:secret``."""

_QUERY = re.compile(r"\?.+$", re.DOTALL)
"""What other programs' URLs may hold a password in."""


class TlsFiles(Struct, frozen=True):
    """Paths of PEM files; ``None`` means the system's authorities, or no client certificate.

    ``server_name`` is what the broker's certificate must say, if that is not the host.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where a broker is and how to log in; ``tls`` is ``None`` for ``amqp://``.

    Without a user, a client certificate logs in by itself (EXTERNAL); else it is ``guest``. With
    ``certified``, ``user`` is only whose certificate it is: a client is not told its own login.
    """

    host: str
    port: int
    vhost: str = "/"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsFiles | None = None
    certified: bool = False

    @property
    def external(self) -> bool:
        """Whether the client certificate is the login."""
        if self.tls is None or self.tls.certificate is None:
            return False
        return self.certified or self.user is None

    @property
    def login(self) -> str | None:
        """The login that the broker knows us by; None if it is in a certificate and not said."""
        return self.user if self.external else self.user or GUEST

    @property
    def safe(self) -> str:
        """The URL without password and files, for errors, logs and reports."""
        scheme = "amqp" if self.tls is None else "amqps"
        user = "" if self.user is None else quote(self.user, safe="") + "@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        vhost = "" if self.vhost == "/" else "/" + quote(self.vhost, safe="")
        return f"{scheme}://{user}{host}:{self.port}{vhost}"

    def with_password(self, password: str) -> "BrokerUrl":
        """The same with another password."""
        return replace(self, password=password)


def safe_url(url: str) -> str:
    """Return any text that may be a URL with everything removed that may be a password."""
    shown = _HOSTLESS.sub(r"\1:…", _PASSWORD.sub(r"\1@", url))
    return _QUERY.sub("?…", shown)


def parse(url: str, *, where: str = "broker URL") -> BrokerUrl:
    """Take a URL apart; ``where`` names the option or variable that it came from.

    Raises:
        SettingsInvalid: it is no AMQP URL; the text says what is allowed, and no password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid(where, url, "is no URL") from None
    if parts.scheme not in PORTS:
        raise _invalid(where, url, "is no AMQP URL")
    if not parts.hostname or any(character.isspace() for character in url):
        raise _invalid(where, url, "names no host")
    if not _resolvable(parts.hostname):
        raise _invalid(where, url, "names no host that could be")
    if parts.fragment:
        raise _invalid(where, url, "holds a '#', which must be written as %23")
    path = parts.path.removeprefix("/")
    if "/" in path:
        raise _invalid(where, url, "holds a vhost with '/', which must be written as %2F")
    tls, certified = _tls(parts, url, where)
    return BrokerUrl(
        host=parts.hostname,
        port=PORTS[parts.scheme] if port is None else port,
        vhost=unquote(path) or "/",
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        tls=tls,
        certified=certified,
    )


def _resolvable(host: str) -> bool:
    """Whether a name can be looked up at all; asked for any other, Python raises UnicodeError."""
    if host.isascii() and all(0 < len(label) <= _LABEL_MAX for label in host.split(".")):
        return True
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _tls(parts: SplitResult, url: str, where: str) -> tuple[TlsFiles | None, bool]:
    """Read the TLS files from the query, and whether the certificate is the login in any case.

    Raises:
        SettingsInvalid: an unknown key, or files for a connection without TLS.
    """
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := set(query) - {*_TLS_KEYS, _MECHANISM}:
        allowed = ", ".join(sorted({*_TLS_KEYS, _MECHANISM}))
        raise _invalid(where, url, f"has an unknown {min(unknown)!r} (allowed: {allowed})")
    if parts.scheme == "amqp":
        if query:
            raise _invalid(where, url, f"has {min(query)!r}, which needs amqps://")
        return None, False
    mechanism = query.pop(_MECHANISM, None)
    files = TlsFiles(**{_TLS_KEYS[key]: value or None for key, value in query.items()})
    if files.key is not None and files.certificate is None:
        raise _invalid(where, url, "has a keyfile and no certfile")
    if mechanism is None:
        return files, False
    if mechanism.lower() != _EXTERNAL:
        raise _invalid(where, url, f"has an {_MECHANISM} that is not {_EXTERNAL!r}")
    if files.certificate is None or parts.password is not None:
        what = "no certfile" if files.certificate is None else "a password"
        raise _invalid(where, url, f"has {_MECHANISM}={_EXTERNAL} and {what}")
    return files, True


def _invalid(where: str, url: str, problem: str) -> SettingsInvalid:
    return SettingsInvalid(where, f"{safe_url(url)!r} {problem}; allowed is {ALLOWED}")
