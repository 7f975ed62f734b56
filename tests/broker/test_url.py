"""Broker URLs: what is understood, what is refused, and that no password is ever shown."""

import pytest

from pytest_gatherscatter.broker.url import BrokerUrl, TlsFiles, parse, safe_url
from pytest_gatherscatter.errors import SettingsInvalid


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("amqp://h", BrokerUrl("h", 5672)),
        ("amqp://h/", BrokerUrl("h", 5672)),
        ("amqps://h", BrokerUrl("h", 5671, tls=TlsFiles())),
        ("amqp://u:p@h:1/v", BrokerUrl("h", 1, "v", "u", "p")),
        ("amqp://u@[::1]:1/%2F", BrokerUrl("::1", 1, "/", "u")),
        ("amqp://h\u00f6st.lab.", BrokerUrl("h\u00f6st.lab.", 5672)),
        ("amqp://u%40x:p%2F%3A@h/a%2Fb", BrokerUrl("h", 5672, "a/b", "u@x", "p/:")),
        (
            "amqps://h?cacertfile=/ca&certfile=/c&keyfile=/k&server_name_indication=n",
            BrokerUrl("h", 5671, tls=TlsFiles("/ca", "/c", "/k", "n")),
        ),
    ],
)
def test_urls_that_are_understood(text: str, parsed: BrokerUrl) -> None:
    """Each part is where RabbitMQ's own clients have it."""
    assert parse(text) == parsed


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no AMQP URL"),
        ("localhost", "no AMQP URL"),
        ("http://u:s3cret@h", "no AMQP URL"),
        ("amqp://", "no host"),
        ("amqp://u:s3cret@", "no host"),
        ("amqp://u:s3cret@h:port", "no URL"),
        ("amqp://u:s3cret@h:99999", "no URL"),
        ("amqp://u:s3cret", "no URL"),
        ("amqp://u:s3cret@h/a/b", "%2F"),
        ("amqp://u:s3cret#x@h", "URL"),
        ("amqp://u:s3cret@h h", "no host"),
        ("amqp://u:s3cret@a..b", "no host that could be"),
        (f"amqp://u:s3cret@{'a' * 64}.lab", "no host that could be"),
        ("amqp://u:s3cret@xn--\u00fc.lab", "no host that could be"),
        ("amqp://u:s3cret@h?heartbeat=1", "heartbeat"),
        ("amqp://u:s3cret@h?cacertfile=/x", "amqps"),
        ("amqps://u:s3cret@h?keyfile=/x", "certfile"),
        ("amqps://u:s3cret@h?certfile=/x&auth_mechanism=external", "a password"),
        ("amqps://u@h?auth_mechanism=external", "no certfile"),
        ("amqps://u@h?certfile=/x&auth_mechanism=plain", "is not 'external'"),
        ("amqp://u@h?auth_mechanism=external", "needs amqps"),
    ],
)
def test_urls_that_are_refused(text: str, word: str) -> None:
    """The error names where it came from, what is wrong and what is allowed, no password."""
    with pytest.raises(SettingsInvalid) as caught:
        parse(text, where="--gs-broker")
    said = str(caught.value)
    assert said.startswith("--gs-broker: ")
    assert word in said
    assert "amqp://[user" in said
    assert "s3cret" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("amqp://u:s3cret@h", "amqp://u@h:5672"),
        ("amqps://u:s3c%2Fret@[::1]:1/a%2Fb?cacertfile=/x", "amqps://u@[::1]:1/a%2Fb"),
        ("amqp://h/%2F", "amqp://h:5672"),
    ],
)
def test_what_is_shown_has_no_password(text: str, safe: str) -> None:
    """Host, port, user and vhost are shown; the password is nowhere, not even in repr."""
    assert parse(text).safe == safe
    assert "s3c" not in repr(parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "amqp://u:s3cret@h",
        "amqp://u:s3@cret@h",
        "amqp://u:s3/cret@h",
        "amqp://u:s3cret",
        "amqp://u@h?password=s3cret",
    ],
)
def test_text_that_is_no_good_url_is_made_safe_too(text: str) -> None:
    """Passwords with characters that should have been escaped are removed as well."""
    assert "s3" not in safe_url(text)
    assert "cret" not in safe_url(text)
    assert safe_url(text).startswith("amqp://u")


def test_a_client_certificate_is_a_login() -> None:
    """Without a user and with a client certificate it is EXTERNAL, and only then."""
    assert parse("amqps://h?certfile=/c").external
    assert not parse("amqps://u@h?certfile=/c").external
    assert not parse("amqps://h?cacertfile=/c").external
    assert not parse("amqp://h").external
    assert parse("amqps://h?certfile=/c").login is None
    assert parse("amqps://u@h?certfile=/c").login == "u"
    assert parse("amqp://h").login == "guest"
    named = parse("amqps://u@h?certfile=/c&auth_mechanism=EXTERNAL")
    assert (named.external, named.login) == (True, "u")


def test_another_password() -> None:
    """A password from elsewhere replaces only the password."""
    assert parse("amqp://u@h").with_password("p") == parse("amqp://u:p@h")
