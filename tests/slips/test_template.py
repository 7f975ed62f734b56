"""A value stays one word of its command, whatever it holds; unsafe templates are never taken."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.slips.repertoire import Repertoire
from pytest_gatherscatter.slips.template import Template
from pytest_gatherscatter.wire.slips import Step

TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=30)


def template(text: str) -> Template:
    """A template of the settings."""
    return Template("flash.write", text)


def run(line: str) -> bytes:
    """What a shell makes of a line."""
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout


@settings(max_examples=150, deadline=None)
@given(one=TEXT, two=TEXT)
def test_a_value_is_read_as_it_stands(one: str, two: str) -> None:
    """Wherever a field may stand, the shell gives exactly its value to the command."""
    line = template(
        "v=${{HOME}}; printf '%s|' {one} --two={two} x{one}'#y'{two} $(printf '%s_' {one}); # end"
    ).line({"one": one, "two": two})
    inner = subprocess.run(
        ["sh", "-c", 'v=$(printf %s_ "$1"); printf "%s|" $v', "sh", one],
        capture_output=True,
        check=True,
    ).stdout
    assert run(line) == f"{one}|--two={two}|x{one}#y{two}|".encode() + inner


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("write '{x}'", "{x} stands inside quotes"),
        ('write "{x}"', "{x} stands inside quotes"),
        ("write {x} # {x}", "{x} stands in a comment"),
        ("write \\{x}", "{x} stands behind a backslash"),
        ("write ${x}", "{x} stands behind a $"),
        ("write `echo {x}`", "{x} stands behind backquotes"),
        ("echo $(( {x} ))", "{x} stands behind arithmetic"),
        ("cat <<E\n{x}\nE", "{x} stands behind a here-document"),
        ('echo "$(echo "{x}")"', "{x} stands behind $(…)"),
        ("echo $'a' {x}", "{x} stands behind $'…'"),
        ("echo ${{v:-a}} {x}", "{x} stands behind ${…}"),
        ("write {}", "has a field {}"),
        ("write {x.y}", "has a field {x.y}"),
        ("write {x!r}", "has a field {x!r}"),
        ("write {x:>9}", "has a field {x:>9}"),
        ("write {x", "has a '{' alone; one for the shell is written '{{'"),
        ("write 'a", "has a ' that is never closed"),
        ("write \0", "holds a NUL"),
        ("", "must be a text that is not empty"),
        (["write"], "must be a text that is not empty"),
    ],
)
def test_a_template_in_which_a_value_would_not_be_safe(text: object, said: str) -> None:
    """It is refused when it is read, and the line says where it stands and what is wrong."""
    with pytest.raises(SettingsInvalid) as caught:
        Template("flash.write", text)
    assert caught.value.where == "flash.write"
    assert said in caught.value.problem


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("echo ${{HOME}} {x}", "echo ${HOME} 'v'"),
        ('echo "${{HOME}}/a" {x}', "echo \"${HOME}/a\" 'v'"),
        ("echo 'it''s' \"a'b\" {x}", "echo 'it''s' \"a'b\" 'v'"),
        ("echo a#b {x}", "echo a#b 'v'"),
        ("true # a 'b\necho {x}", "true # a 'b\necho 'v'"),
        ("awk '{{print $1}}' {x}", "awk '{print $1}' 'v'"),
    ],
)
def test_what_a_shell_needs_can_be_said(text: str, line: str) -> None:
    """Variables, quotes, comments and braces of the shell, as long as no field is in them."""
    assert template(text).line({"x": "v"}) == line


FLASH = Repertoire(
    {"flash": {"write": template("flasher {image} {port}"), "off": template("power off {port}")}}
)
GIVEN = {"image": "fw.bin", "port": "a"}


def step(**given: object) -> Step:
    """A step of process flash."""
    return Step(**{"number": 1, "process": "flash", "command": "write", **given})  # type: ignore[arg-type]


def free(line: str) -> Step:
    """A step that brings its command line."""
    return step(command=None, shell=line)


def test_own_parameters_go_before_the_slips() -> None:
    """The slip's fill the rest; those that no field names are for other steps."""
    own = step(params={"port": "b c"})
    assert FLASH.line(own, {**GIVEN, "other": "x"}) == "flasher 'fw.bin' 'b c'"
    undo = step(compensate="off", params={"image": "x"})
    assert FLASH.line(undo, GIVEN, compensating=True) == "power off 'a'"


@pytest.mark.parametrize(
    ("asked", "params", "said"),
    [
        (
            step(command="wriet"),
            GIVEN,
            "process flash has no command 'wriet'; did you mean 'write'",
        ),
        (step(process="power"), GIVEN, "process power has no command 'write'; there are none"),
        (step(), {"image": "x"}, "command 'write' needs 'port', which nobody gives"),
        (step(params={"prot": "b"}), GIVEN, "has no parameter 'prot'; did you mean 'port'"),
        (step(), {**GIVEN, "port": "a\0"}, "parameter 'port' holds a NUL"),
        (step(), {**GIVEN, "port": "\ud800"}, "parameter 'port' is no text"),
        (free("id"), GIVEN, "runs only the commands of its settings"),
    ],
)
def test_what_is_refused(asked: Step, params: dict[str, str], said: str) -> None:
    """One line says what is not known or missing, and what there is."""
    with pytest.raises(ValueError, match=r".+") as caught:
        FLASH.line(asked, params)
    assert said in str(caught.value)


def test_a_line_of_its_own_where_that_is_allowed() -> None:
    """It is run as it stands."""
    allowed = Repertoire({}, allow_shell=True)
    assert allowed.line(free("echo {x}"), {}) == "echo {x}"
    with pytest.raises(ValueError, match="NUL"):
        allowed.line(free("\0"), {})
