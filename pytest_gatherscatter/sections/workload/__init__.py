"""A workload: it asks to enter, waits, goes at t0, is quiet, and comes back to tell.

A machine without I/O: ``machine.py`` says who handles what; ``state.py`` holds the table of one
section's life. How the section stands is in ``standing.py``; ``question`` says what is asked of
the gatherer and when, ``answer`` what is made of its words, ``patience`` how long it waits
before the start and what it then decides, ``probing`` reads the gatherer's clock.

What its shell does around the machine is decided as purely: ``guide.py`` leads a visit by the
steps of ``step.py``, ``memory.py`` is what a run keeps from one to the next. The shell that
follows it, blocks, connects and sleeps is ``service/workload.py``; the simulation has another.
"""
