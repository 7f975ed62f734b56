"""What pytest sees: options, the marker and the fixtures of critical sections, and output.

``entry`` is all that pytest loads by itself; the rest is imported by the first test that
uses a section. The way of a marked test: ``collection`` checks its marker (``marker``),
``phase`` takes it through gather, go, body and leave with the help of ``run`` (this process's
workloads) and ``verdict`` (what becomes of an error); ``output`` tells about it.
"""
