"""The pages say what the code does: drawn parts, commands, settings, links, and played examples."""

import importlib.util
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import get_args

import click
import pytest
import userrun
from shells import Shell

from pytest_gatherscatter.cli.main import gatherscatter
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.settings import ListenerSettings, load
from pytest_gatherscatter.slips.document import parse
from pytest_gatherscatter.wire import names
from pytest_gatherscatter.wire.kind import AnyMessage

ROOT = Path(__file__).parents[1]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}


@cache
def draw() -> ModuleType:
    """Load ``docs/draw.py``, which is a script and no module of a package."""
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs" / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw"] = module
    spec.loader.exec_module(module)
    return module


def blocks(text: str, *languages: str) -> Iterator[str]:
    """Go through the fenced blocks of these languages."""
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language in languages:
            yield block


def commands() -> list[tuple[str, list[str]]]:
    """List what the pages tell people to type, word by word: the page and the command.

    What a shell would read into it is left out.
    """
    return [
        (page, shlex.split(part.partition(" < ")[0], comments=True))
        for page, text in PAGES.items()
        for block in blocks(text, "console")
        for line in re.findall(r"^\$ (.+)$", block, re.MULTILINE)
        for part in line.split(" && ")
    ]


# ── what is drawn ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_drawn_parts_are_as_the_code_is(page: str) -> None:
    """Tables and diagrams equal what the transition tables, messages and settings say now."""
    assert draw().drawn(PAGES[page]) == PAGES[page], "run: python docs/draw.py"


def test_everything_that_can_be_drawn_is_shown() -> None:
    """The README shows the settings, the protocol its states and messages."""
    shown = {page: set(re.findall(r"<!-- drawn: (.+?) -->", text)) for page, text in PAGES.items()}
    assert shown["README.md"] == {"settings"}
    assert shown["docs/protocol.md"] == {
        *("states of the gatherer", "states of a monitor", "states of a workload", "messages")
    }
    assert "verdicts" in shown["docs/failures.md"]
    assert set().union(*shown.values()) == set(draw().DRAWN)


def test_drawing_mends_a_page_that_lies() -> None:
    """A drawn part that somebody edited by hand comes back as the code has it."""
    page = PAGES["docs/protocol.md"]
    lie = page.replace("    gathering --> gathered\n", "    gathering --> live\n")
    assert lie != page
    assert draw().drawn(lie) == page


def test_sequence_speaks_of_real_messages() -> None:
    """Every arrow of the story carries a message that exists, and no message of a section lacks."""
    known = {kind.__name__ for kind in get_args(AnyMessage)}
    (sequence,) = [
        block for block in blocks(PAGES["docs/protocol.md"], "mermaid") if "sequence" in block
    ]
    told = re.findall(r"->>\w: (\w+)", sequence)
    assert set(told) <= known
    assert len(told) > 20


def test_messages_that_pages_name_exist() -> None:
    """A word in code that looks like a message or a class is one."""
    known = {kind.__name__ for kind in get_args(AnyMessage)}
    near = re.compile(r"`((?:Section|Agent|Workload|Report|Leave|Join|Clock)[A-Z]\w+)`")
    for page, text in PAGES.items():
        unknown = set(near.findall(text)) - known
        assert not unknown, page


def test_names_on_the_wire_are_as_told() -> None:
    """Exchanges, queues and keys of the protocol's page are what the functions make."""
    page = PAGES["docs/protocol.md"]
    told = {
        names.event_exchange("<lab>"),
        names.direct_exchange("<lab>"),
        names.dead("<lab>"),
        names.gatherer_queue("<lab>"),
        names.agent_queue("<lab>", "<name>"),
        names.reply_queue("<lab>", "<id>"),
        names.section_queue("<lab>", "<id>"),
        names.agent_key("<name>"),
        names.reply_key("<id>"),
        names.section_key("<id>"),
        names.GATHERER_KEY,
        names.STEER_KEY,
        names.GATHERER_STARTED,
        names.agent_event("joined", "<name>"),
        names.agent_event("left", "<name>"),
        names.step_event("progressed", "<run>"),
        names.step_event("finished", "<run>"),
        *names.bench_events("<bench>"),
        names.section_event("changed", "<bench>"),
    }
    assert {name for name in told if f"`{name}`" not in page} == set()


# ── what people type ───────────────────────────────────────────────────────────────────


