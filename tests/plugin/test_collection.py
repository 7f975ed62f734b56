"""Misuse is a collection error of the one test that it concerns, before anything runs."""

import pytest
from suite import Suite

pytest_plugins = ["pytester"]

MISUSES = """
@pytest.mark.critical_section(requires="scope")
def test_keyword():
    pass

@pytest.mark.usefixtures("critical_section")
def test_usefixtures():
    pass

@pytest.mark.critical_section
def test_both(critical_section):
    pass

def test_fine():
    pass
"""

LINES = [
    "test_keyword: @pytest.mark.critical_section: requires: *did you mean 'require'?",
    "test_usefixtures: usefixtures('critical_section') opens no section: *",
    "test_both: the test is marked critical_section and uses the fixture * do not nest*",
]


def test_each_misuse_is_an_error_of_its_own_test(suite: Suite) -> None:
    """The run ends as it does for any collection error, and names all of them."""
    suite.write(MISUSES)
    result = suite.run_here()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(LINES)
    result.stdout.fnmatch_lines(["ERROR test_it.py::test_keyword*"])
    again = suite.run_here("--continue-on-collection-errors")
    again.assert_outcomes(errors=3, passed=1)


def test_a_deselected_misuse_is_nobodys_business(suite: Suite) -> None:
    """``-k`` and node ids choose tests; the others are not looked at."""
    suite.write(MISUSES)
    suite.run_here("-k", "fine").assert_outcomes(passed=1, deselected=3)
    suite.run_here("test_it.py::test_fine").assert_outcomes(passed=1)


def test_it_is_no_internal_error_under_xdist(suite: Suite) -> None:
    """Two workers tell the same three errors once each; what is right runs."""
    suite.write(MISUSES)
    result = suite.run("-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=3, passed=1)
    result.stdout.fnmatch_lines(LINES)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_misuse_that_shows_only_at_run_time_is_told_too(suite: Suite) -> None:
    """A marker or a fixture that a test gets dynamically is checked when it is used."""
    suite.write("""
@pytest.mark.critical_section
def test_both(request):
    with request.getfixturevalue("critical_section")():
        pass

def test_nested(critical_section):
    with critical_section("one"), critical_section("two"):
        pass

def test_factory_keyword(critical_section):
    with critical_section(max_duration="soon"):
        pass

def test_view(gs_section):
    gs_section.token

@pytest.fixture
def early(gs_section):
    return gs_section.coordinated

@pytest.mark.critical_section
def test_early(early):
    pass
""")
    result = suite.run_here()
    result.assert_outcomes(failed=4, errors=1)
    result.stdout.no_fnmatch_line("*pytest_gatherscatter/*.py:*")
    result.stdout.fnmatch_lines(
        [
            "*SectionMisused: the section is not open yet: fixtures are made before it*",
            "*SectionMisused: the test is marked critical_section already*",
            "*SectionMisused: section 'one' is open in this process, and sections do not nest*",
            "*SettingsInvalid: critical_section(): max_duration: 'soon'*",
            "*SectionMisused: gs_section looks at the section of a test that is marked*",
        ]
    )
    result.stdout.no_fnmatch_line("*plugin/section.py*")
