"""Test files over a queue: one job, many workers, one result.

The *originator* is the pytest that the user started. It finds the test files without importing
them and holds the *ledger*: which file, or which part of one, is granted to which worker under
which *lease*, which tests were found, which have been reported. A *supervisor* on any host offers
worker slots, starts workers (children of pytest, without a link of their own) and tells what
happens in them. What a worker reports under a lease that is over is *fenced*.

::

    supervisor ── JoinJob ──────────────> originator
    supervisor <─ JobJoined(workers) ──── originator
    supervisor <─ RunFile(lease) ──────── originator      more than one ahead, if they are short
    supervisor ── WorkerTold(events) ───> originator      FileCollected fixes what must be reported
    supervisor <─ GiveBack(lease) ─────── originator      when others have nothing left to do
    supervisor <─ JobOver ─────────────── originator
    supervisor ── WorkerTold(ended) ────> originator

``ledger.py`` is the machine; ``schedule.py`` says what comes first and what is given back.
Nothing in this package knows pytest.
"""
