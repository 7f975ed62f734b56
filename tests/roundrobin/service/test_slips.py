"""A slip whose steps' processors stand behind a balancer, which dies between two of them."""

import json
import signal
from pathlib import Path

from shells import Shell, until

SETTINGS = """
[processor]
via_balancer = true

[process.power.commands]
on = "echo on >> {place}/said"
off = "echo off >> {place}/said"

[process.flash.commands]
write = "echo write >> {place}/said; while ! test -e {place}/go; do sleep 0.02; done"
"""

SLIP = """
name = "burn"
params = {{ place = {place!r} }}
[[step]]
process = "power"
command = "on"
[[step]]
process = "flash"
command = "write"
[[step]]
process = "power"
command = "off"
mandatory = true
"""

BALANCER = ("roundrobin", "serve", "--service", "steps.power", "--service", "steps.flash")


def test_a_slip_goes_on_when_the_balancer_of_its_steps_is_killed(
    tmp_path: Path, lab: str, rabbitmq_url: str
) -> None:
    """While a step runs: the next balancer leaves that one alone, and each step is run once."""
    shell = Shell(tmp_path, GATHERSCATTER_BROKER=rabbitmq_url, GATHERSCATTER_LAB=lab)
    (tmp_path / "gatherscatter.toml").write_text(SETTINGS)
    (tmp_path / "slip.toml").write_text(SLIP.format(place=str(tmp_path)))
    said = tmp_path / "said"
    try:
        first = shell.start(*BALANCER)
        first.says("balances steps.power, steps.flash")
        racks = [
            shell.start("slips", "process", name, "--name", name) for name in ("power", "flash")
        ]
        for rack in racks:
            rack.says("processes")
        running = shell.start("slips", "run", "slip.toml", "--json")
        until(lambda: said.exists() and said.read_text() == "on\nwrite\n")
        first.signal(signal.SIGKILL)
        first.ends()
        second = shell.start(*BALANCER)
        second.says("balances steps.power, steps.flash")
        (tmp_path / "go").touch()
        assert running.ends() == 0, running.text
        told, _ = json.JSONDecoder().raw_decode(running.text[running.text.index("{") :])
        steps = [(one["number"], one["status"], one["processor"]) for one in told["progress"]]
        assert steps == [(1, "done", "power"), (2, "done", "flash"), (3, "done", "power")]
        assert said.read_text() == "on\nwrite\noff\n"
    finally:
        shell.end()
