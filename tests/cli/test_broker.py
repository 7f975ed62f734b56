"""The same shells with a broker that is named, the embedded one and RabbitMQ."""

from pathlib import Path

from shells import Shell


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
