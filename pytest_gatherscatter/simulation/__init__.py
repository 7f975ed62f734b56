r"""A whole lab in one process and in virtual time, out of one seed.

What runs here is the production code: codec, pump, journal and machines, over the pure heart
of the embedded broker. What is played is everything around them: the network, the clocks, the
processes that die, the people. So a thousand bad days pass in seconds, and a bad one can be
replayed from its number::

    python -m pytest_gatherscatter.simulation --seeds 1000
    python -m pytest_gatherscatter.simulation --seed 17 --story

``world`` is time and what was seen; ``network`` and ``connection`` are the broker and the ways
to it; ``party`` is a process, of which ``authority``, ``instrument``, ``visitor`` and ``person``
are the kinds, ``host`` what a machine keeps of them; ``laboratory`` says who is there and
``fault`` what goes wrong (``stranger`` with words), ``scenario`` plays it, ``batch`` many of them.
``invariant`` names what must hold all the same: rules about ``admission``, ``ending``, ``timing``.
``outcome`` and ``story`` tell what came of it.

The companions have plays of their own, out of the same parts: ``slips/``, ``graders/`` and
``roundrobin/``. What these have in common is in ``play``, ``companion`` (which tells how to write
one) and ``command``.

Beside the plays, ``explore`` looks at all that can happen in a ``smalllab`` with its ``smallrun``
of each workload, where the next step is chosen; a ``fingerprint`` tells whether a state was met.
"""
