"""Seeing and steering: status, watch, hold, reset, doctor."""

import json
import signal

import pytest
from shells import Shell, until

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Properties
from pytest_gatherscatter.broker.topology import lab_topology
from pytest_gatherscatter.cli.doctor import is_old
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import ResetLab
from pytest_gatherscatter.wire.names import GATHERER_KEY, direct_exchange

REQUIRED = ("scope",)
"""What every section of this module's gatherer needs, and never gets."""


def test_status_in_a_pipe_is_a_record_a_line(gathered: Shell) -> None:
    """Tabs part the fields, the first one says the kind, and there is no heading."""
    waiting = gathered.start("workload", "--name", "my\tburst\x1b[31m", "--", "true")
    waiting.says("waiting for scope")
    done = gathered.run("status")
    assert done.returncode == 0
    records = {line.split("\t")[0]: line.split("\t")[1:] for line in done.stdout.splitlines()}
    assert records["gatherer"][0] == gathered.environ["GATHERSCATTER_LAB"]
    assert records["gatherer"][5] == "scope"
    assert records["bench"][0] == "default"
    assert records["section"][1] == "my burst\\x1b[31m"
    assert records["section"][3] == "gathering"
    assert "scope" in records["section"][4]


def test_status_as_json_has_all_its_keys_always(gathered: Shell) -> None:
    """Programs need not ask whether a key is there; lists are lists when they are empty too."""
    told = json.loads(gathered.run("status", "--json").stdout)
    keys = (
        "agents benches broker dead_letters ended gatherer host lab lead left_out pid required"
        " sections unreadable uptime version"
    )
    assert " ".join(sorted(told)) == keys
    assert (told["required"], told["agents"]) == (["scope"], [])
    assert "gatherscatter:" not in told["broker"]  # user:password


def test_status_tells_what_came_of_those_that_ended(gathered: Shell) -> None:
    """The latest first, with its verdict and why, the same word that its workload says."""
    done = gathered.run("workload", "--gather-timeout", "1s", "--", "true")
    assert (done.returncode, "verdict: not-gathered" in done.stderr) == (75, True)
    latest = json.loads(gathered.run("status", "--json").stdout)["ended"][0]
    assert (latest["name"], latest["verdict"]) == ("true", "not-gathered")
    assert latest["text"] == "not gathered after 1 s: scope (not in the lab)"
    (line, *_) = (
        line.split("\t")
        for line in gathered.run("status").stdout.splitlines()
        if line.startswith("ended")
    )
    assert (line[2], line[4]) == ("true", "not-gathered")


def test_what_does_not_count_is_counted(labshell: Shell, lab: str, embedded_url: str) -> None:
    """What is no message, or steers without the key for that, is a dead letter that people see."""
    labshell.gather()
    link = Link(embedded_url, lab_topology(lab), name="somebody with a bug")
    link.open(5.0)
    for body in (b"\x00{", codec.encode(ResetLab(everything=True))):
        link.publish(direct_exchange(lab), GATHERER_KEY, body, Properties(), mandatory=True)
    link.close()

    def told() -> dict[str, int]:
        answer: dict[str, int] = json.loads(labshell.run("status", "--json").stdout)
        return answer

    until(lambda: told()["dead_letters"] == 2)
    assert told()["unreadable"] == 1
    assert "! dead letters: 2" in labshell.run("doctor").stdout


def test_a_hold_keeps_sections_off_until_it_ends(gathered: Shell) -> None:
    """Who holds and why is seen in status and by who waits; Ctrl-C opens the bench."""
    hold = gathered.start("hold", "--bench", "rack2", "probe moved")
    hold.says("bench rack2 is held")
    benches = json.loads(gathered.run("status", "--json").stdout)["benches"]
    (bench,) = (bench for bench in benches if bench["bench"] == "rack2")
    assert (bench["bench"], bench["holds"][0]["reason"]) == ("rack2", "probe moved")
    waiting = gathered.start("workload", "--bench", "rack2", "--", "true")
    waiting.says(" holds: probe moved")
    waiting.says("queued for bench rack2 (")
    waiting.end()
    hold.signal(signal.SIGINT)
    assert hold.ends() == 0
    hold.says("bench rack2 is free again")
    benches = json.loads(gathered.run("status", "--json").stdout)["benches"]
    (bench,) = (bench for bench in benches if bench["bench"] == "rack2")
    assert bench["holds"] == []


def test_a_hold_may_end_by_itself(gathered: Shell) -> None:
    """--for is how long it lasts."""
    done = gathered.run("hold", "--for", "300ms")
    assert done.returncode == 0
    assert "bench default is free again" in done.stderr


def test_a_hold_outlives_its_gatherer(labshell: Shell) -> None:
    """A gatherer that restarts is told again of the hold, by who holds."""
    first = labshell.gather()
    hold = labshell.start("hold", "coffee")
    hold.says("is held")
    first.end()
    hold.says("there is no gatherer")
    labshell.start("gatherer")
    hold.says("bench default is held again")


