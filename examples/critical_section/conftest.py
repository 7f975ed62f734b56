"""The supply that the tests switch."""

from collections.abc import Iterator

import pytest
from instrument import connect
from pyvisa.resources import MessageBasedResource


@pytest.fixture
def psu() -> Iterator[MessageBasedResource]:
    """Give the test its supply, with the output on, and leave it so."""
    supply = connect("TCPIP::supply.example::INSTR")
    supply.write(":OUTP 1")
    yield supply
    supply.write(":OUTP 1")
    supply.close()
