"""The seed's example session, command by command: what a person does at three terminals."""

import json
import re
import signal
from pathlib import Path

from shells import Shell


def test_the_seeds_session(tmp_path: Path, lab: str, embedded_url: str) -> None:
    """register, workers, pingt, ping, bulk, bulkping, bulkdata, endbulk, deregister and quit."""
    shell = Shell(tmp_path, GATHERSCATTER_BROKER=embedded_url, GATHERSCATTER_LAB=lab)

    def listed() -> dict[str, tuple[int, int]]:
        """``workers``: slots, and how many are free."""
        told = shell.run("roundrobin", "workers", "--json")
        assert told.returncode == 0, told.stderr
        return {one["worker"]: (one["slots"], one["free"]) for one in json.loads(told.stdout)}

    def sent(*words: str) -> tuple[str, list[str], str]:
        """What a client says: its sum, its workers, and its progress."""
        done = shell.run("roundrobin", *words)
        assert done.returncode == 0, done.stderr
        first, _, *rows = done.stdout.splitlines()
        assert sum(int(row.split("\t")[2]) for row in rows) in {0, int(first.split()[0])}
        return first, [row.split("\t")[1] for row in rows], done.stderr

    try:
        server = shell.start("roundrobin", "serve", "--service", "echo")
        server.says("balances service.echo")

        worker = shell.start("roundrobin", "echo", "--name", "rack")  # register
        worker.says("rack-1: is known to the balancer")
        assert listed() == {"rack-1": (10, 10)}
        assert sent("ping", "--count", "1")[:2] == ("1 sent, 1 succeeded, 0 failed", ["rack-1"])
        assert sent("ping", "--exec")[:2] == ("1 sent, 1 succeeded, 0 failed", [])

        bulk = shell.start("roundrobin", "echo", "--bulk", "10", "--name", "bulk")
        bulk.says("is known to the balancer", times=10)
        everybody = ["rack-1", *(f"bulk-{number}" for number in range(1, 11))]
        assert listed() == dict.fromkeys(everybody, (10, 10))

        for words in (("ping",), ("stream", "--bytes", "1024")):
            first, who, progress = sent(*words, "--count", "100", "--parallel", "10")
            assert first == "100 sent, 100 succeeded, 0 failed"
            assert sorted(who) == sorted(everybody), "each had its turns"
            assert [line for line in progress.splitlines() if line.endswith(" of 100 ended")]

        bulk.signal(signal.SIGTERM)  # endbulk
        assert bulk.ends() == 0
        rows = [line.split("\t") for line in bulk.lines if line.startswith("worker\t")]
        assert [row[1] for row in rows] == everybody[1:]
        assert all(int(row[2]) >= 2 * 8 and int(row[3]) == 0 for row in rows), bulk.text
        assert [*listed()] == ["rack-1"]

        worker.signal(signal.SIGTERM)  # deregister, and quit
        assert worker.ends() == 0
        server.says("worker rack-1 leaves service.echo with 0 tasks")
        assert listed() == {}
        assert re.search(r"^worker\track-1\t\d+\t0\t", worker.text, re.MULTILINE)

        server.signal(signal.SIGTERM)  # quit
        assert server.ends() == 0
        alone = shell.run("roundrobin", "workers")
        assert alone.returncode == 1
        assert "no balancer answers" in alone.stderr
    finally:
        shell.end()
