"""TLS and certificates against a real RabbitMQ: what works, and one line for what does not."""

import contextlib
import json
import selectors
import socket
import ssl
import time
from dataclasses import replace
from pathlib import Path

import pika
import pytest
import rabbitmq
from faultproxy import FaultProxy
from pika.exceptions import AMQPError
from shells import Shell
from suite import MONITORS, SETTINGS

from pytest_gatherscatter.broker import dial
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.permission.definition import definitions_of
from pytest_gatherscatter.broker.permission.role import rights
from pytest_gatherscatter.broker.port import (
    NO_ROUTE,
    PortDown,
    PortEvent,
    PortUp,
    Properties,
    PublishReturned,
)
from pytest_gatherscatter.broker.topology import lab_topology
from pytest_gatherscatter.broker.url import BrokerUrl, parse
from pytest_gatherscatter.errors import (
    BrokerUnreachable,
    GatherScatterError,
    LoginRefused,
    SettingsInvalid,
)
from pytest_gatherscatter.wire import names

AT_ONCE = 4.0
"""Seconds in which a refusal must be told, though 10 are allowed: it is not tried again. They
come on top of what pika alone then needs to hear it of the same broker: how long that thinks about
a certificate is its own affair, and the machine's."""

Guarded = tuple[rabbitmq.Node, Path]


@pytest.fixture
def users(tls_node: Guarded, lab: str) -> str:
    """The lab of three logins without passwords, each with the rights of its role."""
    node, folder = tls_node
    roles = {"gatherer": "gatherer", "scope": "monitor", "tests": "workload"}
    everything: dict[str, list[object]] = {
        "users": [{"name": user, "password_hash": "", "tags": ""} for user in roles]
    }
    for user, role in roles.items():
        given = rights([role], [lab])
        for kind, items in definitions_of(user, "/", given, [lab]).items():
            everything.setdefault(kind, []).extend(items)
    path = folder / f"{lab}.json"
    path.write_text(json.dumps(everything))
    node.ctl("import_definitions", str(path))
    return lab


def url(
    at: Guarded, *, host: str = "localhost", ca: str = "ca", login: str = "", **more: str
) -> str:
    """The URL of the node's TLS port."""
    node, folder = at
    query = [f"{key}={value}" for key, value in more.items()]
    if ca:
        query.insert(0, f"cacertfile={folder}/{ca}.pem")
    return f"amqps://{login}{host}:{node.tls_port}?{'&'.join(query)}"


def opened(at: str | BrokerUrl, lab: str) -> Link:
    """A link that has tried to open."""
    link = Link(at, lab_topology(lab), name="test")
    link.open(10, retry=True)
    return link


class Witness(FaultProxy):
    """Passes everything on, and knows how often somebody came and when the broker last spoke."""

    def __init__(self, at: str) -> None:
        self.came = 0
        self.heard = time.monotonic()
        self.behind = parse(at)
        super().__init__(self.behind.host, self.behind.port)

    @property
    def url(self) -> BrokerUrl:
        """The same URL, by way of here."""
        return replace(self.behind, port=self.port)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        self.came += 1
        super()._accept(selector)

    def _pass(self, one: socket.socket, other: socket.socket, data: bytes) -> None:
        if one not in self._clients:
            self.heard = time.monotonic()
        try:
            super()._pass(one, other, data)
        except OSError:
            if one in self._clients:  # the broker has closed: what it said last is still there
                other.setblocking(False)  # noqa: FBT003 - the module's own
                with contextlib.suppress(OSError):
                    while last := other.recv(65536):
                        self.heard = time.monotonic()
                        one.sendall(last)
            raise


def bare(at: BrokerUrl) -> float:
    """Seconds until pika alone is refused."""
    start = time.monotonic()
    with pytest.raises((GatherScatterError, AMQPError, OSError)):
        pika.BlockingConnection(dial._parameters(at, "bare", 5, 10.0))
    return time.monotonic() - start


