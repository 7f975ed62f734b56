"""What a command says, however its output comes, and however much of it."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pytest_gatherscatter.slips.slip import MOST_ADDED
from pytest_gatherscatter.slips.spoken import LONGEST_LINE, NOTES, TAIL, Spoken, Tail

LINES = [
    b"::progress 0.25 erasing",
    b"::progress 1\r",
    b"::progress nan",
    b"::progress",
    b'::step {"process": "a", "command": "x"}',
    b'::step {"process": "a"}',
    b"::step {",
    b"::stepping",
    b" ::progress 0.5",
    b"plain \xff\xfe",
    b"",
]


def all_of(*parts: bytes) -> tuple[tuple[float, str] | None, int, str]:
    """What is heard of these parts: the last word on the way, steps, mistakes."""
    spoken = Spoken()
    moved = None
    for part in parts:
        moved = spoken.add(part) or moved
    return spoken.end() or moved, len(spoken.added), spoken.text()


@given(lines=st.lists(st.sampled_from(LINES), max_size=12), cuts=st.lists(st.integers(0, 400)))
def test_it_does_not_matter_how_output_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    """Byte by byte, or all at once: the same is heard."""
    whole = b"\n".join(lines)
    at = sorted({0, *(cut for cut in cuts if cut < len(whole)), len(whole)})
    parts = [whole[start:end] for start, end in pairwise(at)]
    heard = all_of(*parts)
    assert heard == all_of(whole)
    assert heard == all_of(*(bytes([one]) for one in whole))
    shares = {b"::progress 0.25 erasing": (0.25, "erasing"), b"::progress 1\r": (1.0, "")}
    said = [shares[line] for line in lines if line in shares]
    assert heard[0] == (said[-1] if said else None)
    assert heard[1] == lines.count(LINES[4])


def test_mistakes_are_told_but_not_all() -> None:
    """Three of them, and how many more there were."""
    _, _, text = all_of(b"::progress 7\n" * 10)
    assert text.count("'::progress 7': a share from 0 to 1 is wanted") == NOTES
    assert text.endswith("; 7 more mistakes")


def test_a_line_that_does_not_end() -> None:
    """It is no word of a command, but the next one is; and it takes no room."""
    for begin in (b"x", b"::progress 0.1 "):
        spoken = Spoken()
        assert spoken.add(begin) is None
        for _ in range(5):
            assert spoken.add(b"::" * LONGEST_LINE) is None
            assert spoken.add(b"y" * LONGEST_LINE) is None
        assert len(spoken._rest) <= LONGEST_LINE
        assert spoken.add(b"\n::progress 0.5\n") == (0.5, "")
        assert ("longer than" in spoken.text()) == begin.startswith(b"::")


def test_steps_without_end_are_bounded() -> None:
    """One more than may be added, so that this is told."""
    assert all_of(LINES[4] + b"\n", (LINES[4] + b"\n") * 500)[1] == MOST_ADDED


@given(text=st.text(), more=st.binary())
def test_a_tail_is_the_last_of_it(text: str, more: bytes) -> None:
    """Characters, not bytes; what is none is replaced."""
    tail = Tail()
    for _ in range(3):
        tail.add(text.encode())
        tail.add("é€𝄞".encode() * 1000)
    tail.add(more)
    whole = ((text.encode() + "é€𝄞".encode() * 1000) * 3 + more).decode(errors="replace")
    assert len(tail.text()) == TAIL
    assert tail.text() == whole[-TAIL:]
