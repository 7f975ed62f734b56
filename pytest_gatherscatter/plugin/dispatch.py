"""What a pytest becomes that does not run its own tests: an originator, or a holder of workers."""

import os
import signal
import sys
from types import FrameType

import pytest

from pytest_gatherscatter.broker import provider
from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.plugin import options

NO_JOB = pytest.ExitCode.NO_TESTS_COLLECTED
"""Exit status of a worker that no job came to."""

SHOWS = ("collectonly", "showfixtures", "show_fixtures_per_test")
"""Options with which pytest collects, and runs nothing."""

PRINTS = {"setupshow": "--setup-show", "setuponly": "--setup-only", "setupplan": "--setup-plan"}
"""Options that print while tests run, which nobody would see of a worker."""


def begin(config: pytest.Config) -> int | None:
    """Hold workers and return an exit status; or make the session one whose files run elsewhere.

    Raises:
        pytest.UsageError: options that do not go together, or a value that is not allowed.
    """
    option = config.getoption
    ways = [name for name in ("--gs-spawn", "--gs-dispatch", "--gs-worker") if _given(option, name)]
    if len(ways) > 1:
        raise pytest.UsageError(f"{' and '.join(ways)}: one of them at a time")
    if option("usepdb") or option("trace"):
        raise pytest.UsageError(f"{ways[0]}: tests run in other processes, where --pdb cannot ask")
    if option("numprocesses", default=None) or option("tx", default=None):
        raise pytest.UsageError(f"{ways[0]} and -n: either distributes the tests, not both")
    for name, said in PRINTS.items():
        if option(name, default=False):
            raise pytest.UsageError(f"{ways[0]} and {said}: nobody sees what workers print")
    wait = options.number(option("gs_wait"), "--gs-wait", least=0, most=86_400)
    limit = options.number(option("gs_test_timeout"), "--gs-test-timeout", least=0, most=86_400)
    retries = int(options.number(option("gs_retries"), "--gs-retries", least=0, most=100))
    if option("gs_worker"):
        text, most = option("gs_worker"), options.MOST_WORKERS
        return _work(config, int(options.number(text, "--gs-worker", least=1, most=most)), wait)
    if any(option(name, default=False) for name in SHOWS):
        return None  # nothing is run, so there is nothing to share
    spawn = options.workers(option("gs_spawn")) if option("gs_spawn") else 0
    from pytest_gatherscatter.plugin.originator import (  # noqa: PLC0415 - not a worker's
        Originator,
        Wishes,
    )

    originator = Originator(config, Wishes(spawn=spawn, wait=wait, retries=retries, limit=limit))
    config.pluginmanager.register(originator, "gatherscatter-originator")
    config.pluginmanager.register(originator.files, "gatherscatter-finder")
    return None


def _given(option: object, name: str) -> bool:
    assert callable(option)  # noqa: S101 - pytest's
    return bool(option(name.lstrip("-").replace("-", "_")))


def _work(config: pytest.Config, slots: int, wait: float) -> int:
    """Hold workers for the first job of the lab that is offered."""
    from pytest_gatherscatter.testfiles.service.pipe import (  # noqa: PLC0415 - not an originator's
        line,
        start_of,
    )
    from pytest_gatherscatter.testfiles.service.supervisor import (  # noqa: PLC0415 - as above
        SupervisorService,
    )

    settings = options.settings(config)
    found = provider.resolve(settings.broker, env=os.environ)
    if found.url is None:
        raise pytest.UsageError(f"--gs-worker needs a broker, and {found.why}")
    ended: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        ended.append(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        service = SupervisorService(
            settings.lab,
            found.url,
            slots=slots,
            order=lambda start: line(start_of(start, str(config.rootpath))),
        )
        text = service.run(lambda: bool(ended), wait=wait)
    except GatherScatterError as error:
        raise pytest.UsageError(str(error)) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if text:
        sys.stderr.write(f"gatherscatter: {text}\n")
    if not service.machine.joined:
        return int(NO_JOB)
    return int(pytest.ExitCode.TESTS_FAILED if text else pytest.ExitCode.OK)
