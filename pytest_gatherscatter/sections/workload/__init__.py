"""A workload: it asks to enter, waits, goes at t0, is quiet, and comes back to tell.

A machine without I/O: ``machine.py``, with the table of one section's life in ``state.py`` and
the reading of the gatherer's clock in ``probing.py``. What blocks, connects and sleeps around
it is ``service/workload.py``.
"""
