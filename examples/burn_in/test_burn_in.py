"""Burn a board in: two processors have the supply and the board, and a slip goes between them."""

import bench

from pytest_gatherscatter import SlipRunner, Steps


def test_burn_in(gs_run_slip: SlipRunner, gs_step: Steps) -> None:
    """Good firmware: all four steps are done, and the power is off."""
    with gs_step("burn in"):
        slip = gs_run_slip("burn-in.toml", {"image": "firmware-1.4.txt"}, timeout="2m")
    assert [one.status for one in slip.progress] == ["done"] * 4
    assert "current: 0.31 A" in slip.step(3).stdout_tail
    with gs_step("look at the bench"):
        assert bench.read()["volts"] == 0
        assert "version 1.4" in bench.read()["firmware"]


def test_firmware_that_draws_too_much(gs_run_slip: SlipRunner) -> None:
    """Bad firmware: the self-test fails, what was done is undone, and no step follows."""
    slip = gs_run_slip("burn-in.toml", {"image": "firmware-1.5.txt"}, timeout="2m", check=False)
    assert slip.outcome == "failed"
    assert slip.step(3).exit_status == 3
    assert "0.91 A is above 0.5 A" in slip.step(3).stderr_tail
    assert slip.compensation(1).status == "done"
    assert [one.number for one in slip.progress] == [1, 2, 3, 1]
    assert bench.read()["volts"] == 0
