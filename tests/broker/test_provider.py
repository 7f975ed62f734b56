"""Where a broker is found: the order, the reasons, and passwords from elsewhere."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_gatherscatter.broker import provider
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.provider import Found, resolve
from pytest_gatherscatter.broker.topology import lab_topology
from pytest_gatherscatter.broker.url import parse
from pytest_gatherscatter.embedded.address import default_address_path
from pytest_gatherscatter.errors import BrokerUnreachable, SettingsInvalid

NOBODY = "no broker is configured, and no local one runs"


@pytest.fixture(autouse=True)
def _empty_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for local brokers where there are none."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def alive(pid: int) -> bool:
    """Whether the process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_url_is_taken_as_it_is() -> None:
    """A URL in the settings wins over everything."""
    found = resolve("amqp://u:s3cret@h", env={"GATHERSCATTER_BROKER": "amqp://other"})
    assert found == Found("amqp://u:s3cret@h", "url", "as the settings say")
    assert "s3cret" not in repr(found)
    assert found.safe == "amqp://u@h"


def test_auto_takes_the_environment_first() -> None:
    """``auto`` is the environment's URL, and says so."""
    found = resolve("auto", env={"GATHERSCATTER_BROKER": "amqp://h"})
    assert found == Found("amqp://h", "url", "from GATHERSCATTER_BROKER")
    assert resolve("auto", env={"GATHERSCATTER_BROKER": "none"}).kind == "none"
    assert resolve("auto", env={"GATHERSCATTER_BROKER": "auto"}).why == NOBODY


def test_auto_without_anything_is_none() -> None:
    """Nothing configured and nothing running is no broker, and no error."""
    assert resolve("auto", env={}) == Found(None, "none", NOBODY)


def test_words() -> None:
    """The words that mean no URL."""
    assert resolve("none", env={}).kind == "none"
    assert resolve("docker", env={}).kind == "docker"
    assert resolve("local", env={}) == Found(None, "local", "no local broker runs")


@pytest.mark.parametrize("broker", ["loca", "", "h:5672", "u:s3cret@h", "http://u:s3cret@h"])
def test_what_cannot_be_is_refused(broker: str) -> None:
    """Anything else is a mistake, and what is allowed is said."""
    with pytest.raises(SettingsInvalid, match="amqp://") as caught:
        resolve(broker, env={})
    assert "//u:s3cret" not in str(caught.value)


def test_a_wrong_url_in_the_environment_names_the_variable() -> None:
    """Who reads the error must know where to look."""
    with pytest.raises(SettingsInvalid, match=r"^GATHERSCATTER_BROKER: "):
        resolve("auto", env={"GATHERSCATTER_BROKER": "amqp://"})


def test_the_password_from_the_environment() -> None:
    """A user without a password gets the environment's; one with a password keeps it."""
    env = {"GATHERSCATTER_PASSWORD": "p@ss/word:%"}
    url = resolve("amqp://u@h:1/v", env=env).url
    assert url is not None
    assert parse(url) == parse("amqp://u@h:1/v").with_password("p@ss/word:%")
    assert resolve("amqp://u:own@h", env=env).url == "amqp://u:own@h"
    assert resolve("amqp://h", env=env).url == "amqp://h"


def test_the_password_from_a_file(tmp_path: Path) -> None:
    """The file's last newline is none of the password; a missing file is named."""
    path = tmp_path / "password"
    path.write_text("s3cret \n")
    url = resolve("amqp://u@h", env={"GATHERSCATTER_PASSWORD_FILE": str(path)}).url
    assert url is not None
    assert parse(url).password == "s3cret "  # noqa: S105 - the example
    with pytest.raises(SettingsInvalid, match=r"^GATHERSCATTER_PASSWORD_FILE: /no/such"):
        resolve("amqp://u@h", env={"GATHERSCATTER_PASSWORD_FILE": "/no/such"})


def test_looking_imports_no_client() -> None:
    """Finding out which broker it would be costs no pika and no testcontainers."""
    code = (
        "import sys; from pytest_gatherscatter.broker import provider;"
        "provider.resolve('amqp://h', env={}); provider.resolve('auto', env={});"
        "sys.exit(bool({'pika', 'testcontainers', 'asyncio', 'tenacity'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_local_broker_is_started_found_and_stopped(lab: str) -> None:
    """One at the default address is found by ``auto`` and ``local``, and gone after stop."""
    with provider.start_local(address=default_address_path()) as broker:
        assert resolve("auto", env={}).url == broker.url
        assert resolve("local", env={}).url == broker.url
        assert resolve("auto", env={}).kind == "local"
        with Link(broker.url, lab_topology(lab), name="test") as link:
            link.open(5)
        assert broker.pid is not None
        assert alive(broker.pid)
    assert not alive(broker.pid)
    assert resolve("auto", env={}).why == NOBODY
    broker.stop()


def test_two_private_brokers_do_not_meet(lab: str) -> None:
    """Each has a port and a password of its own, and neither is found by others."""
    with provider.start_local() as one, provider.start_local() as two:
        assert parse(one.url).port != parse(two.url).port
        assert parse(one.url).password != parse(two.url).password
        assert resolve("auto", env={}).kind == "none"
        for broker in (one, two):
            with Link(broker.url, lab_topology(lab), name="test") as link:
                link.open(5)


def test_a_private_broker_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with a broker of its own litters no temporary directory, run after run."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with provider.start_local():
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_local_broker_ends_with_its_parent() -> None:
    """A parent that is killed leaves no broker behind."""
    code = (
        "import time; from pytest_gatherscatter.broker import provider;"
        "broker = provider.start_local(); print(broker.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    end = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_local_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Its own last words are in the error, and no process is left."""
    with (
        provider.start_local() as first,
        pytest.raises(BrokerUnreachable, match="local"),
    ):
        provider.start_local(address=tmp_path / "address", port=parse(first.url).port)
