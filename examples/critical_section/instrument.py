"""How this lab reaches its instruments: SCPI over VISA, here played by PyVISA-sim."""

from pathlib import Path

import pyvisa
from pyvisa.resources import MessageBasedResource

VISA_LIBRARY = f"{Path(__file__).with_name('lab.yaml')}@sim"
"""On a real bench ``"@py"`` (PyVISA-py), or ``""`` for the vendor's library."""


def connect(resource: str) -> MessageBasedResource:
    """Open an instrument by its VISA name, and clear its status.

    Raises:
        pyvisa.Error: it is not there, or does not answer.
        TypeError: it is no instrument that takes SCPI.
    """
    found = pyvisa.ResourceManager(VISA_LIBRARY).open_resource(
        resource, read_termination="\n", write_termination="\n"
    )
    if not isinstance(found, MessageBasedResource):
        raise TypeError(f"{resource} takes no messages")
    found.write("*CLS")
    return found
