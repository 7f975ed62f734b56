"""A suite to write and run, alone or in a lab of real processes."""

import os
from collections.abc import Iterator

import pytest
from suite import MONITORS, SETTINGS, Lab, Suite


@pytest.fixture(scope="session")
def running_lab(embedded_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The processes, started once."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "monitors.py").write_text(MONITORS)
    (folder / "gatherscatter.toml").write_text(SETTINGS)
    lab = Lab(embedded_url, f"plugin{os.getpid()}", folder, {})
    yield lab
    if lab.processes:
        lab.ready()  # a monitor that is inside a section would stay for its end
    gatherer = lab.processes.pop("gatherer", None)
    for process in (*lab.processes.values(), *([gatherer] if gatherer else [])):
        process.terminate()
        process.wait(10)


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A suite that knows no broker, and whose locks and tickets are its own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(pytester.mkdir("runtime")))
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.mkdir("state")))
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)
    return Suite(pytester)


@pytest.fixture
def lab_suite(suite: Suite, running_lab: Lab) -> Suite:
    """A suite in the lab of gatherer, ``scope`` and ``thermal``, all of them ready."""
    running_lab.ready()
    suite.given += ["--gs-broker", running_lab.url, "--gs-lab", running_lab.name]
    suite.write('gather_timeout = "2s"\nreport_timeout = "3s"\n', "gatherscatter.toml")
    return suite
