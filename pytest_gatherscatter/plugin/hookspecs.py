"""The hooks that this plugin calls."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gatherscatter.sections.section import Section


@pytest.hookspec
def pytest_gatherscatter_section_closed(item: pytest.Item, section: "Section") -> None:
    """Look at a section that has closed, its reports and artifacts in hand.

    Called in the test's own process (an xdist worker, if there are any), for coordinated
    sections and for those that ran alone, before findings fail the test. Not called for a
    section that was never entered.

    Args:
        item: the test that entered it.
        section: what became of it; everything on it is known.
    """
