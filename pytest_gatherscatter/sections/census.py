"""The census: everything that a process kept open at one moment, each with its owner.

"Quiet" means that between go and leave there is no socket and no thread of ours. Everything in
a census is ours or foreign: the section asserts on ours, and lists the rest, because a test's
noise may well be its author's. These are plain types, for reports and messages; ``proc.py``
takes the census.
"""

from collections.abc import Iterator

import msgspec


class Descriptor(msgspec.Struct, frozen=True):
    """An open descriptor. ``kind`` is ``file``, ``socket``, ``pipe`` or the kernel's own word."""

    number: int
    kind: str
    target: str
    ours: bool = False


class Socket(msgspec.Struct, frozen=True):
    """A TCP socket of this process. Addresses are ``host:port`` or ``[host]:port``."""

    number: int
    local: str
    remote: str
    state: str
    ours: bool = False


class Thread(msgspec.Struct, frozen=True):
    """A thread. ``python`` tells whether the threading module knows it, ``main`` the main one."""

    name: str
    native_id: int
    python: bool
    main: bool = False
    ours: bool = False


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """What one process has open at one moment, in plain types.

    Elsewhere than on Linux ``complete`` is false: an empty census, which proves nothing and
    says so in ``note``.
    """

    descriptors: tuple[Descriptor, ...] = ()
    sockets: tuple[Socket, ...] = ()
    threads: tuple[Thread, ...] = ()
    complete: bool = True
    note: str = ""

    def ours(self) -> tuple[str, ...]:
        """Name everything of ours, a line each; empty is what quiet means."""
        return tuple(_lines(self, ours=True))

    def foreign(self) -> tuple[str, ...]:
        """Name others' sockets and threads (not files, nor the main thread), a line each."""
        return tuple(_lines(self, ours=False))


def _lines(census: Census, *, ours: bool) -> Iterator[str]:
    for item in census.sockets:
        if item.ours == ours:
            yield f"socket {item.number} {item.local} to {item.remote} {item.state}"
    listed = {item.number for item in census.sockets}
    for descriptor in census.descriptors:
        if descriptor.kind == "socket" and descriptor.number not in listed and not ours:
            yield f"socket {descriptor.number} {descriptor.target} (not TCP)"
    for thread in census.threads:
        if thread.ours == ours and not thread.main:
            kind = "thread" if thread.python else "thread unknown to Python"
            yield f"{kind} {thread.name} {thread.native_id}"