def told(at: str, lab: str) -> tuple[type[GatherScatterError], str]:
    """The one line that somebody is told who cannot connect, at once and after one try."""
    with Witness(at) as witness:
        start = time.monotonic()
        with pytest.raises(GatherScatterError) as refused:
            opened(witness.url, lab)
        end = time.monotonic()
    assert end - witness.heard < AT_ONCE
    if (took := end - start) >= AT_ONCE:
        assert took < bare(witness.behind) + AT_ONCE
    assert witness.came == (refused.type is not SettingsInvalid)
    assert "\n" not in str(refused.value)
    return refused.type, str(refused.value)


def test_a_certificate_is_the_login(tls_node: Guarded, users: str) -> None:
    """No user, no password, no ``user_id``: EXTERNAL, by the name in the certificate."""
    node, folder = tls_node
    at = url(tls_node, certfile=f"{folder}/scope.pem")
    with opened(at, users) as link:
        assert link.user is None
        assert link.product.startswith("RabbitMQ ")
        said = node.ctl(
            *("list_connections", "user", "auth_mechanism", "ssl", "timeout", "--formatter", "json")
        )
        mine = [one for one in json.loads(said) if one["user"] == "scope"]
        # The node suggests to do without heartbeats: what the client wants counts.
        facts = {"user": "scope", "auth_mechanism": "EXTERNAL", "ssl": True, "timeout": 5}
        assert mine == [facts]


def test_a_certificate_whose_name_is_said(tls_node: Guarded, users: str) -> None:
    """Then RabbitMQ vouches for it in ``user_id``; another one's name is refused, and told once."""
    _, folder = tls_node
    more = {"certfile": f"{folder}/scope.pem", "auth_mechanism": "external"}

    def said_as(login: str, link: Link) -> PortEvent:
        link.open(10)
        assert link.user == login
        assert link.poll(5) == [PortUp(1)]
        properties = Properties(type="t", user_id=link.user)
        to = names.direct_exchange(users)
        link.publish(to, names.GATHERER_KEY, b"{}", properties, mandatory=True)
        (event,) = link.poll(5)
        return event

    for login in ("scope", "tests"):
        at = url(tls_node, login=f"{login}@", **more)
        with Link(at, lab_topology(users), name="test", reconnect=True) as link:
            event = said_as(login, link)
            if login == "scope":
                assert event == PublishReturned(1, NO_ROUTE)
            else:
                assert isinstance(event, PortDown)
                with pytest.raises(LoginRefused, match="must be the certificate's name"):
                    link.poll(5)


def test_a_password_over_tls(tls_node: Guarded, lab: str) -> None:
    """With a user in the URL the certificate only opens the door."""
    _, folder = tls_node
    with opened(
        url(tls_node, login="guest:guest@", certfile=f"{folder}/stranger.pem"), lab
    ) as link:
        assert link.user == "guest"
    kind, words = told(url(tls_node, login="guest:wrong@", certfile=f"{folder}/stranger.pem"), lab)
    assert kind is LoginRefused
    assert "look at the user in the URL and the password" in words
    assert "wrong" not in words


def test_a_name_that_is_no_user(tls_node: Guarded, lab: str) -> None:
    """The certificate is good, and RabbitMQ knows nobody of that name."""
    _, folder = tls_node
    kind, words = told(url(tls_node, certfile=f"{folder}/stranger.pem"), lab)
    assert kind is LoginRefused
    assert "the certificate's name must be a user of the broker" in words


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        ("forged", "does not know who signed the one"),
        ("expired", "has expired"),
        ("", "asks for a certificate"),
    ],
)
def test_a_certificate_that_the_broker_refuses(
    tls_node: Guarded, lab: str, certificate: str, why: str
) -> None:
    """TLS 1.3 says so only after the handshake; it is told all the same, with the cure."""
    _, folder = tls_node
    more = {"certfile": f"{folder}/{certificate}.pem"} if certificate else {}
    kind, words = told(url(tls_node, **more), lab)
    assert kind is LoginRefused
    assert why in words
    assert "refuses our certificate: " in words
    assert "certfile" in words


def test_an_authority_that_is_not_trusted(tls_node: Guarded, lab: str) -> None:
    """Another one's file, or none: the broker's certificate is nobody's that we know."""
    _, folder = tls_node
    for ca in ("other-ca", ""):
        kind, words = told(url(tls_node, ca=ca, certfile=f"{folder}/scope.pem"), lab)
        assert kind is LoginRefused
        assert "its certificate is not trusted: " in words
        assert "?cacertfile=… names the authority" in words


