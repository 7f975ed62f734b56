"""The monitors of the bench: an oscilloscope on the 5 V rail, and the supply's own data logger.

All hooks of a monitor are called in one thread, one at a time, so a driver needs no locks.
"""

from instrument import connect

from pytest_gatherscatter import Findings, Hold, Monitor, SectionInfo, Veto

CALIBRATION = 3.0
"""Seconds that the probe's calibration takes, by the scope's manual."""

RAIL = 5.0
"""Volts."""


class Scope(Monitor):
    """Records the rail while it is cut, and judges the dip and the overshoot."""

    def __init__(self, resource: str, most_volts: float = 5.5) -> None:
        """Connect; ``[monitor.options]`` of gatherscatter.toml are the arguments."""
        self.scope = connect(resource)
        self.most_volts = most_volts
        self.calibrates = False

    def prepare(self, section: SectionInfo) -> Hold | Veto | None:  # noqa: ARG002 - a hook's signature
        """Arm. The first time the probe is calibrated, and everybody waits for it."""
        if not self.calibrates:
            self.calibrates = True
            self.scope.write(":CAL:PROB")
            return Hold(CALIBRATION, "probe calibration")
        if (answer := self.scope.query(":CAL:PROB?")) != "DONE":
            return Veto(f"the probe's calibration says {answer}")
        self.scope.write(":SING")
        return None

    def started(self, section: SectionInfo) -> None:  # noqa: ARG002 - a hook's signature
        """Record from here on: this is called at the instant that all agreed on."""
        self.scope.write(":TRIG:FORC")

    def stopped(self, section: SectionInfo) -> Findings:  # noqa: ARG002 - a hook's signature
        """Read the record, judge it, and hand it in."""
        self.scope.write(":STOP")
        step = float(self.scope.query(":WAV:XINC?"))
        volts = [float(word) for word in self.scope.query(":WAV:DATA?").split(",")]
        lowest = volts.index(min(volts))
        back = next((n for n in range(lowest, len(volts)) if volts[n] >= 0.95 * RAIL), len(volts))
        findings = Findings()
        findings.add("peak_v", max(volts), unit="V", high=self.most_volts)
        findings.add("lowest_v", min(volts), unit="V", high=0.2, text="the rail was really off")
        findings.add("recovery_ms", (back - lowest) * step * 1000, unit="ms", high=20)
        findings.attach("rail.csv", table("volts", step, volts))
        return findings

    def aborted(self, section: SectionInfo, cause: str) -> None:  # noqa: ARG002 - a hook's signature
        """Disarm."""
        self.scope.write(":STOP")


class PowerSupply(Monitor):
    """Logs the current, and switches the output off if the test does not come back."""

    def __init__(self, resource: str, most_amperes: float) -> None:
        """Connect; ``most_amperes`` is the fuse."""
        self.supply = connect(resource)
        self.most_amperes = most_amperes

    def prepare(self, section: SectionInfo) -> Hold | Veto | None:  # noqa: ARG002 - a hook's signature
        """Say no to a bench without power: there would be nothing to cycle."""
        if self.supply.query(":OUTP?") != "1":
            return Veto("the output is off")
        return None

    def started(self, section: SectionInfo) -> None:  # noqa: ARG002 - a hook's signature
        """Log from here on."""
        self.supply.write(":SENS:DLOG:STAR")

    def stopped(self, section: SectionInfo) -> Findings:  # noqa: ARG002 - a hook's signature
        """Read the log, judge it, and hand it in."""
        self.supply.write(":SENS:DLOG:STOP")
        amperes = [float(word) for word in self.supply.query(":FETC:DLOG:CURR?").split(",")]
        findings = Findings()
        findings.add("inrush_a", max(amperes), unit="A", high=self.most_amperes)
        findings.add("charge_mc", round(sum(amperes), 1), unit="mC")
        findings.attach("current.csv", table("amperes", 0.001, amperes))
        return findings

    def overdue(self, section: SectionInfo) -> None:  # noqa: ARG002 - a hook's signature
        """Make safe: the test missed its deadline, and nobody knows what it is doing."""
        self.supply.write(":OUTP 0")


def table(what: str, step: float, values: list[float]) -> bytes:
    """Write a record as CSV: seconds since the start, and the value."""
    lines = [f"seconds,{what}", *(f"{n * step:.6f},{value}" for n, value in enumerate(values))]
    return ("\n".join(lines) + "\n").encode()