def test_commands_of_the_pages_are_understood() -> None:
    """Every gatherscatter command on a page parses, with the options that it shows."""
    typed = [(page, words) for page, words in commands() if words[0] == "gatherscatter"]
    assert len(typed) > 15
    for page, (_, name, *words) in typed:
        with click.Context(gatherscatter) as context:
            command = gatherscatter.get_command(context, name)
        assert command is not None, f"{page}: there is no command {name}"
        if isinstance(command, click.Group):
            _, command, words = command.resolve_command(context, list(words))  # noqa: PLW2901
            assert command is not None, page
        with command.make_context(name, list(words), parent=context):
            pass  # raises a UsageError for an option that is not there


def test_readme_opens_with_what_a_newcomer_types() -> None:
    """The first lines run the example and all tests, as they have to be typed."""
    typed = [shlex.join(words) for page, words in commands() if page == "README.md"]
    assert typed[:4] == [
        "python -m pip install '.[examples]'",
        "pytest examples/critical_section --gs-local",
        "python -m pip install tox",
        "tox",
    ]


def test_options_keys_and_variables_of_the_pages_exist() -> None:
    """Whatever looks like an option, an ini key or a variable of ours is one."""
    known_options = set(re.findall(r'"(--gs-[\w-]+)"', inspect.getsource(options)))
    keys = {
        *options.TEXT_KEYS,
        *options.QUANTITY_KEYS,
        "require",
        "section",
        "step",
        "run_slip",
        "grade",
        "exclude",
        "whole_file",
    }
    source = "".join(path.read_text() for path in (ROOT / "pytest_gatherscatter").rglob("*.py"))
    for page, text in PAGES.items():
        assert set(re.findall(r"--gs-[\w-]+", text)) <= known_options, page
        assert {key[3:] for key in re.findall(r"\bgs_\w+", text)} <= keys, page
        for variable in re.findall(r"\b(?:GATHERSCATTER|GS)_[A-Z_]*[A-Z]", text):
            assert f'"{variable}"' in source, f"{page}: {variable}"


def test_settings_files_of_the_pages_are_read(tmp_path: Path) -> None:
    """Every TOML block is a settings file, or a slip, that is taken as it stands."""
    read = 0
    for page, text in PAGES.items():
        for block in blocks(text, "toml"):
            read += 1
            if "[[step]]" in block:
                assert len(parse(block, page, form="toml").steps) > 1
                continue
            (tmp_path / "gatherscatter.toml").write_text(block)
            settings = load(command_line={}, environ={}, ini={}, directory=tmp_path)
            others = settings.listener != ListenerSettings() or settings.processes
            assert settings.monitors or settings.graders or others, page
    assert read >= 3


def test_python_of_the_pages_compiles() -> None:
    """Every Python block is Python."""
    for page, text in PAGES.items():
        for block in blocks(text, "python"):
            compile(block, page, "exec")


# ── links ──────────────────────────────────────────────────────────────────────────────


def anchors(text: str) -> set[str]:
    """List the anchors that a page's headings make."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link names a file of this repository, and a heading in it."""
    place = ROOT / page
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (place.parent / path).resolve() if path else place
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text()), target


# ── played ─────────────────────────────────────────────────────────────────────────────


def write_readme(folder: Path) -> None:
    """Write down every block of the README that names its file, and the one that needs none."""
    for block in blocks(PAGES["README.md"], "python", "toml"):
        name = re.match(r"# ([\w.]+)", block)
        (folder / (name[1] if name else "test_two_bursts.py")).write_text(block)


def test_readme_is_played(tmp_path: Path) -> None:
    """The first section, the two bursts and the quiet proof pass with the README's own monitor."""
    write_readme(tmp_path)
    done = userrun.run(tmp_path, "-v", "--gs-local", home=tmp_path / "home")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    assert "4 coordinated, 0 alone, 0 LAB, 0 DUT, 0 overdue" in done.stdout
    assert "held: scope: settling" in done.stdout


@pytest.mark.parametrize("more", [("--reruns", "1"), ("-n", "1")])
def test_quiet_proof_holds_beside_other_plugins(tmp_path: Path, more: tuple[str, ...]) -> None:
    """Sockets and threads of xdist and rerunfailures are not ours, and do not fail the proof."""
    write_readme(tmp_path)
    words = ("test_quiet.py", "--gs-local", *more)
    done = userrun.run(tmp_path, *words, home=tmp_path / "home", alone=False)
    assert done.returncode == 0, done.stdout
    assert "1 coordinated, 0 alone, 0 LAB, 0 DUT, 0 overdue" in done.stdout


