"""``gatherscatter testfiles``: a listener's settings, and a ping as people and programs see it."""

from pathlib import Path

import pytest

from pytest_gatherscatter.cli import testfiles as command
from pytest_gatherscatter.cli.main import status
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.settings import load
from pytest_gatherscatter.wire.testfiles import ListenerJob, ListenerSeen

TABLE = """
[listener]
name = "rack1"
slots = 4
labels = ["gpu", "large"]
sources = ["me@pc:/home/me/*"]
workspaces = "jobs"
drain = "5m"
"""

SEEN = ListenerSeen(
    listener="ab" * 4,
    host="rack1",
    pid=7,
    version="0.1.0",
    slots=4,
    free=1,
    load=1.25,
    labels=("gpu",),
    jobs=(ListenerJob(job="cd" * 4, originator="pid 1 in /x", state="working", seconds=12.4),),
    waiting=2,
)


def test_a_listeners_settings(tmp_path: Path) -> None:
    """Of the file, which paths stand on; the command line comes before."""
    (tmp_path / "gatherscatter.toml").write_text(TABLE)
    settings = load(command_line={}, environ={}, ini={}, directory=tmp_path)
    told = command.read_listener(settings, {"slots": "8", "labels": (), "fresh": None})
    assert (told.name, told.slots, told.drain) == ("rack1", 8, 300)
    assert told.labels == {"gpu", "large"}
    assert told.workspaces == tmp_path / "jobs"
    told = command.read_listener(settings, {"sources": ("/a/*", "/b/*"), "labels": ("one",)})
    assert told.sources == ("/a/*", "/b/*")
    assert told.labels == {"one"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"slots": "0"}, "--slots: a listener without a slot does nothing"),
        ({"slots": "many"}, "--slots: 'many' must be a whole number"),
        ({"labels": ("a b",)}, "--label: label name 'a b'"),
        ({"drain": "soon"}, "--drain: 'soon' is not a duration"),
    ],
)
def test_what_a_listener_cannot_be(given: dict[str, object], said: str, tmp_path: Path) -> None:
    """One line names the option and what is allowed."""
    settings = load(command_line={}, environ={}, ini={}, directory=tmp_path)
    with pytest.raises(SettingsInvalid) as caught:
        command.read_listener(settings, given)
    assert said in str(caught.value)


def test_an_unknown_key_of_the_table(tmp_path: Path) -> None:
    """As everywhere: it says what was meant."""
    (tmp_path / "gatherscatter.toml").write_text("[listener]\nslot = 4\n")
    with pytest.raises(SettingsInvalid, match=r"listener\.slot: .*did you mean 'slots'"):
        load(command_line={}, environ={}, ini={}, directory=tmp_path)


def test_a_ping_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line a listener, with tabs, busy ones with their jobs; 1 if nobody answered."""
    found = [SEEN]
    monkeypatch.setenv("GATHERSCATTER_BROKER", "amqp://nobody@127.0.0.1:1")
    monkeypatch.setattr("pytest_gatherscatter.testfiles.service.ping.listeners", lambda *_: found)
    assert status(["testfiles", "ping"]) == 0
    fields = capsys.readouterr().out.rstrip("\n").split("\t")
    job = f"{'cd' * 4} working 12 s (pid 1 in /x)"
    assert fields == ["listener", "rack1", "0.1.0", "4", "1", "1.25", "gpu", "busy", "2", job]
    found.clear()
    assert status(["testfiles", "ping"]) == command.NOBODY
    assert status(["testfiles", "ping", "--wait", "soon"]) == 2


def test_a_ping_that_nobody_answers(
    monkeypatch: pytest.MonkeyPatch,
    embedded_url: str,
    lab: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a real broker, in bounded time."""
    monkeypatch.setenv("GATHERSCATTER_BROKER", embedded_url)
    assert status(["testfiles", "ping", "--lab", lab, "--wait", "0.2s", "--json"]) == 1
    assert capsys.readouterr().out == '{"listeners": []}\n'
