"""Samples of processes over time, and whether a figure stays what it was."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, median

KIB = 1024


@dataclass
class Series:
    """A figure over time: (seconds, value) in their order."""

    points: list[tuple[float, float]] = field(default_factory=list)

    def add(self, at: float, value: float) -> None:
        """Add a sample."""
        self.points.append((at, value))

    def drift(self) -> float:
        """Return by how much the figure grew over the whole time, by the slope of what it is later.

        The first quarter does not count: caches fill, and a process takes what it needs.
        """
        later = self.points[len(self.points) // 4 :]
        times, values = [at for at, _ in later], [value for _, value in later]
        return linear_regression(times, values).slope * (times[-1] - times[0])

    def rise(self) -> float:
        """Return by how much the least of the last third is above the least of the one before.

        What is held for a while does not count, what is never given back does.
        """
        third = max(1, len(self.points) // 3)
        values = [value for _, value in self.points]
        return min(values[-third:]) - min(values[-2 * third : -third])

    def usual(self) -> float:
        """Return the median."""
        return median(value for _, value in self.points)


class Watched:
    """What a process holds, sampled from the kernel."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.memory, self.descriptors, self.threads = Series(), Series(), Series()

    def sample(self, at: float) -> None:
        """Look once."""
        place = Path("/proc") / str(self.pid)
        pages = int((place / "statm").read_text().split()[1])
        self.memory.add(at, pages * os.sysconf("SC_PAGE_SIZE") / KIB)
        self.descriptors.add(at, len(list((place / "fd").iterdir())))
        self.threads.add(at, len(list((place / "task").iterdir())))
