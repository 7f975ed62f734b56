"""Options, ini, environment and file: a mistake is one line at configure."""

import os
import subprocess
import sys

import pytest
from suite import Suite

pytest_plugins = ["pytester"]

PLAIN = "def test_plain():\n    pass\n"

MISTAKES = [
    (["--gs-lab", "a b"], "", "ERROR: --gs-lab: lab name 'a b'*"),
    (["--gs-no-gatherer", "maybe"], "", "ERROR: --gs-no-gatherer: 'maybe'*run, skip, fail"),
    (["--gs-require", "scope,a.b"], "", "ERROR: --gs-require: agent name 'a.b'*"),
    ([], "gs_gather_timeout = soon", "ERROR: pytest ini gs_gather_timeout: 'soon'*"),
    ([], "gs_maxduration = 3", "ERROR: pytest ini gs_maxduration: *'gs_max_duration'?"),
    (["-o", "gs_zebra=3"], "", "ERROR: pytest ini gs_zebra: *allowed are gs_artifact_limit,*"),
    (["--gs-local", "--gs-broker", "amqp://x"], "", "ERROR: --gs-local starts a broker*"),
]


@pytest.mark.parametrize(("arguments", "ini", "line"), MISTAKES)
def test_a_wrong_option_or_ini_ends_the_run_in_one_line(
    suite: Suite, arguments: list[str], ini: str, line: str
) -> None:
    """Nothing is collected; exit status 4 is pytest's for usage errors."""
    suite.pytester.makeini(f"[pytest]\n{ini}\n")
    suite.write(PLAIN)
    result = suite.run_here(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_a_wrong_file_and_variable_are_named(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """``gatherscatter.toml`` is told by path and key, the environment by its variable."""
    suite.write(PLAIN)
    suite.write("gather_timeot = 3\n", "gatherscatter.toml")
    result = suite.run_here()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *gatherscatter.toml: gather_timeot: *'gather_timeout'*"])
    suite.write("", "gatherscatter.toml")
    monkeypatch.setenv("GATHERSCATTER_BROKER", "http://user:secret@host")
    result = suite.run_here()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: GATHERSCATTER_BROKER: *"])
    assert "secret" not in result.stderr.str()


def test_a_file_that_cannot_be_read_is_not_passed_over(suite: Suite) -> None:
    """A link that leads nowhere, or a directory, would otherwise lose a ``require``."""
    suite.write(PLAIN)
    path = suite.path / "gatherscatter.toml"
    path.symlink_to("nowhere.toml")
    result = suite.run_here()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *gatherscatter.toml: cannot be read: its link leads*"])
    path.unlink()
    path.mkdir()
    result = suite.run_here()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *gatherscatter.toml: cannot be read: Is a directory"])


def test_an_ini_key_of_another_plugin_is_its_own(suite: Suite) -> None:
    """``gs_`` in front is no promise: what somebody registered is somebody's."""
    suite.pytester.makeini("[pytest]\ngs_other = 3\n")
    suite.write("def pytest_addoption(parser):\n    parser.addini('gs_other', '')\n", "conftest.py")
    suite.write(PLAIN)
    suite.run_here().assert_outcomes(passed=1)


def test_the_header_shows_settings_and_no_password(suite: Suite) -> None:
    """Lab, bench and broker stand in the header if any of them was given; else nothing does."""
    suite.write(PLAIN)
    result = suite.run_here("--gs-broker", "amqp://me:secret@127.0.0.1:1", "--gs-require", "b,a")
    result.stdout.fnmatch_lines(
        ["gatherscatter: lab default, bench default, broker *requires a, b"]
    )
    assert "secret" not in result.stdout.str()
    assert result.ret == 0
    assert "gatherscatter:" not in suite.run_here().stdout.str()


def test_the_file_beside_the_tests_is_found_from_afar(suite: Suite) -> None:
    """``pytest examples/x`` takes the settings of that directory, wherever it is started."""
    folder = suite.path / "examples" / "x"
    folder.mkdir(parents=True)
    (folder / "gatherscatter.toml").write_text('lab = "example"\n')
    (folder / "test_x.py").write_text(PLAIN)
    result = suite.run(os.path.join("examples", "x"))  # noqa: PTH118 - as typed by a person
    result.stdout.fnmatch_lines(["gatherscatter: lab example,*"])


@pytest.mark.skipif(
    tuple(int(part) for part in pytest.__version__.split(".")[:2]) < (9, 2),
    reason="the native table with types came with pytest 9",
)
def test_numbers_are_numbers_in_pytests_own_table(suite: Suite) -> None:
    """``[tool.pytest]`` takes ``gs_gather_timeout = 3`` and ``"3s"``, also when strict."""
    (suite.path / "tox.ini").unlink()
    suite.write(
        "[tool.pytest]\nstrict = true\nasyncio_default_fixture_loop_scope = 'function'\n"
        "gs_gather_timeout = 3\ngs_max_duration = '2m'\n"
        "gs_require = ['scope']\n",
        "pyproject.toml",
    )
    suite.write(
        "from pytest_gatherscatter.plugin import options\n"
        "def test_settings(pytestconfig):\n"
        "    settings = options.settings(pytestconfig)\n"
        "    assert (settings.gather_timeout, settings.max_duration) == (3, 120)\n"
        "    assert settings.require == {'scope'}\n"
    )
    suite.run("-W", "error").assert_outcomes(passed=1)


def test_the_facade_imports_nothing_until_it_is_asked() -> None:
    """Every name of ``__all__`` is there, and importing the package loads none of their homes."""
    code = (
        "import sys, pytest_gatherscatter as gs\n"
        "assert [n for n in sys.modules if n.startswith('pytest_gatherscatter')] == "
        "['pytest_gatherscatter']\n"
        "assert all(getattr(gs, name) for name in gs.__all__)\n"
        "assert gs.Monitor.__module__ == 'pytest_gatherscatter.sections.hook'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
