"""Tickets: an owner is proven dead, or it is not; nothing in between frees a bench."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.host.process import process_start
from pytest_gatherscatter.sections.service.ticket import (
    FoundTicket,
    SectionFacts,
    TicketFacts,
    TicketState,
    open_ticket,
    scan,
    this_process,
    ticket_directory,
)

FACTS = SectionFacts(
    section="0a1b2c3d",
    lab="default",
    bench="left",
    token=7,
    test="tests/test_psu.py::test_cut[größe]",
    clock_offset=-12.25,
    clock_bound=0.0004,
    broker="amqp://me@broker:5672/",
    max_duration=30.0,
)

OWNER = """
import os, sys
from pathlib import Path
import msgspec
from pytest_gatherscatter.sections.service.ticket import SectionFacts, open_ticket

ticket = open_ticket(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=SectionFacts))
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.write(writer, b"x")
    sys.stdin.read()
    os._exit(0)
os.read(reader, 1)
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def owner(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that holds a ticket, and a forked child of it that outlives it."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), msgspec.json.encode(FACTS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def left_behind(folder: Path, **changes: object) -> FoundTicket:
    """Leave this process's ticket behind, its owner changed, and return how it is judged."""
    ticket = open_ticket(folder, FACTS)
    ticket.abandon()
    changed = msgspec.structs.replace(ticket.content.owner, **changes)
    content = msgspec.structs.replace(ticket.content, owner=changed)
    ticket.path.write_bytes(msgspec.json.encode(content))
    (found,) = scan(folder)
    return found


def test_an_open_ticket_is_live(tmp_path: Path) -> None:
    """Its owner's run finds it with every fact in it, private, and gone after the removal."""
    folder = tmp_path / "tickets"
    assert scan(folder) == []
    ticket = open_ticket(folder, FACTS)
    (found,) = scan(folder)
    assert found.state is TicketState.LIVE
    assert found.content == ticket.content
    assert found.content.facts == FACTS
    assert found.content.owner == this_process()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert found.path.stat().st_mode & 0o077 == 0
    with pytest.raises(ValueError, match="is live, not an orphan"):
        found.remove()
    ticket.remove()
    ticket.remove()
    assert list(folder.iterdir()) == []


def test_the_content_is_for_people_too(tmp_path: Path) -> None:
    """The file is indented JSON, so that a person at the host can read whose it is."""
    ticket = open_ticket(tmp_path, FACTS)
    text = ticket.path.read_text()
    assert text.endswith("\n}\n")
    assert msgspec.json.decode(text, type=TicketFacts) == ticket.content
    assert '"bench": "left"' in text
    ticket.remove()


def test_an_owner_elsewhere_is_live_until_it_dies(tmp_path: Path) -> None:
    """A killed owner's ticket is an orphan at once, though its forked child lives on."""
    with owner(tmp_path) as process:
        (found,) = scan(tmp_path)
        assert (found.state, found.why) == (TicketState.LIVE, "its owner holds it")
        process.send_signal(signal.SIGSTOP)
        assert scan(tmp_path)[0].state is TicketState.LIVE
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not waited for
        (found,) = scan(tmp_path)
        assert (found.state, found.why) == (TicketState.ORPHAN, f"process {process.pid} is gone")
        process.wait()
        (found,) = scan(tmp_path)
        assert found.state is TicketState.ORPHAN
        assert found.content is not None
        assert found.content.facts.token == 7
    found.remove()
    found.remove()
    assert scan(tmp_path) == []


def test_a_boot_since_then_makes_an_orphan(tmp_path: Path) -> None:
    """After a reboot the same pid and start time prove nothing: the boot has changed."""
    found = left_behind(tmp_path, boot="another")
    assert (found.state, found.why) == (TicketState.ORPHAN, "the host was booted since")


def test_a_pid_that_was_used_again_makes_an_orphan(tmp_path: Path) -> None:
    """The pid is there, but it began at another time: it is somebody else."""
    assert left_behind(tmp_path, started=1).state is TicketState.ORPHAN


def test_a_free_lock_alone_proves_nothing(tmp_path: Path) -> None:
    """Where locks do not reach, a process that is there keeps its section."""
    found = left_behind(tmp_path)
    assert (found.state, found.why) == (TicketState.LIVE, f"process {os.getpid()} is there")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"host": "elsewhere", "boot": "x"}, "it belongs to another host, elsewhere"),
        ({"machine": "other", "boot": "x"}, "it belongs to another host"),
        ({"pid_namespace": 1, "pid": 999_999_999}, "another pid namespace"),
        ({"boot": "", "started": 0}, "tells neither boots nor start times"),
    ],
)
def test_what_is_not_ours_to_judge_is_unknown(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    """Another host's or container's ticket is shown, and never taken as proof."""
    found = left_behind(tmp_path, **changes)
    assert found.state is TicketState.UNKNOWN
    assert why in found.why
    with pytest.raises(ValueError, match="is unknown, not an orphan"):
        found.remove()
    assert found.path.exists()


def test_a_held_lock_is_live_whatever_the_file_says(tmp_path: Path) -> None:
    """A ticket whose content was damaged under its living owner still keeps the bench."""
    ticket = open_ticket(tmp_path, FACTS)
    ticket.path.write_bytes(b"{")
    (found,) = scan(tmp_path)
    assert (found.state, found.content) == (TicketState.LIVE, None)
    ticket.remove()


def test_what_cannot_be_read_is_reported(tmp_path: Path) -> None:
    """Garbage, other JSON, nothing at all, a link, a pipe, a directory: a line each, no crash."""
    (tmp_path / "a.ticket").write_bytes(b"\xff\x00")
    (tmp_path / "b.ticket").write_text('{"facts": {}}')
    (tmp_path / "c.ticket").touch()
    (tmp_path / "d.ticket").symlink_to(tmp_path / "a.ticket")
    os.mkfifo(tmp_path / "e.ticket")
    (tmp_path / "f.ticket").mkdir()
    (tmp_path / "note.txt").touch()
    found = scan(tmp_path)
    assert [item.path.name[0] for item in found] == list("abcdef")
    assert {(item.state, item.content) for item in found} == {(TicketState.UNKNOWN, None)}
    assert all("\n" not in item.why for item in found)
    (report,) = scan(tmp_path / "note.txt")
    assert report.why == "cannot be read: Not a directory"


def test_a_section_id_cannot_lead_elsewhere(tmp_path: Path) -> None:
    """An id with a path in it makes no file."""
    for section in ("../x", "", "a/b", "x" * 65):
        with pytest.raises(ValueError, match="is no section id"):
            open_ticket(tmp_path, msgspec.structs.replace(FACTS, section=section))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    """A file in the directory's place is one line, before anything was promised."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsInvalid, match="cannot be made"):
        open_ticket(tmp_path / "file" / "tickets", FACTS)


def test_leaving_is_never_seen_as_dying(tmp_path: Path) -> None:
    """While tickets come and go in good order, no scan ever calls one an orphan or unreadable."""
    rounds, ended = 60, threading.Event()

    def come_and_go() -> None:
        for _ in range(rounds):
            open_ticket(tmp_path, FACTS).remove()
        ended.set()

    owner_thread = threading.Thread(target=come_and_go)
    owner_thread.start()
    states: set[TicketState] = set()
    while not ended.is_set():
        states |= {found.state for found in scan(tmp_path)}
    owner_thread.join()
    assert states <= {TicketState.LIVE}


def test_a_process_has_a_start_and_an_end() -> None:
    """The start is a number that stays; a process that is gone has none."""
    assert process_start(os.getpid()) == process_start(os.getpid()) == this_process().started
    assert this_process().started > 0
    assert process_start(999_999_999) is None


def test_tickets_outlive_a_reboot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are kept below the state directory, which no boot clears."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert ticket_directory() == tmp_path / "gatherscatter" / "tickets"
