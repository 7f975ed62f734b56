"""A slip as people write it: every key, and an error that names file, step and field."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.slips.document import (
    READERS,
    STEP_READERS,
    Document,
    added_step,
    document,
    parse,
)
from pytest_gatherscatter.wire.slips import Step

WHOLE = """
name = "burn-in"
deadline = "2h"
route_wait = "10s"
on_failure = "continue"
required = ["image"]
[params]
port = "/dev/ttyUSB0"
count = 3
[[step]]
process = "power"
command = "on"
compensate = "off"
params = { volts = 5.5 }
[[step]]
number = 2
process = "flash"
command = "write"
timeout = "30s"
retries = 2
backoff = "1s"
on_failure = "compensate"
rerun = true
after = [1]
[[step]]
process = "power"
shell = "power off"
mandatory = true
"""
NOW = 1000.0
ID = "ab" * 8


def test_a_whole_document() -> None:
    """Every key has its meaning; what a step does not say, the document says for all."""
    made = parse(WHOLE, "burn-in.toml", form="toml")
    slip = made.slip({"image": "fw.bin", "count": 4}, id=ID, now=NOW, owner="me", timeout=60)
    assert (slip.id, slip.name, slip.owner, slip.created) == (ID, "burn-in", "me", NOW)
    assert (slip.deadline, slip.route_wait) == (NOW + 60, 10)
    assert made.slip({"image": "x"}, id=ID, now=NOW).deadline == NOW + 7200
    assert slip.params == {"port": "/dev/ttyUSB0", "count": "4", "image": "fw.bin"}
    power, flash, off = slip.steps
    assert power == Step(
        number=1,
        process="power",
        command="on",
        compensate="off",
        params={"volts": "5.5"},
        on_failure="continue",
    )
    assert flash == Step(
        number=2,
        process="flash",
        command="write",
        timeout=30,
        retries=2,
        backoff=1,
        on_failure="compensate",
        rerun=True,
        after=(1,),
    )
    assert (off.number, off.shell, off.mandatory) == (3, "power off", True)


def test_all_forms_say_the_same() -> None:
    """JSON, a mapping, and a list of steps, mappings or structs, all with numbers by order."""
    steps: list[dict[str, Any]] = [
        {"process": "a", "command": "x"},
        {"process": "b", "command": "y", "after": []},
    ]
    text = json.dumps({"name": "n", "step": steps})
    read = parse(text, "w", form="json")
    assert read == document({"name": "n", "step": steps}, "w")
    assert read == document(steps, "w", name="n")
    structs = [Step(number=9, process="a", command="x"), steps[1]]
    assert read == document(structs, "w", name="n")
    assert document(steps, "dir/burn-in.toml").name == "burn-in"


def test_every_key_is_one_of_the_slips() -> None:
    """No key can be read that a step or a document would not take."""
    assert set(STEP_READERS) == set(Step.__struct_fields__)
    assert set(READERS) - {"step", "on_failure"} <= set(Document.__dataclass_fields__)


STEP = '[[step]]\nprocess = "a"\ncommand = "x"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[step", "f.toml: is not TOML: "),
        ("", "f.toml: step: there is none; write [[step]], once a step"),
        ("step = 1", "f.toml: step: there is none"),
        ("nam = 'x'\n" + STEP, "f.toml: nam: there is no such key; did you mean 'name'?"),
        (STEP + "timeuot = 1", "f.toml: step 1: timeuot: there is no such key; did you mean 'tim"),
        (STEP + STEP + "timeout = 'soon'", "f.toml: step 2: timeout: 'soon' is not a duration"),
        (STEP + "timeout = 0", "f.toml: step 1: timeout: 0 is no time at all"),
        (STEP + "number = 2", "f.toml: step 1: number: 2 stands as number 1; numbers follow"),
        (STEP + "number = true", "f.toml: step 1: number: True must be a number"),
        (STEP + "after = ['a']", "f.toml: step 1: after: ['a'] must be a list of numbers"),
        (STEP + "after = [2]", "f.toml: step 1: after names 2: only steps that stand before it"),
        (STEP + "on_failure = 'no'", "f.toml: step 1: on_failure: 'no' is not allowed; allowed"),
        (STEP + "shell = 'x'", "f.toml: step 1: command or shell is wanted, and one of them"),
        (STEP + "mandatory = true\n" + STEP, "f.toml: step 2: mandatory steps stand last"),
        (STEP + "params = { 'a b' = 1 }", "f.toml: step 1: params: parameter name 'a b'"),
        (STEP + "params = { a = true }", "f.toml: step 1: params: True must be a text or a nu"),
        (STEP + "rerun = 1", "f.toml: step 1: rerun: 1 must be true or false"),
        (STEP + "retries = -1", "f.toml: step 1: retries: -1 must be a whole number"),
        ("[[step]]\ncommand = 'x'", "f.toml: step 1: process: is missing"),
        ("[[step]]\nprocess = 'a.b'", "f.toml: step 1: process: process name 'a.b'"),
        (STEP * 201, "f.toml: step: there are 201, 200 allowed"),
        (
            STEP.replace("command", "shell").replace('"x"', f'"{"x" * 5000}"'),
            "f.toml: step 1: shell:",
        ),
        ("required = 'image'\n" + STEP, "f.toml: required: 'image' must be a list of names"),
        ("name = '" + "n" * 600 + "'\n" + STEP, "f.toml: name: Expected `str` of length <= 512"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    """One line with the file, the step and the field, and what is allowed."""
    with pytest.raises(SettingsInvalid) as caught:
        parse(text, "f.toml", form="toml")
    assert str(caught.value).startswith(said)


def test_json_that_is_none() -> None:
    """It is told as such; and what is no table neither."""
    with pytest.raises(SettingsInvalid, match=r"f\.json: is not JSON: "):
        parse("{", "f.json", form="json")
    with pytest.raises(SettingsInvalid, match=r"f\.json: must be a table, or a list of steps"):
        parse("1", "f.json", form="json")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "burn-in.toml: required: nobody has given image"),
        ({"image": "x", "prot": "y"}, "parameter 'prot': is not one of the slip's; it has count"),
        ({"image": None}, "parameter 'image': None must be a text or a number"),
        ({"image": "x" * 5000}, "burn-in.toml: params"),
        ({"image": "\ud800"}, "burn-in.toml: "),
    ],
)
def test_parameters_that_cannot_be(params: dict[str, object], said: str) -> None:
    """Each is asked for by its name before anything is given out."""
    made = parse(WHOLE, "burn-in.toml", form="toml")
    with pytest.raises(SettingsInvalid) as caught:
        made.slip(params, id=ID, now=NOW)
    assert said in str(caught.value)


def test_a_step_that_another_one_adds() -> None:
    """It is read as one of a document, but its place is not its own."""
    assert added_step({"process": "a", "command": "x"}, "step 2") == Step(
        number=1, process="a", command="x"
    )
    for key in ("number", "after", "mandatory"):
        with pytest.raises(SettingsInvalid, match=rf"step 2: {key}: is not for a step that an"):
            added_step({"process": "a", "command": "x", key: 1}, "step 2")
    with pytest.raises(SettingsInvalid, match="step 2: comand: there is no such key"):
        added_step({"process": "a", "comand": "x"}, "step 2")
    with pytest.raises(SettingsInvalid, match="step 2: must be a table"):
        added_step([], "step 2")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*READERS, *STEP_READERS, "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=JSON)
def test_nothing_else_comes_out_of_any_value(value: object) -> None:
    """Whatever stands in a file, it is a document or one line."""
    try:
        said, steps = "f.json", len(document(value, "f.json").steps)
    except SettingsInvalid as error:
        said, steps = str(error), 1
    assert said.startswith("f.json")
    assert steps
