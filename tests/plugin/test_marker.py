"""What a marker may say, and how several of them add up."""

import pytest

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.plugin.marker import Arguments, arguments, merged

WRONG = [
    ({"requires": {"scope"}}, "did you mean 'require'"),
    ({"max_duration": "soon"}, "max_duration: 'soon' is not a duration"),
    ({"max_skew": -1}, "max_skew"),
    ({"min_monitors": 1.5}, "min_monitors: 1.5 must be a whole number"),
    ({"min_monitors": True}, "min_monitors: True must be a whole number"),
    ({"bench": "rack 1"}, "bench: bench name 'rack 1'"),
    ({"require": ["a.b"]}, "require: agent name 'a.b'"),
    ({"span": "class"}, "span: 'class' is not allowed; allowed are call, test"),
    ({"quiet": True}, "quiet: True is not allowed; allowed are report, strict"),
    ({"no_gatherer": "ignore"}, "no_gatherer: 'ignore' is not allowed"),
    ({"check": "look"}, "check: 'look' must be a function"),
    ({"name": ""}, "name: '' must be a text"),
]


@pytest.mark.parametrize(("keywords", "text"), WRONG)
def test_a_wrong_keyword_is_named_with_what_is_allowed(
    keywords: dict[str, object], text: str
) -> None:
    """Each mistake says where it stands, what it is and what is allowed."""
    with pytest.raises(SettingsInvalid) as caught:
        arguments("marker", (), keywords)
    assert str(caught.value).startswith("marker: ")
    assert text in str(caught.value)


def test_values_are_read_as_people_write_them() -> None:
    """Durations become seconds, names a set, and the name may stand first."""
    said = arguments(
        "marker",
        ("burst",),
        {"require": "scope, thermal", "max_duration": "500ms", "max_skew": 0, "min_monitors": 2},
    )
    assert said == Arguments(
        name="burst",
        require=frozenset({"scope", "thermal"}),
        max_duration=0.5,
        max_skew=0.0,
        min_monitors=2,
    )


def test_more_than_the_name_in_front_is_refused() -> None:
    """Two positional arguments, or a name said twice, are a mistake."""
    for positional, keywords in (("a", "b"), {}), (("a",), {"name": "b"}):
        with pytest.raises(SettingsInvalid, match="takes keywords"):
            arguments("marker", positional, keywords)


def test_markers_add_up_with_the_nearest_in_front() -> None:
    """``require`` is the union of all markers; of everything else the nearest wins."""
    function = Arguments(require=frozenset({"scope"}), max_duration=5.0)
    cls = Arguments(require=frozenset({"thermal"}), max_duration=9.0, bench="rack")
    assert merged([function, cls]) == Arguments(
        require=frozenset({"scope", "thermal"}), max_duration=5.0, bench="rack"
    )
