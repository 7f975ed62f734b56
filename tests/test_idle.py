"""Installed and unused, the plugin costs nothing: its modules are counted."""

import json
import os
import subprocess
import sys
from pathlib import Path

COUNT = """
import json, sys


def pytest_sessionfinish(session):
    session.config.rootpath.joinpath("modules.json").write_text(json.dumps(sorted(sys.modules)))
"""


def modules(folder: Path, *arguments: str) -> set[str]:
    """Run an empty suite in a process of its own, and return what it had imported at the end."""
    folder.mkdir()
    (folder / "conftest.py").write_text(COUNT)
    (folder / "test_empty.py").write_text("def test_nothing():\n    pass\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    found: list[str] = json.loads((folder / "modules.json").read_text())
    return set(found)


def test_an_idle_plugin_imports_itself_only(tmp_path: Path) -> None:
    """Against ``-p no:gatherscatter`` only the entry's own modules are added."""
    with_plugin = modules(tmp_path / "with")
    without = modules(tmp_path / "without", "-p", "no:gatherscatter")
    assert not any(name.startswith("pytest_gatherscatter") for name in without)
    assert with_plugin - without == {
        "pytest_gatherscatter",
        "pytest_gatherscatter.plugin",
        "pytest_gatherscatter.plugin.entry",
        "pytest_gatherscatter.plugin.hookspecs",
        "pytest_gatherscatter.plugin.options",
    }
