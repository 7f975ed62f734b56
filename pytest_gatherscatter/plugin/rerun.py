"""``--gs-replay``: one command that runs what a worker ran, in its order, in one process.

A test that fails only after certain others failed so in a worker; which ones those were is known
when the run is over. The tests stand in a file, since a command line has an end.
"""

import shlex
from pathlib import Path

import pytest

ORDERS = "gatherscatter"
"""The directory of pytest's cache in which each worker of the last run has a text file."""


CHOOSE = {
    *("--lf", "--last-failed", "--ff", "--failed-first", "--nf", "--new-first"),
    *("--sw", "--stepwise", "--sw-skip", "--stepwise-skip", "--sw-reset", "--stepwise-reset"),
}
"""Options that choose tests and put them in order, which the file does."""


def keep_orders(config: pytest.Config, orders: dict[str, list[str]]) -> None:
    """Write down which tests each worker ran, for ``--gs-replay``; the last run's are forgotten."""
    cache = getattr(config, "cache", None)
    if cache is None:
        return
    folder = cache.mkdir(ORDERS)
    for old in folder.glob("*.txt"):
        old.unlink(missing_ok=True)
    root = config.rootpath
    below = config.invocation_params.dir != root
    for worker, nodeids in orders.items():
        lines = [_absolute(root, nodeid) for nodeid in nodeids] if below else nodeids
        (folder / f"{worker}.txt").write_text("\n".join([*_options(config), *lines, ""]))


def _absolute(root: Path, nodeid: str) -> str:
    """Return a nodeid as an argument is written that was not called from the root directory."""
    file, _, test = nodeid.partition("::")
    return f"{root / file}::{test}"


def _options(config: pytest.Config) -> list[str]:
    """Return the options that the run had, without what shares it out, and what it was run of."""
    kept: list[str] = []
    given = iter(map(str, config.invocation_params.args))
    for word in given:
        if word.startswith("--gs-"):
            if "=" not in word and word not in {"--gs-dispatch", "--gs-local"}:
                next(given, None)
        elif word not in CHOOSE and word.partition("[")[0].partition("::")[0] not in config.args:
            kept.append(word)
    return kept


def print_command(config: pytest.Config) -> int:
    """Print the command of a worker; returns an exit status.

    Raises:
        pytest.UsageError: there was no such worker.
    """
    config._do_configure()  # noqa: SLF001 - as pytest's own --cache-show does
    try:
        worker = config.getoption("gs_replay")
        cache = getattr(config, "cache", None)
        if cache is None:
            raise pytest.UsageError("--gs-replay needs pytest's cache, where the last run is kept")
        folder = cache.mkdir(ORDERS)
        known = sorted(file.stem for file in folder.glob("*.txt"))
        if worker not in known:
            have = f"it had {', '.join(known)}" if known else "it kept none"
            raise pytest.UsageError(f"--gs-replay {worker}: no such worker in the last run; {have}")
        file = folder / f"{worker}.txt"
        here = config.invocation_params.dir
        shown = file.relative_to(here) if file.is_relative_to(here) else file
        print(f"pytest {shlex.quote(f'@{shown}')}")  # noqa: T201 - for a shell to run
    finally:
        config._ensure_unconfigure()  # noqa: SLF001 - as above
    return 0
