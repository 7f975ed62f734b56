"""A monitor: it joins the lab, arms, holds or vetoes, starts at t0, and hands in what it saw.

A machine without I/O: ``machine.py`` says who handles what; ``arming.py`` holds the table by
which one section lives at one monitor. What the monitor knows stands in ``station.py``; what
happens to it in ``order`` (what the gatherer says), ``turn`` (whose turn it is), ``hookend``
(what the hooks answered and what was measured), ``ending`` (reported or disarmed) and ``drain``
(leaving the lab). ``presence`` keeps the agent in the lab and measures the clock, ``voice`` says
the answers, ``hookline`` and ``hookcall`` put the user's hooks in line, ``delivery`` hands
captures in. The process around it is ``service/monitor.py``.
"""
