"""A workload: it asks to enter, waits, goes at t0, is quiet, and comes back to tell.

A machine without I/O: ``machine.py`` says who handles what; ``state.py`` holds the table of one
section's life. How the section stands is in ``standing.py``; ``question`` says what is asked of
the gatherer and when, ``answer`` what is made of its words, ``patience`` how long it waits
before the start and what it then decides, ``probing`` reads the gatherer's clock. What blocks,
connects and sleeps around it is ``service/workload.py``.
"""
