"""How long the long form lasts."""

import pytest

HOUR = 3600.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the one option."""
    parser.addoption(
        "--soak-seconds",
        type=float,
        default=HOUR,
        help="how long the long form of the soak test lasts (default: %(default)g)",
    )
