"""Settings: five sources, one spelling, and an error that says where and what is allowed."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_gatherscatter import quantity
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.gradersetting import (
    EXAMINER_READERS,
    GRADER_READERS,
    ExaminerSettings,
    GraderSettings,
)
from pytest_gatherscatter.recordsetting import RECORDER_READERS, RecorderSettings
from pytest_gatherscatter.settings import (
    GathererSettings,
    ListenerSettings,
    ProcessorSettings,
    Settings,
    load,
    processor_name,
)
from pytest_gatherscatter.settingvalue import LISTENER_READERS, PROCESSOR_READERS, READERS
from pytest_gatherscatter.slips.template import Template


def read(
    directory: Path,
    toml: str | None = None,
    *,
    command_line: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    ini: Mapping[str, object] | None = None,
) -> Settings:
    """Load settings from the sources that a test names; the others are empty."""
    if toml is not None:
        (directory / "gatherscatter.toml").write_text(toml)
    return load(
        command_line=command_line or {},
        environ=environ or {},
        ini=ini or {},
        directory=directory,
        option_prefix="--gs-",
    )


def test_defaults_stand_where_no_source_speaks(tmp_path: Path) -> None:
    """Without any source the design's defaults hold, and say that they are defaults."""
    settings = read(tmp_path, "")
    assert (settings.broker, settings.lab, settings.bench) == ("auto", "default", "default")
    assert settings.require == frozenset()
    assert settings.queue_timeout == 3600
    assert settings.no_gatherer is None
    assert settings.not_gathered == "fail"
    assert settings.artifacts == tmp_path / "gs-artifacts"
    assert settings.artifact_limit == 8 * 1024 * 1024
    assert settings.gatherer == GathererSettings()
    assert settings.origin("lab") == "default"


def test_the_nearest_source_wins(tmp_path: Path) -> None:
    """Command line before environment before pytest ini before file, each with its origin."""
    toml = 'lab = "file"\nbench = "file"\nbroker = "none"\nmax_duration = "2m"\n'
    settings = read(
        tmp_path,
        toml,
        ini={"broker": "local", "bench": "ini", "lab": "ini", "queue_timeout": None},
        environ={"GATHERSCATTER_BENCH": "environment", "GATHERSCATTER_LAB": "environment"},
        command_line={"lab": "line", "bench": None},
    )
    assert settings.lab == "line"
    assert settings.bench == "environment"
    assert settings.broker == "local"
    assert settings.max_duration == 120
    assert settings.origin("lab") == "--gs-lab"
    assert settings.origin("bench") == "GATHERSCATTER_BENCH"
    assert settings.origin("broker") == "pytest ini gs_broker"
    assert settings.origin("max_duration") == f"{tmp_path}/gatherscatter.toml: max_duration"
    assert settings.origin("queue_timeout") == "default"


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    """``GATHERSCATTER_LAB=`` takes the variable back, as shells do it."""
    assert read(tmp_path, 'lab = "file"', environ={"GATHERSCATTER_LAB": ""}).lab == "file"


def test_the_file_is_searched_upward(tmp_path: Path) -> None:
    """The nearest file of the parents counts, and its relative paths stand on it."""
    (tmp_path / "gatherscatter.toml").write_text('artifacts = "captures"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "pyproject.toml").write_text('[project]\nname = "pytest-gatherscatter-user"\n')
    settings = read(below)
    assert settings.artifacts == tmp_path / "captures"
    assert settings.file == tmp_path / "gatherscatter.toml"


def test_pyproject_has_the_same_keys(tmp_path: Path) -> None:
    """``[tool.gatherscatter]`` is read, but a ``gatherscatter.toml`` beside it comes first."""
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.gatherscatter]\nlab = "project"\n[tool.gatherscatter.gatherer]\n')
    assert read(tmp_path).lab == "project"
    assert read(tmp_path).origin("lab") == f"{project}: lab"
    assert read(tmp_path, 'lab = "own"').lab == "own"


