"""Calls a job's callbacks on a listener's host, as a process that may import the job's code.

``python -m pytest_gatherscatter.plugin.callback READ WRITE``, with the descriptors of two pipes:
a line says how pytest would be called, each further one names a hook, and is answered when it has
returned. pytest is read as for a run (conftests, plugins, ini), but not configured: nothing is
going to be run here.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from _pytest.config import ConftestImportFailure, _prepareconfig

from pytest_gatherscatter.host.process import die_with_parent
from pytest_gatherscatter.plugin.plain import clipped, speakable
from pytest_gatherscatter.testfiles.service.callback import (
    CallbackCall,
    CallbackDone,
    CallbackStart,
)

TEXT = 3_000
"""Characters of what a callback raised."""

_encode = msgspec.json.Encoder().encode
_start = msgspec.json.Decoder(CallbackStart)
_call = msgspec.json.Decoder(CallbackCall)


def read(start: CallbackStart) -> pytest.Config:
    """Go where pytest would be called, and read its configuration.

    Without arguments it is that of an empty directory: plugins, and nothing else.
    """
    place = Path(start.root, start.place)
    os.chdir(place)
    plugins = [word for name in start.plugins for word in ("-p", name)]
    if start.arguments is None:
        words = ["--noconftest", f"--rootdir={start.root}", "-c", os.devnull, *plugins, start.root]
        return _prepareconfig(words)
    sys.path.insert(0, str(place.resolve()))
    return _prepareconfig([*start.arguments, *plugins])


def call(config: pytest.Config, said: CallbackCall) -> bool:
    """Call one hook; returns whether it says that it did it."""
    hook, workspace = config.hook, Path(said.workspace)
    match said.hook:
        case "sync":
            return bool(
                hook.pytest_gs_sync(source=said.source, workspace=workspace, excludes=said.excludes)
            )
        case "after_sync":
            hook.pytest_gs_after_sync(config=config, workspace=workspace)
        case "before_creating_workers":
            hook.pytest_gs_before_creating_workers(
                config=config, workspace=workspace, workers=said.workers
            )
        case "after_creating_workers":
            hook.pytest_gs_after_creating_workers(config=config, workspace=workspace)
        case _:
            raise ValueError(f"there is no callback {said.hook}")
    return False


def serve(commands: Sequence[str]) -> None:
    """Read lines until there are no more, and answer each call."""
    reads, writes = (int(one) for one in commands)
    os.set_inheritable(reads, False)  # noqa: FBT003 - it takes no keyword
    os.set_inheritable(writes, False)  # noqa: FBT003 - it takes no keyword
    config: pytest.Config | None = None
    wrong = ""
    with open(reads, "rb") as lines:  # noqa: PTH123 - a descriptor, no path
        start = _start.decode(next(lines))
        try:
            config = read(start)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a conftest's own
            wrong = _reason(error)
        for line in lines:
            done = CallbackDone(wrong=wrong)
            if config is not None:
                try:
                    done = CallbackDone(result=call(config, _call.decode(line)))
                except (Exception, SystemExit) as error:  # noqa: BLE001 - a callback's own
                    sys.excepthook(type(error), error, error.__traceback__)
                    done = CallbackDone(wrong=_reason(error))
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(writes, _encode(done) + b"\n")


def _reason(error: BaseException) -> str:
    """Say in one line what was raised."""
    if isinstance(error, ConftestImportFailure):
        return speakable(
            clipped(f"{error.path}: {type(error.cause).__name__}: {error.cause}", TEXT)
        )
    text = " ".join(str(error).split())
    return speakable(clipped(f"{type(error).__name__}: {text}", TEXT))


if __name__ == "__main__":
    die_with_parent()
    if not sys.flags.safe_path:
        del sys.path[0]  # that is where it was started, by -m
    serve(sys.argv[1:])
