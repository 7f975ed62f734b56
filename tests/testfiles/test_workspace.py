"""rsync's command as words, names of workspaces, and what is told of a failure."""

import pytest

from pytest_gatherscatter.testfiles.clip import Clip
from pytest_gatherscatter.testfiles.source import read_source
from pytest_gatherscatter.testfiles.workspace import (
    SyncLimits,
    last_word,
    moved,
    place_in,
    rsync_words,
    workspace_name,
)

LIMITS = SyncLimits(connect=5, silence=20, whole=100)
ALWAYS = (
    *("rsync", "--recursive", "--links", "--perms", "--times", "--delete"),
    *("--modify-window=-1", "--timeout=20"),
)


@pytest.mark.parametrize(
    ("text", "between"),
    [
        ("/suite", ()),
        (
            "me@pc:/suite",
            (
                *("--compress", "--protect-args"),
                "--rsh=ssh -oBatchMode=yes -oConnectTimeout=5",
            ),
        ),
        ("rsync://pc/suite", ("--compress", "--protect-args", "--contimeout=5")),
    ],
)
def test_words(text: str, between: tuple[str, ...]) -> None:
    """What was said over the wire stands in two places only: as an exclude, and behind ``--``."""
    words = rsync_words(read_source(text), "/ws/one", excludes=(".git", "a b"), limits=LIMITS)
    excludes = ("--exclude=.git", "--exclude=a b")
    assert words == (*ALWAYS, *between, *excludes, "--", f"{text}/", "/ws/one/")


def test_the_hosts_own_remote_shell_counts() -> None:
    """Where ``RSYNC_RSH`` is set, rsync takes it by itself; workspaces in the source stay out."""
    words = rsync_words(read_source("pc:/suite"), "/ws", limits=LIMITS, own_shell=True)
    assert not [word for word in words if word.startswith("--rsh")]
    words = rsync_words(read_source("/suite"), "/suite/ws/one", limits=LIMITS, inside="ws")
    assert "--exclude=/ws/" in words


def test_a_workspace_is_a_sources_own() -> None:
    """Two sources never share one; the name can be a directory's, whatever the source is."""
    names = [
        workspace_name(source)
        for source in ("/a/suite", "/b/suite", "pc:/a/suite", "/a/.x", "/ü b/" + "y" * 300)
    ]
    assert len(set(names)) == len(names)
    assert names[0].startswith("suite-")
    assert workspace_name("/a/suite/").partition("-")[0] == "suite"
    for name in names:
        assert not name.startswith((".", "-"))
        assert len(name) < 60
        assert "/" not in name


def test_the_line_that_says_why() -> None:
    """Rsync's last line says that it failed; the one before says why."""
    full = (
        'rsync: [receiver] write failed on "/ws/big": No space left on device (28)\n'
        "rsync error: error in file IO (code 11) at receiver.c(393) [receiver=3.2.7]\n"
    )
    assert last_word(full).endswith("No space left on device (28)")
    assert last_word("ssh: connect to host pc port 22: Connection refused\n\n").startswith("ssh:")
    assert last_word("rsync error: timeout\n") == "rsync error: timeout"
    assert last_word("") == "it said nothing"


def test_output_is_kept_whole_or_without_its_middle() -> None:
    """Up to the size nothing is lost; beyond it, what is said of the loss is exact."""
    clip = Clip(head=10, tail=10)
    for byte in b"0123456789abcdefghij":
        clip.add(bytes([byte]))
    assert clip.text() == "0123456789abcdefghij"
    clip.add(b"KLM")
    assert clip.text() == "0123456789\n… 3 bytes left out …\ndefghijKLM"
    lines = Clip()
    lines.add(b"".join(b"%d\n" % number for number in range(100)))
    assert lines.last_lines() == "\n".join(map(str, range(30, 100)))


def test_arguments_of_another_host() -> None:
    """Paths below the root directory, in options too; nothing that only looks like one."""
    said = ("/a/suite/tests/test_x.py::test_a", "--rootdir=/a/suite", "-k", "/a/suites", "tests")
    there = ("/ws/tests/test_x.py::test_a", "--rootdir=/ws", "-k", "/a/suites", "tests")
    assert moved(said, "/a/suite/", "/ws") == there
    assert [place_in(one) for one in ("tests/unit", ".", "../..", "a/../..", "/etc")] == [
        *("tests/unit", "."),
        *(".", ".", "."),
    ]
