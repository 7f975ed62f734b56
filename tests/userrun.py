"""pytest as a user runs it: a process of its own, in a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

HEAVY = ("hypothesispytest", "html", "metadata", "pytest_cov")
"""Plugins of these tests that cost each process half a second, whatever it is there for."""

OTHERS = (*HEAVY, "xdist", "rerunfailures", "asyncio", "timeout")
"""Plugins that a new user does not have, and that leave threads and sockets in a process."""

LONGEST = 100.0
"""Seconds; a lab comes up in two, on a machine that is busy in ten."""


def without(plugins: Iterable[str]) -> list[str]:
    """Return the words that leave plugins out."""
    return [word for name in plugins for word in ("-p", f"no:{name}")]


def run(
    folder: Path,
    *arguments: str,
    home: Path,
    alone: bool = True,
    environ: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run pytest in ``folder`` to its end; locks, tickets and addresses lie in ``home``.

    It is without ``OTHERS``, unless it shall not be ``alone``.
    """
    for name in ("runtime", "state"):
        (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("GATHERSCATTER_", "GS_", "PYTEST_", "COV_"))
    }
    own = {
        "XDG_RUNTIME_DIR": str(home / "runtime"),
        "XDG_STATE_HOME": str(home / "state"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "200",
    }
    left_out = without(OTHERS if alone else HEAVY)
    return subprocess.run(
        [*(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"), *left_out, *arguments],
        cwd=folder,
        env=clean | own | dict(environ or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST,
        check=False,
    )
