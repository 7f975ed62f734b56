"""A lab of real processes in which each verdict comes about, and the audit of what they wrote."""

import json
import signal
from pathlib import Path

from shells import Actor, Shell, until

STOP = """#!/bin/sh
case "$GS_NAME" in
  bad) echo '{"name": "peak_v", "value": 5.71, "unit": "V", "high": 5.5}' ;;
  *) echo peak_v=5.1 ;;
esac
echo trace > "$GS_ARTIFACTS/trace.csv"
"""
"""What the monitor does at the end: a finding that fails in a section called bad, and a capture."""


class Bench:
    """A shell, and the lab that was started in it."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        (shell.folder / "gatherscatter.toml").write_text('report_timeout = "1s"\n')
        stop = shell.folder / "stop.sh"
        stop.write_text(STOP)
        stop.chmod(0o755)
        self.gatherer = self.gather()
        self.scope = self.monitor()

    def gather(self) -> Actor:
        """Start the gatherer on its state directory."""
        return self.shell.gather("--state-dir", "state-dir")

    def monitor(self) -> Actor:
        """Start the monitor, and wait until it is in the lab."""
        scope = self.shell.start("monitor", "scope", "--on-stop", "./stop.sh")
        scope.says("joined: a gatherer is here")
        return scope

    def section(self, name: str, *command: str, options: tuple[str, ...] = ()) -> Actor:
        """Start a section that requires the monitor."""
        words = ("--name", name, "--require", "scope", *options, "--", *command)
        return self.shell.start("workload", *words)

    def lasting(self, name: str) -> Actor:
        """Start a section whose command ends at :meth:`let_go`, and wait until it runs."""
        waits = "until test -e go-on; do sleep 0.02; done"
        (self.shell.folder / "go-on").unlink(missing_ok=True)
        actor = self.section(name, "sh", "-c", waits)
        actor.says("go: ")
        return actor

    def let_go(self) -> None:
        """Let the command that lasts come to its end."""
        (self.shell.folder / "go-on").touch()

    def audit(self, *words: str) -> tuple[int, dict[str, object]]:
        """Audit everything."""
        done = self.shell.run("audit", "--state-dir", "state-dir", "--json", *words)
        return done.returncode, json.loads(done.stdout)

    def records(self) -> dict[str, str]:
        """The last verdict that each section's workload wrote, by the section's name."""
        lines = (self.shell.folder / "gs-artifacts" / "sections.jsonl").read_text().splitlines()
        return {one["name"]: one.get("verdict", "") for one in map(json.loads, lines)}

    def ended(self) -> dict[str, str]:
        """The verdicts of the gatherer, by the section's name."""
        told = json.loads(self.shell.run("status", "--json").stdout)["ended"]
        return {one["name"]: one["verdict"] for one in told}


def play(bench: Bench) -> None:
    """Let each verdict come about."""
    shell = bench.shell
    bench.section("good", "true").ends()
    bench.section("own", "false").ends()
    bench.section("bad", "true").ends()
    bench.section("late", "sleep", "0.4", options=("--max-duration", "100ms")).ends()
    missing = ("--require", "nobody", "--gather-timeout", "1s")
    bench.section("nobody", "true", options=missing).ends()
    stopped = bench.section("stopped", "sleep", "20")
    stopped.says("go: ")
    stopped.signal(signal.SIGTERM)
    stopped.ends()
    waits = bench.section("waits", "true", options=("--require", "nobody"))
    waits.says("waiting for nobody")
    waits.signal(signal.SIGKILL)
    waits.ends()
    until(lambda: bench.ended().get("waits") == "died-before-go")
    gives_up = bench.section("gives up", "true", options=("--require", "nobody"))
    gives_up.says("waiting for nobody")
    gives_up.signal(signal.SIGINT)
    gives_up.ends()
    reset = bench.lasting("reset")
    shell.run("reset", "--all")
    bench.let_go()
    reset.ends()
    killed = bench.lasting("killed")
    killed.signal(signal.SIGKILL)
    bench.let_go()
    killed.ends()
    until(lambda: "is left" in shell.run("leave").stdout)
    unmeasured = bench.lasting("unmeasured")
    bench.scope.signal(signal.SIGKILL)
    bench.scope.ends()
    bench.let_go()
    unmeasured.ends()
    bench.scope = bench.monitor()
    unheard = bench.lasting("unheard")
    bench.gatherer.signal(signal.SIGKILL)
    bench.gatherer.ends()
    bench.let_go()
    unheard.ends()


HERE = {
    "good": "passed",
    "own": "device",
    "bad": "finding",
    "late": "overdue",
    "nobody": "not-gathered",
    "stopped": "interrupted",
    "gives up": "withdrawn",
    "reset": "reset",
    "killed": "",
    "unmeasured": "unmeasured",
    "unheard": "unreported",
}
"""What each workload says in the end; one that waits and is killed says nothing."""

THERE = {
    **HERE,
    "waits": "died-before-go",
    "killed": "died-in-section",
}


def test_every_verdict_is_confirmed(labshell: Shell) -> None:
    """Both sides say the same of each; the gatherer was killed and started anew in between."""
    bench = Bench(labshell)
    play(bench)
    assert bench.records() == HERE
    bench.gatherer = bench.gather()
    until(lambda: "is left" in labshell.run("leave").stdout)
    bench.section("last", "true").ends()
    status, told = bench.audit()
    assert (status, told["contradictions"], told["open"]) == (0, [], [])
    assert told["sections"] == len(THERE) + 1
    history = (labshell.folder / "state-dir").glob("*.history.jsonl")
    lines = [json.loads(line) for file in history for line in file.read_text().splitlines()]
    names = {line["section"]: line["name"] for line in lines if line["what"] == "opened"}
    verdicts = {names[one["section"]]: one["verdict"] for one in lines if one["what"] == "ended"}
    assert verdicts == {**THERE, "unheard": "died-in-section", "last": "passed"}
    _lies_are_found(bench)


def _lies_are_found(bench: Bench) -> None:
    """A capture that was touched and a verdict that was edited are contradicted, with status 1."""
    folder = bench.shell.folder / "gs-artifacts"
    capture = next(folder.glob("good-*/scope/trace.csv"))
    capture.write_text("other\n")
    done = bench.shell.run("audit", "--state-dir", "state-dir")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("contradicted")]
    assert line.split("\t")[2:] == ["artifact", "scope's trace.csv does not match its SHA-256"]
    records = folder / "sections.jsonl"
    records.write_text(records.read_text().replace('"verdict":"overdue"', '"verdict":"passed"'))
    done = bench.shell.run("audit", "--state-dir", "state-dir")
    assert "\tverdict\tis passed, and follows to be overdue" in done.stdout


def test_what_is_no_record_is_one_line(shell: Shell, tmp_path: Path) -> None:
    """Nothing there, garbage, a folder without history: 2, and a line that says so."""
    (tmp_path / "garbage").write_bytes(bytes(range(256)))
    for words in ((), ("--records", "garbage"), ("--records", "."), ("--state-dir", ".")):
        done = shell.run("audit", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
