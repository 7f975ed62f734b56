"""The same shells with a broker that is named, the embedded one and RabbitMQ."""

from pathlib import Path

from shells import Shell

from pytest_gatherscatter.broker.url import parse
from pytest_gatherscatter.embedded.address import read_address


def test_a_section_on_every_broker(broker_url: str, lab: str, tmp_path: Path) -> None:
    """--broker on each command line; missing, then there, then again, and a capture comes over."""
    shell = Shell(tmp_path)
    there = ("--broker", broker_url, "--lab", lab)
    try:
        shell.start("gatherer", "scope", *there).says("every section needs: scope")
        words = ("workload", "--require", "scope", "--gather-timeout", "1s", *there, "--", "true")
        done = shell.run(*words)
        assert done.returncode == 75
        assert "LAB: not gathered after" in done.stderr
        capture = "sh -c 'echo peak_v=5.1; seq 200000 > $GS_ARTIFACTS/trace.csv'"
        shell.start("monitor", "scope", "--on-stop", capture, *there).says("joined")
        for _ in range(2):
            done = shell.run("workload", *there, "--", "sh", "-c", "echo inside; exit 3")
            assert (done.returncode, done.stdout) == (3, "inside\n")
            assert "scope started" in done.stderr
            assert "peak_v = 5.1" in done.stderr
        sizes = [path.stat().st_size for path in tmp_path.glob("gs-artifacts/*/scope/trace.csv")]
        assert sizes == [1288895] * 2
        assert shell.run("doctor", *there).returncode == 0
    finally:
        shell.end()


def test_the_broker_alone(shell: Shell, tmp_path: Path) -> None:
    """It says what it is for; others find it by its file; its password is nowhere to be seen."""
    broker = shell.start("broker", "--profile", "3.10")
    broker.says("it forgets everything when it ends; for more than one machine take RabbitMQ")
    where = broker.says("the embedded broker, for this machine; how to reach it is in ")
    address = read_address(Path(where.partition(" is in ")[2]))
    assert address is not None
    assert address.pid == broker.process.pid
    at = parse(address.url)
    assert at.password is not None
    assert len(at.password) >= 24
    # Found by who looks where this user's is, and by nobody else.
    told = shell.run("status").stderr
    assert "no gatherer" in told, told
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stranger = Shell(elsewhere)
    assert "no broker is configured, and no local one runs" in stranger.run("status").stderr
    # A second one of the same user, and one of another user at the same port.
    second = shell.run("broker")
    assert second.returncode == 2
    assert f"another broker (pid {address.pid}) serves it already" in second.stderr
    other = stranger.run("broker", "--port", str(at.port))
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert f"--port: {at.port}: " in other.stderr
    assert "address already in use" in other.stderr
    started = Path(f"/proc/{address.pid}/cmdline").read_text()
    assert at.password not in started
    broker.signal(15)
    assert broker.ends() == 0
    assert broker.lines[-1].endswith("the embedded broker ended")
    assert at.password not in broker.text + told + second.stderr


def test_an_address_that_cannot_be_written_is_no_fault_of_the_port(shell: Shell) -> None:
    """One line names the file."""
    place = shell.folder / "run" / "gatherscatter" / "broker.json"
    place.mkdir(parents=True)
    place.parent.chmod(0o700)
    done = shell.run("broker")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{place}: cannot be written" in done.stderr