def test_a_reset_says_what_it_gave_up(gathered: Shell) -> None:
    """A section that waits is given up, its workload told, and the lines say which it was."""
    assert gathered.run("reset", "--all").stdout == "nothing was open\n"
    waiting = gathered.start("workload", "--", "true")
    waiting.says("waiting for scope")
    done = gathered.run("reset", "--bench", "default")
    assert done.returncode == 0
    assert "true" in done.stdout
    assert waiting.ends() == 75
    waiting.says("reset by")


def test_a_hold_that_was_reset_ends(labshell: Shell) -> None:
    """Its holder says who did it and ends with 1; the bench stays open."""
    labshell.gather()
    hold = labshell.start("hold", "coffee")
    hold.says("is held")
    assert "hold of" in labshell.run("reset", "--bench", "default").stdout
    assert hold.ends() == 1
    hold.says("the hold of bench default was given up: reset by ")
    benches = json.loads(labshell.run("status", "--json").stdout)["benches"]
    assert [bench["holds"] for bench in benches] == [[]]


def test_watch_tells_what_happens(labshell: Shell) -> None:
    """Events as they come, and what no event tells: holds, who is awaited, a lost gatherer."""
    gatherer = labshell.gather("scope")
    watch = labshell.start("watch")
    watch.says("here: nobody, sections: 0")
    waiting = labshell.start("workload", "--name", "burst", "--", "true")
    watch.says("burst on default is gathering")
    watch.says("burst on default waits for scope")
    waiting.signal(signal.SIGINT)
    watch.says("burst on default is aborted")
    gatherer.end()
    watch.says("there is no gatherer")
    watch.signal(signal.SIGINT)
    assert watch.ends() == 130


def test_watch_as_json_is_an_object_a_line(gathered: Shell) -> None:
    """Each line can be read by itself, and says its kind and when it was heard."""
    watch = gathered.start("watch", "--json")
    assert json.loads(watch.says("LabStatus"))["required"] == ["scope"]
    gathered.run("hold", "--for", "3s", "coffee")
    told = json.loads(watch.says("coffee"))
    assert told["kind"] == "Standing"
    assert told["at"] > 0


@pytest.mark.parametrize(
    ("product", "old"),
    [("RabbitMQ 3.9.29", True), ("RabbitMQ 3.10.0", False), ("RabbitMQ 4.2.1", False), ("", False)],
)
def test_a_broker_that_nobody_tried_is_told(product: str, *, old: bool) -> None:
    """RabbitMQ before 3.10 is worth a look; what does not say its version is not judged."""
    assert is_old(product) is old


def test_doctor_finds_what_is_missing(gathered: Shell) -> None:
    """Everything up to the gatherer is well, the required agent is missing: exit 1."""
    done = gathered.run("doctor")
    assert done.returncode == 1
    told = dict(line[2:].split(": ", 1) for line in done.stdout.splitlines())
    assert told["agents"] == "scope must be there and did not join"
    marks = {line[2:].split(":")[0]: line[0] for line in done.stdout.splitlines()}
    assert [what for what, mark in marks.items() if mark == "✗"] == ["agents"]
    assert "the gatherer's clock is known to ±" in told["clock"]
    facts = json.loads(gathered.run("doctor", "--json").stdout)
    assert facts["well"] is False
    assert {check["mark"] for check in facts["checks"]} == {"good", "wrong"}


def test_doctor_is_content_with_a_lab_that_is_well(labshell: Shell) -> None:
    """With all there it exits with 0."""
    labshell.gather()
    done = labshell.run("doctor")
    assert (done.returncode, "✗" in done.stdout) == (0, False)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"GATHERSCATTER_BROKER": "amqp://127.0.0.1:1"}, "✗ broker: no broker at"),
        ({"GATHERSCATTER_BROKER": "none"}, "✗ broker: no broker, as asked"),
        ({"GATHERSCATTER_LAB": "a.b"}, "✗ settings: GATHERSCATTER_LAB: lab name 'a.b'"),
        ({}, "✗ gatherer: no gatherer in lab"),
    ],
)
def test_doctor_stops_where_it_is_wrong(
    labshell: Shell, environ: dict[str, str], told: str
) -> None:
    """The first thing that is wrong is told, and nothing that depends on it."""
    done = labshell.run("doctor", **environ)
    assert done.returncode == 1
    (wrong,) = (line for line in done.stdout.splitlines() if line.startswith("✗"))
    assert wrong.startswith(told)
    assert done.stderr == ""


def test_doctor_writes_where_a_section_will(gathered: Shell) -> None:
    """A directory that exists and cannot be written is wrong, whoever asks."""
    done = gathered.run("doctor", XDG_STATE_HOME="/proc")
    assert done.returncode == 1
    assert "✗ directories: /proc/gatherscatter/tickets: cannot be made" in done.stdout


def test_a_gatherer_that_hangs_is_told_in_bounded_time(labshell: Shell) -> None:
    """A stopped process is there for the broker; only its silence tells."""
    gatherer = labshell.gather()
    gatherer.signal(signal.SIGSTOP)
    try:
        done = labshell.run("status")
    finally:
        gatherer.signal(signal.SIGCONT)
    assert done.returncode == 69
    assert "does not answer within 2 s" in done.stderr
