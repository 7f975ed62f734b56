"""Other namespaces of this machine's kernel, for tests of who can judge whom, and of clocks."""

import os
import subprocess
import sys
from functools import cache

import pytest
from shells import OURS

PIDS = ("--pid", "--fork", "--mount-proc", "--kill-child")
NETWORK = ("--net",)
LOOPBACK_UP = """
import fcntl, runpy, socket, struct
with socket.socket() as any_socket:
    # SIOCSIFFLAGS with IFF_UP: a new network has its loopback down, which no real host has.
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))
runpy.run_module("pytest_gatherscatter", run_name="__main__", alter_sys=True)
"""

WITH_LOOPBACK = (sys.executable, "-c", LOOPBACK_UP)
"""How ``gatherscatter`` is started in a network of its own that is as a host's is."""

HOUR_AHEAD = ("--time", "--monotonic", "3600", "--fork", "--kill-child")


def inside(namespace: tuple[str, ...], how: tuple[str, ...] = OURS) -> tuple[str, ...]:
    """Say how ``gatherscatter`` is started in a new namespace; skips where nobody may make one.

    A run that must test everything (``GS_REQUIRE_RABBITMQ=1``) fails instead.
    """
    prefix = _prefix(namespace)
    if prefix is None:
        reason = f"unshare {' '.join(namespace)} is not permitted here: run it as root on Linux"
        if os.environ.get("GS_REQUIRE_RABBITMQ") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return (*prefix, *how)


@cache
def _prefix(namespace: tuple[str, ...]) -> tuple[str, ...] | None:
    """Find the way that is permitted: as we are, or as root of a user namespace of our own."""
    for more in ((), ("--map-root-user",)):
        prefix = ("unshare", *more, *namespace)
        try:
            done = subprocess.run([*prefix, "true"], capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode == 0:
            return prefix
    return None