def test_a_broker_of_another_name(tls_node: Guarded, users: str) -> None:
    """Reached by its number: its certificate does not say that, unless we say what it says."""
    _, folder = tls_node
    certfile = f"{folder}/scope.pem"
    kind, words = told(url(tls_node, host="127.0.0.1", certfile=certfile), users)
    assert kind is LoginRefused
    assert "certificate is not valid for '127.0.0.1'" in words
    assert "server_name_indication=" in words
    named = url(tls_node, host="127.0.0.1", certfile=certfile, server_name_indication="localhost")
    opened(named, users).close()


def test_a_brokers_certificate_that_has_expired(tls_node: Guarded, lab: str) -> None:
    """A proxy shows an old one; nothing that we could name would cure it."""
    node, folder = tls_node
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "expired-server.pem")
    at = parse(node.url)
    with FaultProxy(at.host, at.port, context) as proxy:
        place = f"amqps://guest:guest@localhost:{proxy.port}?cacertfile={folder}/ca.pem"
        kind, words = told(place, lab)
    assert kind is LoginRefused
    assert "its certificate has expired: it needs a new one" in words


def test_a_broker_without_external(tls_node: Guarded, rabbitmq_url: str, lab: str) -> None:
    """A certificate and no user, and a RabbitMQ without the plugin for that."""
    _, folder = tls_node
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    at = parse(rabbitmq_url)
    with FaultProxy(at.host, at.port, context) as proxy:
        place = f"amqps://localhost:{proxy.port}?cacertfile={folder}/ca.pem"
        kind, words = told(f"{place}&certfile={folder}/scope.pem", lab)
        assert kind is LoginRefused
        assert "rabbitmq_auth_mechanism_ssl" in words
        # The same authority, no certificate of ours, and a password.
        opened(place.replace("//", f"//{at.user}:{at.password}@"), lab).close()


def test_no_tls_to_a_port_for_tls(tls_node: Guarded, lab: str) -> None:
    """It may be a broker that starts, so it counts as unreachable, with a hint."""
    node, _ = tls_node
    with pytest.raises(BrokerUnreachable, match="one for TLS is amqps://"):
        Link(f"amqp://guest:guest@localhost:{node.tls_port}", lab_topology(lab), name="t").open(2)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"certfile": "locked.pem", "keyfile": "locked.key"}, "is encrypted, and nobody is there"),
        ({"certfile": "scope.pem", "keyfile": "server.key"}, "that belong together"),
        ({"certfile": "no-such.pem"}, "cannot be read"),
    ],
)
def test_files_that_cannot_be_used(
    tls_node: Guarded, lab: str, files: dict[str, str], why: str
) -> None:
    """Told before anything is sent, and nobody is asked for a passphrase."""
    _, folder = tls_node
    kind, words = told(
        url(tls_node, **{key: f"{folder}/{name}" for key, name in files.items()}), lab
    )
    assert kind is SettingsInvalid
    assert why in words


def test_a_section_with_certificates_only(tls_node: Guarded, users: str, tmp_path: Path) -> None:
    """Gatherer, monitor and test log in by their certificates, each with the least rights."""
    _, folder = tls_node
    (tmp_path / "monitors.py").write_text(MONITORS)
    (tmp_path / "gatherscatter.toml").write_text(SETTINGS)
    people = {
        name: Shell(
            tmp_path,
            GATHERSCATTER_BROKER=url(tls_node, certfile=f"{folder}/{name}.pem"),
            GATHERSCATTER_LAB=users,
        )
        for name in ("gatherer", "scope", "tests")
    }
    try:
        people["gatherer"].start("gatherer").says("every section needs")
        people["scope"].start("monitor", "scope").says("monitor scope of lab")
        ran = people["tests"].run("workload", "--require", "scope", "--name", "burst", "--", "true")
        assert ran.returncode == 0, ran.stderr
        assert "verdict: passed" in ran.stderr
    finally:
        for person in people.values():
            person.end()
