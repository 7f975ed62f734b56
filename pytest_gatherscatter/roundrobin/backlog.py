"""What waits for a free slot of a service: in its order, bounded, ahead of what comes later."""

from collections import OrderedDict
from itertools import count

from pytest_gatherscatter.roundrobin.task import Task


class Backlog:
    """The tasks of one service that wait; ``most`` of them, and ``most_bytes`` of their bodies.

    A task that is ``bound`` waits for one worker, and does not hold up those behind it. What comes
    back stands in front, ahead of everything, and is never too much.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._open: OrderedDict[str, Task] = OrderedDict()
        self._bound: dict[str, OrderedDict[str, Task]] = {}
        self._behind, self._ahead = count(0), count(-1, -1)
        self._length = self.bytes = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._length

    @property
    def passes(self) -> bool:
        """Whether a newcomer would overtake nobody."""
        return not self._open

    def is_full(self, size: int) -> bool:
        """Whether there is no room for one more of this size."""
        return self._length >= self._most or self.bytes + size > self._most_bytes

    def push(self, task: Task, *, ahead: bool = False) -> None:
        """Let a task wait, at the end, or ``ahead`` of all."""
        task.place = next(self._ahead if ahead else self._behind)
        waiting = self._open if task.bound is None else self._bound.setdefault(task.bound, _new())
        waiting[task.id] = task
        if ahead:
            waiting.move_to_end(task.id, last=False)
        self._length += 1
        self.bytes += task.size

    def next(self, worker: str) -> Task | None:
        """Return what this worker would get; it stays."""
        heads = [
            next(iter(waiting.values()))
            for waiting in (self._open, self._bound.get(worker))
            if waiting
        ]
        return min(heads, key=_place) if heads else None

    def drop(self, task: Task) -> bool:
        """Take a task out; say whether it was in."""
        if task.place is None:
            return False
        task.place = None
        if task.bound is None:
            del self._open[task.id]
        else:
            waiting = self._bound[task.bound]
            del waiting[task.id]
            if not waiting:
                del self._bound[task.bound]
        self._length -= 1
        self.bytes -= task.size
        return True

    def bind(self, task: Task, worker: str) -> None:
        """Let a task that waits for any wait for one worker, behind what does so already."""
        del self._open[task.id]
        task.bound = worker
        self._bound.setdefault(worker, _new())[task.id] = task

    def unbind(self, worker: str) -> None:
        """Let what waited for one worker wait for any, each in its place."""
        freed = self._bound.pop(worker, None)
        if freed:
            for task in freed.values():
                task.bound = None
            merged = sorted([*self._open.values(), *freed.values()], key=_place)
            self._open = OrderedDict((task.id, task) for task in merged)

    def tasks(self) -> list[Task]:
        """Return all that wait, in their order."""
        all_ = [
            task for waiting in (self._open, *self._bound.values()) for task in waiting.values()
        ]
        return sorted(all_, key=_place)


def _new() -> OrderedDict[str, Task]:
    return OrderedDict()


def _place(task: Task) -> int:
    assert task.place is not None  # noqa: S101 - it waits
    return task.place