def test_a_broken_pyproject_of_others_is_not_ours(tmp_path: Path) -> None:
    """Only a ``pyproject.toml`` that speaks of us has to be TOML."""
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.other\n")
    assert read(tmp_path).file is None
    project.write_text("[tool.gatherscatter\n")
    with pytest.raises(SettingsInvalid, match=r"pyproject\.toml: is not TOML"):
        read(tmp_path)


def test_every_reader_has_its_field() -> None:
    """No key can be read that ``Settings`` would not take, and no plain field lacks a reader."""
    plain = {item.name for item in dataclasses.fields(Settings)}
    plain -= {"gatherer", "monitors", "listener", "processor", "processes", "file", "origins"}
    plain -= {"examiner", "graders", "recorder"}
    inner = {f"gatherer.{item.name}" for item in dataclasses.fields(GathererSettings)}
    assert set(READERS) == plain | inner
    assert set(LISTENER_READERS) == {item.name for item in dataclasses.fields(ListenerSettings)}
    assert set(PROCESSOR_READERS) == {item.name for item in dataclasses.fields(ProcessorSettings)}
    assert set(EXAMINER_READERS) == {item.name for item in dataclasses.fields(ExaminerSettings)}
    assert set(RECORDER_READERS) == {item.name for item in dataclasses.fields(RecorderSettings)}
    grader = {item.name for item in dataclasses.fields(GraderSettings)}
    assert set(GRADER_READERS) == grader - {"where"}


def test_graders_and_their_queues(tmp_path: Path) -> None:
    """One without queues serves that of its own name; another file can be named."""
    path = tmp_path / "other.toml"
    path.write_text(
        """
        examiner = { drain = "5m" }
        [[grader]]
        name = "wave"
        kind = "sleep"
        threads = 3
        options = { max = "1s" }
        [[grader]]
        name = "two"
        kind = "python"
        queues = ["a", "b"]
        """
    )
    settings = load(command_line={}, environ={}, ini={}, directory=tmp_path, file=path)
    wave, two = settings.graders
    assert (wave.queues, wave.threads, wave.options) == (("wave",), 3, {"max": "1s"})
    assert (two.queues, two.attempts, two.where) == (("a", "b"), 3, f"{path}: grader two")
    assert (settings.examiner.drain, settings.file) == (300, path)
    with pytest.raises(SettingsInvalid, match="there is no such file"):
        load(command_line={}, environ={}, ini={}, directory=tmp_path, file=tmp_path / "none")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("grader = 1", "grader: must be written [[grader]]"),
        ("[[grader]]\nkind = 'sleep'", "grader 1: has no name"),
        ("[[grader]]\nname = 'a'", "grader a: has no kind"),
        ("[[grader]]\nname = 'a.b'", "grader a.b: name: grader name 'a.b': allowed are"),
        ("[[grader]]\nname = 'a'\nthread = 1", "there is no such key; did you mean 'threads'?"),
        ("[[grader]]\nname = 'a'\nthreads = 0", "a grader without a thread does nothing"),
        ("[[grader]]\n" * 257, "grader: stands here 257 times, 256 are allowed"),
        ("[[grader]]\nname = 'a'\nqueues = []", "a grader without a queue does nothing"),
        ("[[grader]]\nname = 'a'\nattempts = 0", "must be a whole number from 1 to 20"),
        (
            "grader = [{name='a', kind='x'}, {name='b', kind='x', queues=['a']}]",
            "grader b: queues: queue 'a' is served by grader a already",
        ),
    ],
)
def test_wrong_graders(tmp_path: Path, toml: str, said: str) -> None:
    """Each is told with where it stands."""
    with pytest.raises(SettingsInvalid) as told:
        read(tmp_path, toml)
    assert said in str(told.value)


