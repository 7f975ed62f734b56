"""Takes the census of this process: the kernel tells what is open, not we ourselves.

A claim of our own about our own descriptors would be worth little, so this reads ``/proc``:
descriptors, TCP sockets (matched by inode), and threads, also those that Python does not know.

**Ours** are threads whose name begins with ``gatherscatter``, and sockets connected to the
broker. A test's own connection to that same broker is indistinguishable, and counts as ours.

It runs inside the lead, before the start that everybody waits for, so it has to be quick: a test
holds it to less than the shortest lead.
"""

import contextlib
import functools
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_gatherscatter.sections.census import Census, Descriptor, Socket, Thread

THREAD_PREFIX = "gatherscatter"
"""How the names of all our threads begin; it fits into the kernel's 15 characters."""

_STATES = (
    "",
    "established",
    "syn-sent",
    "syn-received",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "closed",
    "close-wait",
    "last-ack",
    "listening",
    "closing",
    "new-syn-received",
)
"""TCP states by the kernel's numbers (include/net/tcp_states.h)."""

_FEWEST = 7
"""Fields of the shortest row: an unnamed local socket's."""

_V4_MAPPED = b"\0" * 10 + b"\xff\xff"


def take(broker: tuple[str, int] | None) -> Census:
    """Take the census of this process, now. Any thread may call it; it raises nothing.

    Args:
        broker: host and port that our connections go to. An address is compared as it is; a
            name is looked up once, so look it up early (:func:`addresses`), not in the lead.
    """
    if sys.platform != "linux":
        return Census(complete=False, note=f"no census on {sys.platform}: there is no /proc")
    try:
        targets = dict(_targets())
        threads = tuple(_threads())
        inodes = {
            target[8:-1]: number
            for number, target in targets.items()
            if target.startswith("socket:[")
        }
        sockets = tuple(_sockets(inodes, broker)) if inodes else ()
    except OSError as error:
        return Census(complete=False, note=f"/proc cannot be read: {error.strerror}")
    tcp = {item.number: item for item in sockets}
    descriptors = tuple(
        Descriptor(number, _kind(target), target, number in tcp and tcp[number].ours)
        for number, target in sorted(targets.items())
    )
    return Census(descriptors=descriptors, sockets=sockets, threads=threads)


@functools.lru_cache(maxsize=64)
def addresses(host: str) -> frozenset[str]:
    """Return the addresses of a host, looked up once a process; of an unknown one, none.

    Blocks as long as the resolver does.
    """
    try:
        return frozenset((str(ipaddress.ip_address(host.strip("[]"))),))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(str(entry[4][0]) for entry in found)


def _targets() -> Iterator[tuple[int, str]]:
    """Pair every descriptor with what it refers to; that of the listing itself is gone again."""
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a Path each would double the time
        try:
            yield int(entry), os.readlink(f"/proc/self/fd/{entry}")  # noqa: PTH115 - as above
        except FileNotFoundError:
            continue


def _kind(target: str) -> str:
    if target.startswith("/"):
        return "file"
    kind = target.removeprefix("anon_inode:")
    return kind.partition(":")[0].strip("[]")


def _threads() -> Iterator[Thread]:
    known: Mapping[int | None, threading.Thread] = {
        thread.native_id: thread for thread in threading.enumerate()
    }
    for entry in sorted(map(int, os.listdir("/proc/self/task"))):  # noqa: PTH208 - as above
        thread = known.get(entry)
        try:
            name = thread.name if thread else _comm(entry)
        except OSError:
            continue  # it ended while we looked
        yield Thread(
            name,
            entry,
            python=thread is not None,
            main=entry == os.getpid(),
            ours=name.startswith(THREAD_PREFIX),
        )


def _comm(task: int) -> str:
    return Path(f"/proc/self/task/{task}/comm").read_text(errors="replace").strip()


def _sockets(inodes: Mapping[str, int], broker: tuple[str, int] | None) -> Iterator[Socket]:
    """Find our inodes in the tables of all TCP sockets of this network namespace.

    Walking such a table costs the kernel a millisecond for its empty buckets alone, so local
    sockets (asyncio has two) are struck out first, and reading ends with the last one found.
    """
    wanted = dict(inodes)
    for fields in _rows("unix", wanted):
        wanted.pop(fields[6], None)
    hosts = addresses(broker[0]) if broker else frozenset()
    for table in ("tcp", "tcp6"):
        for fields in _rows(table, wanted):
            number = wanted.pop(fields[9], None)
            if number is None:
                continue
            remote, port = _address(fields[2])
            ours = broker is not None and port == broker[1] and remote in hosts
            local = _text(*_address(fields[1]))
            state = int(fields[3], 16)
            name = _STATES[state] if state < len(_STATES) else str(state)
            yield Socket(number, local, _text(remote, port), name, ours)


def _rows(table: str, wanted: Mapping[str, int]) -> Iterator[list[str]]:
    """Read a table of ``/proc/self/net`` row by row, for as long as something is wanted."""
    if not wanted:
        return
    path = Path("/proc/self/net", table)
    with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
        rest = b""  # no such file: a kernel without this family
        while wanted and (block := file.read(65536)):
            *rows, rest = (rest + block).split(b"\n")
            for row in rows:
                fields = row.decode(errors="replace").split(maxsplit=10)
                if len(fields) >= _FEWEST and fields[0].endswith(":"):  # the head's does not
                    yield fields


def _address(text: str) -> tuple[str, int]:
    """Decode the kernel's ``0100007F:1628``: words in the host's byte order, the port in hex."""
    words, _, port = text.partition(":")
    packed = b"".join(
        int(words[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), 8)
    )
    host = ipaddress.ip_address(packed.removeprefix(_V4_MAPPED))  # mapped: IPv4 on an IPv6 socket
    return str(host), int(port, 16)


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
