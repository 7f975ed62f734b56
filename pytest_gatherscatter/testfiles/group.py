"""Which worker has which group: ``xdist_group`` promises that its tests run on one, in any file."""

from collections.abc import Iterable, Mapping


class Groups:
    """Workers by group. A group that is begun stays where it is for as long as its worker lives."""

    def __init__(self) -> None:
        self.workers: dict[str, str] = {}
        """Who has a group."""
        self._begun: set[str] = set()

    def of(self, group: str) -> str:
        """Return who has a group; empty for nobody."""
        return self.workers.get(group, "")

    def claim(self, group: str, worker: str) -> None:
        """Let a worker have a group, after whoever had it."""
        if group and self.workers.get(group) != worker:
            self.workers[group] = worker
            self._begun.discard(group)

    def begin(self, group: str) -> None:
        """Take it that a test of a group has begun."""
        if group:
            self._begun.add(group)

    def is_begun(self, group: str) -> bool:
        """Whether a test of it has begun."""
        return group in self._begun

    def release(self, group: str) -> None:
        """Let anybody have a group, if it is not begun."""
        if group not in self._begun:
            self.workers.pop(group, None)

    def part(
        self, parts: Mapping[str, Iterable[int]], worker: str, living: Iterable[str]
    ) -> tuple[int, ...]:
        """Let a worker have the groups of a file that it opened, if no other has them.

        Returns:
            The tests that are for others.
        """
        others = set(living) - {worker}
        foreign: list[int] = []
        for group, tests in parts.items():
            if self.of(group) in others:
                foreign += tests
            else:
                self.claim(group, worker)
        return tuple(sorted(foreign))
