"""The user's directories are private, found by every process, and nobody else's."""

import os
from pathlib import Path

import pytest

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.host.directory import private, runtime_directory, state_directory, sync


def test_the_login_has_a_runtime_directory(tmp_path: Path) -> None:
    """A runtime directory that is ours is used, and what is made in it is private."""
    found = runtime_directory({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert found == tmp_path / "gatherscatter"
    assert found.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("base", ["", "relative", "/nowhere/at/all"])
def test_without_one_all_processes_of_a_user_meet(base: str) -> None:
    """Whatever else the environment says, one directory of the user's own is shared."""
    environ = {"XDG_RUNTIME_DIR": base, "TMPDIR": "/elsewhere"}
    found = runtime_directory(environ, logins=Path("/nobody/is/here"))
    assert found.parts == ("/", "tmp", f"gatherscatter-{os.getuid()}")
    assert found.stat().st_uid == os.getuid()
    assert found.stat().st_mode & 0o077 == 0


def test_a_job_without_a_login_meets_the_login(tmp_path: Path) -> None:
    """Cron sets no variable; its lock of a bench must be that of the user's shells."""
    login = tmp_path / str(os.getuid())
    login.mkdir(mode=0o700)
    assert runtime_directory({}, logins=tmp_path) == login / "gatherscatter"
    assert runtime_directory({"XDG_RUNTIME_DIR": str(login)}) == login / "gatherscatter"


def test_the_state_directory_outlives_a_reboot() -> None:
    """It follows the specification: absolute ``XDG_STATE_HOME``, else below the home."""
    assert state_directory({"XDG_STATE_HOME": "/s"}) == Path("/s/gatherscatter")
    below_home = Path("/home/me/.local/state/gatherscatter")
    assert state_directory({"XDG_STATE_HOME": "s", "HOME": "/home/me"}) == below_home


def test_an_open_directory_is_closed(tmp_path: Path) -> None:
    """One that others could read or write is made private before it is used."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert private(tmp_path / "open").stat().st_mode & 0o777 == 0o700


def test_a_link_or_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """Somebody else may have put something of that name there first."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsInvalid, match="link: must be a directory"):
        private(tmp_path / "link")
    with pytest.raises(SettingsInvalid, match="file: cannot be made: File exists"):
        private(tmp_path / "file")


def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    """A directory of another user is never used, and the other is named."""
    theirs = Path("/usr/lib")  # root's, unless that is who we are: root can give one away
    if os.getuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        os.chown(theirs, 12345, -1)
    with pytest.raises(SettingsInvalid, match=r"belongs to user (0|12345), not to you"):
        private(theirs)


def test_a_directory_can_be_synced(tmp_path: Path) -> None:
    """Syncing works on a directory and tells of one that is not there."""
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "absent")