def test_three_terminals(tmp_path: Path) -> None:
    """The gatherer brings a broker, the monitor and pytest find it: nothing is configured."""
    write_readme(tmp_path)
    (tmp_path / "gatherscatter.toml").unlink()
    shell = Shell(tmp_path)
    environ = {key: shell.environ[key] for key in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")}
    try:
        shell.gather()
        shell.start("monitor", "scope").says("joined")
        done = userrun.run(tmp_path, "-v", "test_burst.py", home=tmp_path / "home", environ=environ)
    finally:
        shell.end()
    assert done.returncode == 0, done.stdout
    assert "1 coordinated, 0 alone, 0 LAB, 0 DUT, 0 overdue" in done.stdout


LAB = r"""
gather_timeout = "1s"
hold_limit = "1s"
report_timeout = "1s"

[[monitor]]
name = "thermal"
benches = ["veto"]
on_prepare = ["sh", "-c", "echo door open; exit 76"]

[[monitor]]
name = "scope"
benches = ["broken"]
on_prepare = ["sh", "-c", "echo no instrument >&2; exit 1"]

[[monitor]]
name = "slow"
benches = ["hold"]
on_prepare = ["sh", "-c", "echo 5 settling; exit 75"]

[[monitor]]
name = "dmm"
benches = ["finding"]
on_stop = ["echo", '{"name": "peak_v", "value": 5.71, "unit": "V", "high": 5.5}']

[[monitor]]
name = "dies"
benches = ["dies"]
on_go = ["sh", "-c", "kill -9 $PPID"]

[[monitor]]
name = "sink"
benches = ["sink"]
on_stop = ["sh", "-c", "echo cable unplugged >&2; exit 3"]

[[monitor]]
name = "plain"
benches = ["plain"]
on_go = ["true"]
"""

TESTS = """
import time

import pytest

section = pytest.mark.critical_section


@section(bench="veto")
def test_veto(): ...


@section(bench="broken")
def test_broken(): ...


@section(bench="hold")
def test_hold(): ...


@section(bench="finding")
def test_finding(): ...


@section(bench="dies", require={"dies"})
def test_dies():
    time.sleep(0.2)


@section(bench="sink", require={"sink"})
def test_sink(): ...


@section(require={"camera"})
def test_missing(): ...


@section(bench="plain", min_monitors=2)
def test_min_monitors(): ...


@section(bench="plain", max_skew="0ms")
def test_skew(): ...


@section(bench="plain", max_duration="200ms")
def test_overdue():
    time.sleep(0.5)
"""


def numberless(lines: list[str]) -> set[str]:
    """Put an N for every number that differs from run to run."""
    return {re.sub(r"\d+(\.\d+)?(?= m?s\b)", "N", line) for line in lines}


def told(table: str) -> list[str]:
    """List the lines of one table of the failures' page."""
    page = PAGES["docs/failures.md"]
    found = re.search(rf"<!-- played: {table} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert found is not None
    return re.findall(r"^\| `([^`]+)` \|", found[1], re.MULTILINE)


def said(output: str) -> list[str]:
    """List the lines of trouble at the left margin: reports, not summaries."""
    return re.findall(r"^(?:LAB|DUT): .+$", output, re.MULTILINE)


def test_failures_of_a_lab_are_as_told(tmp_path: Path) -> None:
    """Every line of the table is what pytest prints in that case, and there is no other."""
    (tmp_path / "gatherscatter.toml").write_text(LAB)
    (tmp_path / "test_trouble.py").write_text(TESTS)
    done = userrun.run(tmp_path, "--gs-local", home=tmp_path / "home")
    assert done.returncode == 1
    assert numberless(said(done.stdout)) == numberless(told("lab")), done.stdout


def test_failures_without_a_lab_are_as_told(tmp_path: Path) -> None:
    """A demanding test fails with the table's line; one without demands runs, and that is told."""
    (tmp_path / "test_trouble.py").write_text(TESTS)
    done = userrun.run(tmp_path, "-k", "missing or sink or veto", home=tmp_path / "home")
    assert done.returncode == 1
    assert set(said(done.stdout)) == set(told("alone")), done.stdout
    assert (
        "0 coordinated, 1 alone, 2 LAB, 0 DUT, 0 overdue "
        "(alone: no broker is configured, and no local one runs)"
    ) in done.stdout


def test_rare_lines_are_in_the_code() -> None:
    """The words of the lines that come more rarely stand in the source as they are told."""
    page = PAGES["docs/failures.md"]
    rare = page[page.index("## More rarely") : page.index("## Mistakes")]
    words = re.findall(r"^\| `([^`]+)` \|", rare, re.MULTILINE)
    assert len(words) >= 8
    source = "".join(path.read_text() for path in (ROOT / "pytest_gatherscatter").rglob("*.py"))
    assert [text for text in words if text not in source] == []
