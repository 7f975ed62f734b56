"""The journal: what was appended is there after every death, and damage is never a torn line."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from pytest_gatherscatter.errors import JournalDamaged, JournalTaken, JournalUnwritable
from pytest_gatherscatter.journal import FileJournal, Journal, MemoryJournal

EVENTS = (
    {"what": "opened", "section": "a1", "test": "größe\nund\u2028so"},
    {"what": "committed", "token": 2**53 - 1, "t0": 0.1, "members": ["scope"]},
    {"what": "closed"},
)


def written(path: Path) -> bytes:
    """Write the example events to ``path`` and return the bytes."""
    journal = FileJournal(path)
    for event in EVENTS:
        journal.append(event)
    journal.close()
    return path.read_bytes()


@pytest.fixture(params=["file", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    """Give each kind of journal, empty."""
    kind = FileJournal(tmp_path / "journal") if request.param == "file" else MemoryJournal()
    yield kind
    kind.close()


def test_events_come_back_as_they_were(journal: Journal) -> None:
    """Order, numbers, line ends inside texts and other scripts survive, in both kinds."""
    assert journal.read() == ()
    for event in EVENTS:
        journal.append(event)
    assert journal.read() == EVENTS
    assert len(journal) == 3


def test_a_snapshot_replaces_everything(journal: Journal) -> None:
    """After a snapshot the journal holds it and what came later."""
    for event in EVENTS:
        journal.append(event)
    journal.snapshot([{"what": "snapshot", "token": 7}])
    journal.append({"what": "opened"})
    assert journal.read() == ({"what": "snapshot", "token": 7}, {"what": "opened"})
    assert len(journal) == 2


def test_a_journal_knows_its_size(tmp_path: Path) -> None:
    """In bytes, as the file has them: after adding, folding, and opening it anew."""
    path = tmp_path / "journal"
    memory = MemoryJournal()
    journal = FileJournal(path)
    for event in EVENTS:
        journal.append(event)
        memory.append(event)
        assert journal.size == memory.size == path.stat().st_size
    journal.snapshot(EVENTS[1:])
    memory.snapshot(EVENTS[1:])
    assert journal.size == memory.size == path.stat().st_size
    journal.close()
    again = FileJournal(path)
    assert again.size == path.stat().st_size
    again.close()


def test_a_file_is_read_by_the_next_owner(tmp_path: Path) -> None:
    """Events and snapshots are found again, and appending goes on."""
    path = tmp_path / "made" / "on the way" / "journal"
    written(path)
    journal = FileJournal(path)
    assert journal.read() == EVENTS
    journal.snapshot(EVENTS[:1])
    journal.append(EVENTS[2])
    journal.close()
    journal.close()
    again = FileJournal(path)
    assert again.read() == (EVENTS[0], EVENTS[2])
    again.close()
    assert path.read_bytes().count(b"\n") == 2
    assert path.stat().st_mode & 0o077 == 0


def test_every_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """Whatever prefix of the last line reached the disk, the lines before it stand."""
    path = tmp_path / "journal"
    whole = written(path)
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        journal = FileJournal(path)
        assert journal.read() == EVENTS[:2]
        journal.append(EVENTS[2])
        journal.close()
        assert path.read_bytes() == whole


def test_zeros_at_the_end_are_a_torn_line(tmp_path: Path) -> None:
    """A power cut can leave a file longer than what was written into it."""
    path = tmp_path / "journal"
    whole = written(path)
    start = whole.rindex(b"\n", 0, -1) + 1
    for tail in (b"\0" * 512, b"\0" * 20 + b'"closed"}}\n'):
        path.write_bytes(whole[:start] + tail)
        journal = FileJournal(path)
        assert journal.read() == EVENTS[:2]
        journal.close()


def test_every_other_change_is_damage(tmp_path: Path) -> None:
    """One bit anywhere in a finished line is refused with its line, and the file is left alone."""
    path = tmp_path / "journal"
    whole = written(path)
    for place, byte in enumerate(whole):
        changed = byte ^ 0x01
        if b"\n"[0] in (byte, changed):
            continue  # making or taking a line end moves the line's number; seen below
        path.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
        with pytest.raises(JournalDamaged) as caught:
            FileJournal(path)
        assert caught.value.line == whole.count(b"\n", 0, place) + 1
    for wrong in (b"\n", b"{}\n", b"not ours\n", whole[:9] + b"\n" + whole[9:], whole + b"\n"):
        path.write_bytes(wrong)
        with pytest.raises(JournalDamaged, match="move the file away"):
            FileJournal(path)
        assert path.read_bytes() == wrong


def test_a_lost_line_end_in_the_middle_is_damage(tmp_path: Path) -> None:
    """Two records that run into each other are not a torn last line."""
    path = tmp_path / "journal"
    first, second, third = written(path).splitlines(keepends=True)
    path.write_bytes(first[:-1] + second + third)
    with pytest.raises(JournalDamaged, match="line 1"):
        FileJournal(path)


def test_two_owners_are_refused(tmp_path: Path) -> None:
    """Who comes second is told who has it, and gets it once it is free, also after a snapshot."""
    path = tmp_path / "journal"
    first = FileJournal(path)
    first.snapshot(EVENTS)
    with pytest.raises(JournalTaken, match=r"in use by pid \d+"):
        FileJournal(path)
    first.close()
    FileJournal(path).close()


def test_a_snapshot_that_was_cut_short_is_nothing(tmp_path: Path) -> None:
    """The half-written new file of a crash is removed; the old events stand."""
    path = tmp_path / "journal"
    written(path)
    fresh = tmp_path / "journal.new"
    fresh.write_bytes(b'{"crc":"')
    journal = FileJournal(path)
    assert journal.read() == EVENTS
    assert not fresh.exists()
    journal.close()


@pytest.mark.parametrize("how", ["append", "snapshot"])
def test_a_full_disk_ends_it_and_loses_nothing(tmp_path: Path, how: str) -> None:
    """After a failed write nothing more is taken, and the next owner finds what was promised."""
    path = tmp_path / "journal"
    written(path)
    journal = FileJournal(path)
    write: Callable[[], None] = partial(journal.append, EVENTS[0])
    if how == "snapshot":
        write = partial(journal.snapshot, EVENTS * 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with pytest.raises(JournalUnwritable, match="File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(JournalUnwritable, match="earlier write failed"):
        journal.append(EVENTS[0])
    with pytest.raises(JournalTaken):
        FileJournal(path)
    journal.close()
    again = FileJournal(path)
    assert again.read() == EVENTS
    again.close()


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """A path below a file, or a directory in its place, is one line."""
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    for path in (tmp_path / "file" / "journal", tmp_path / "taken"):
        with pytest.raises(
            JournalUnwritable, match=r"cannot be written: (.*/file is no directory|Is a directory)"
        ):
            FileJournal(path)


WRITER = """
import sys
from pathlib import Path
from pytest_gatherscatter.journal import FileJournal

journal = FileJournal(Path(sys.argv[1]))
for number in range(1_000_000):
    journal.append({"what": "opened", "number": number})
    if number % 50 == 49:
        journal.snapshot(journal.read())
    print(number, flush=True)
"""


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    """A process killed while it writes leaves every event that it said was durable."""
    path = tmp_path / "journal"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= 120:
                break
        writer.send_signal(signal.SIGKILL)
        said = [120, *map(int, writer.stdout.read().split("\n")[:-1])]
    journal = FileJournal(path)
    numbers = [event["number"] for event in journal.read()]
    journal.close()
    assert numbers == list(range(len(numbers)))
    assert numbers[-1] - said[-1] in {0, 1}