def test_a_processor_and_its_processes(tmp_path: Path) -> None:
    """Its paths stand on the file; each process has its command templates."""
    settings = read(
        tmp_path,
        """
        [processor]
        slots = 2
        logs = "logs"
        drain = "5m"

        [process.flash.commands]
        write = "flasher --image {image} --port {port}"
        off = "true"

        [process.power]
        """,
    )
    processor = settings.processor
    assert (processor.slots, processor.drain, processor.allow_shell) == (2, 300, False)
    assert processor.logs == tmp_path / "logs"
    flash = {"write": "flasher --image {image} --port {port}", "off": "true"}
    templates = {name: Template("", text) for name, text in flash.items()}
    assert settings.processes == {"flash": templates, "power": {}}


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[processor]\nslot = 1", "processor.slot: there is no such key; did you mean 'slots'?"),
        ("[processor]\nslots = 0", "processor.slots: a processor without a slot does nothing"),
        ("[process.'a b'.commands]", "process.a b: process name 'a b': allowed are"),
        ("[process.a.commands]\n'b c' = 'x'", "process.a: command name 'b c': allowed are"),
        ("[process.a.commands]\nb = 1", "process.a.commands.b: 1 must be a text"),
        ("[process.a.commands]\nb = '\"{x}\"'", "process.a.commands.b: {x} stands inside quotes"),
        ("[process.a]\ncommand = 'x'", "process.a.command: there is no such key"),
        ("process = 1", "process: must be a table"),
    ],
)
def test_what_processes_cannot_be(tmp_path: Path, toml: str, said: str) -> None:
    """One line names the file, the process and its command, and what is wrong."""
    with pytest.raises(SettingsInvalid) as caught:
        read(tmp_path, toml)
    assert str(caught.value).startswith(f"{tmp_path}/gatherscatter.toml: {said}")


def test_the_gatherer_and_its_monitors(tmp_path: Path) -> None:
    """A whole lab's file: the gatherer's own list, a class with options, a set of commands."""
    settings = read(
        tmp_path,
        """
        require = ["scope", "psu"]
        artifact_limit = "1MiB"
        [gatherer]
        agents = ["scope"]
        state_dir = "state"
        [[monitor]]
        name = "scope"
        target = "lab.instruments:Scope"
        benches = ["left", "right"]
        hook_timeout = "10s"
        drain = 0
        options = {address = "TCPIP::1", channels = [1, 2]}
        [[monitor]]
        name = "psu"
        advisory = true
        on_prepare = "psu arm --now 'rail 1'"
        on_stop = ["psu", "read"]
        """,
    )
    assert settings.require == {"scope", "psu"}
    assert settings.artifact_limit == 1024**2
    assert settings.gatherer.agents == {"scope"}
    assert settings.gatherer.state_dir == tmp_path / "state"
    assert settings.origin("gatherer.agents") == f"{tmp_path}/gatherscatter.toml: gatherer.agents"
    scope, psu = settings.monitors
    assert scope.target == "lab.instruments:Scope"
    assert scope.benches == ("left", "right")
    assert scope.hook_timeout == 10
    assert scope.drain == 0
    assert psu.drain == 30
    assert scope.options["channels"] == [1, 2]
    assert not scope.advisory
    assert psu.advisory
    assert psu.benches == ()
    assert psu.on_prepare == ("psu", "arm", "--now", "rail 1")
    assert psu.on_stop == ("psu", "read")
    assert psu.on_go is None


def test_lists_of_names_may_be_one_text(tmp_path: Path) -> None:
    """An option can be given once with commas or several times; an ini has blanks and lines."""
    for value in ("a,b", "a b", "a,\nb", ["a", "b"], ("a,b",)):
        assert read(tmp_path, command_line={"require": value}).require == {"a", "b"}


