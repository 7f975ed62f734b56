"""What a job's source may be: the text comes from elsewhere, and ends on a command line."""

import pytest

from pytest_gatherscatter.errors import SourceRefused
from pytest_gatherscatter.testfiles.source import (
    Source,
    SourceKind,
    check_excludes,
    is_allowed,
    nearest,
    read_source,
)
from pytest_gatherscatter.wire.testfiles import JobSource, JobTerms

TERMS = JobTerms(arguments=(), root="/home/me/suite", run="1d" * 8)


@pytest.mark.parametrize(
    ("text", "kind", "path"),
    [
        ("/home/me/suite/", SourceKind.LOCAL, "/home/me/suite"),
        ("/home/me/my suite", SourceKind.LOCAL, "/home/me/my suite"),
        ("pc:/suite", SourceKind.SHELL, "/suite"),
        ("me@pc.example:/home/me/suite", SourceKind.SHELL, "/home/me/suite"),
        ("me@[::1]:/suite", SourceKind.SHELL, "/suite"),
        ("rsync://files.example/suites", SourceKind.DAEMON, "suites"),
        ("rsync://me@files:8730/suites/one/", SourceKind.DAEMON, "suites/one"),
    ],
)
def test_what_rsync_can_read(text: str, kind: SourceKind, path: str) -> None:
    """A directory of this host, one by ssh, and one of a daemon."""
    assert read_source(text) == Source(kind, text.rstrip("/"), path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "suite", "./suite", "-e sh", "--rsh=sh:/x", "-oProxyCommand=sh:/suite"),
        *(
            "pc:suite",
            "pc::module",
            "me@-pc:/suite",
            "-me@pc:/suite",
            "a b@pc:/suite",
            "pc$(id):/x",
        ),
        *("/", "//", "pc:/", "/home/../etc", "pc:/home/../etc", "rsync://pc/../etc", "rsync://pc/"),
        *("/home/*", "pc:/home/[a]", "pc:/x?", "/home/\n/etc", "/home/\x1b[2J", "rsync://-pc/m"),
        *("ssh://pc/x", "rsync://pc:port/m", "rsync://pc/-m"),
    ],
)
def test_what_is_refused(text: str) -> None:
    """Nothing that could be an option, a command, a pattern, or a step upwards."""
    with pytest.raises(SourceRefused):
        read_source(text)


def test_patterns_of_a_listener() -> None:
    """A star also stands for slashes; the case counts."""
    assert is_allowed("me@pc:/home/me/suite", ["rsync://*", "*@pc:/home/*"])
    assert not is_allowed("me@PC:/home/me/suite", ["*@pc:/home/*"])
    assert not is_allowed("/home/me", [])


def test_on_the_originators_own_host_it_is_a_path() -> None:
    """Elsewhere, or without a path, it is what the job says."""
    source = JobSource(place="me@pc:/suite", host="ab", path="/suite", terms=TERMS)
    assert nearest(source, "ab") == "/suite"
    assert nearest(source, "cd") == "me@pc:/suite"
    assert nearest(JobSource(place="/nfs/suite", terms=TERMS), "") == "/nfs/suite"


def test_what_is_left_out_can_be_no_option() -> None:
    """Each is one argument, and none begins like an option."""
    assert check_excludes([".git", "*.pyc", "/build/"]) == (".git", "*.pyc", "/build/")
    for one in ("", " ", "-e", "--rsh=sh", "a\nb"):
        with pytest.raises(SourceRefused):
            check_excludes([".git", one])