def test_the_gatherers_agents_can_be_given_on_the_command_line(tmp_path: Path) -> None:
    """Dotted keys reach into the table, and win over the file."""
    settings = read(
        tmp_path, '[gatherer]\nagents = ["x"]', command_line={"gatherer.agents": ("a", "b")}
    )
    assert settings.gatherer.agents == {"a", "b"}
    assert settings.origin("gatherer.agents") == "--gs-agents"


@pytest.mark.parametrize(
    ("toml", "where", "problem"),
    [
        ('qeue_timeout = "5m"', "qeue_timeout", "did you mean 'queue_timeout'?"),
        ("[gatherer]\nagnets = []", "gatherer.agnets", "did you mean 'gatherer.agents'?"),
        ("[monitors]", "monitors", "did you mean 'monitor'?"),
        ("colour = 1", "colour", "allowed are artifact_limit, artifacts, bench, broker,"),
        ('queue_timeout = "5x"', "queue_timeout", "'5x' is not a duration; allowed are seconds"),
        ("gather_timeout = -1", "gather_timeout", "out of range"),
        ("gather_timeout = inf", "gather_timeout", "out of range"),
        ("gather_timeout = nan", "gather_timeout", "not a duration"),
        ("stale_after = 0", "stale_after", "no time at all"),
        ("max_duration = true", "max_duration", "not a duration"),
        ('artifact_limit = "8 lots"', "artifact_limit", "is not a size"),
        ('lab = "a.b"', "lab", "lab name 'a.b': allowed are 1 to 64 letters"),
        ("lab = 5", "lab", "must be a text"),
        ('bench = ""', "bench", "must be a text that is not empty"),
        ("require = 5", "require", "must be a list of agent names"),
        ("require = [5]", "require", "must be a text"),
        ('not_gathered = "maybe"', "not_gathered", "allowed are fail, skip, run"),
        ("no_gatherer = []", "no_gatherer", "allowed are run, skip, fail"),
        ("artifacts = 5", "artifacts", "must be a text"),
        ('artifacts = "~nobody-of-this-name/x"', "artifacts", "home of a user"),
        ("gatherer = 5", "gatherer", "must be a table"),
        ('monitor = "x"', "monitor", "must be written [[monitor]]"),
        ("[[monitor]]", "monitor 1", "has no name"),
        ('[[monitor]]\nname = "x"', "monitor x", "needs either target, or some of on_prepare"),
        (
            '[[monitor]]\nname = "x"\ntarget = "a:B"\non_go = "c"',
            "monitor x",
            "needs either target, or some of on_prepare",
        ),
        ('[[monitor]]\nname = "x"\ntarget = "a.B"', "monitor x: target", "package.module:Class"),
        ('[[monitor]]\nname = "x"\non_go = "\'"', "monitor x: on_go", "cannot be split"),
        ('[[monitor]]\nname = "x"\non_go = []', "monitor x: on_go", "must be a text"),
        ('[[monitor]]\nname = "x"\non_gone = "y"', "monitor x: on_gone", "did you mean 'on_go'?"),
        ('[[monitor]]\nname = "x"\nadvisory = 1', "monitor x: advisory", "true or false"),
        ('[[monitor]]\nname = "x"\noptions = 1', "monitor x: options", "must be a table"),
        (
            '[[monitor]]\nname = "x"\non_go = "y"\noptions = {}',
            "monitor x: options",
            "goes with target only",
        ),
        (
            '[[monitor]]\nname = "x"\non_go = "y"\n[[monitor]]\nname = "x"\non_go = "z"',
            "monitor x",
            "stands here twice",
        ),
    ],
)
def test_an_error_names_file_key_and_cure(
    tmp_path: Path, toml: str, where: str, problem: str
) -> None:
    """Every wrong word is one line with the file, the key, and what is allowed."""
    with pytest.raises(SettingsInvalid) as caught:
        read(tmp_path, toml)
    assert caught.value.where == f"{tmp_path}/gatherscatter.toml: {where}"
    assert problem in caught.value.problem
    assert "\n" not in str(caught.value)


def test_an_error_names_option_variable_or_ini(tmp_path: Path) -> None:
    """The other sources are named as their users spell them."""
    with pytest.raises(SettingsInvalid, match=r"^--gs-not-gathered: 'no' is not allowed"):
        read(tmp_path, command_line={"not_gathered": "no"})
    with pytest.raises(SettingsInvalid, match=r"^GATHERSCATTER_LAB: lab name 'a b'"):
        read(tmp_path, environ={"GATHERSCATTER_LAB": "a b"})
    with pytest.raises(SettingsInvalid, match=r"^pytest ini gs_hold_limit: 'long' is not a dur"):
        read(tmp_path, ini={"hold_limit": "long"})


def test_a_password_is_never_repeated(tmp_path: Path) -> None:
    """Neither an error nor a ``repr`` tells what the broker's URL holds."""
    for wrong in ("http://me:secret@host", "ampq://me:secret@host", ["amqp://me:secret@host"]):
        with pytest.raises(SettingsInvalid) as caught:
            read(tmp_path, command_line={"broker": wrong})
        assert "secret" not in str(caught.value)
        assert "amqps:// URL" in str(caught.value)
    settings = read(tmp_path, environ={"GATHERSCATTER_BROKER": "amqp://me:secret@host"})
    assert settings.broker == "amqp://me:secret@host"
    assert "secret" not in repr(settings)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Bytes that are no text, and TOML that is none, are told in a line with the file."""
    file = tmp_path / "gatherscatter.toml"
    file.write_bytes(b"lab = '\xff'")
    with pytest.raises(SettingsInvalid, match=r"gatherscatter\.toml: is not UTF-8 text"):
        read(tmp_path)
    file.write_text("lab = \nbench = 1")
    with pytest.raises(SettingsInvalid, match=r"gatherscatter\.toml: is not TOML: .*line 1"):
        read(tmp_path)
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(SettingsInvalid, match=r"gatherscatter\.toml: cannot be read: Too many"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(2, 2), (0.5, 0.5), ("2", 2), ("500ms", 0.5), ("2s", 2), ("1.5 m", 90), ("1h", 3600)],
)
def test_durations(text: object, expected: float) -> None:
    """Seconds, or a number with a unit."""
    assert quantity.seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "s", "1d", "-1s", "1e3", "1 2", "٣s", None, [], "169h"])
def test_what_is_no_duration(text: object) -> None:
    """Everything else is refused, also other scripts' digits and more than a week."""
    with pytest.raises(ValueError, match=r"is not a duration|out of range"):
        quantity.seconds(text)


def test_no_wait_at_all_only_where_it_means_something(tmp_path: Path) -> None:
    """A queue timeout of 0 fails at once on a busy bench; a handshake of 0 could never work."""
    assert read(tmp_path, "queue_timeout = 0").queue_timeout == 0
    with pytest.raises(SettingsInvalid, match="no time at all"):
        read(tmp_path, "handshake_timeout = 0")


def test_sizes() -> None:
    """Decimal and binary units are told apart, and bytes are whole."""
    assert quantity.size("8MiB") == 8 * 1024**2
    assert quantity.size("8MB") == 8_000_000
    assert quantity.size("1.5KiB") == 1536
    assert quantity.size(0) == 0
    for wrong in ("0.1B", -1, float("inf"), "8mib", True):
        with pytest.raises(ValueError, match="is not a size"):
            quantity.size(wrong)


def test_processors_of_one_host_have_names_of_their_own() -> None:
    """By what they serve: two of them share no journal, and each keeps its name."""
    power, board = processor_name(["power"]), processor_name(["board"])
    assert power.endswith("-power")
    assert board.endswith("-board")
    assert processor_name(["power", "board"]).endswith("-power-board")
    assert len(processor_name(["p" * 64, "q" * 64])) == 64
