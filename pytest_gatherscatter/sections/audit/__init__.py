"""An independent look at what both sides of a section wrote down: do they confirm each other?

Workloads write ``sections.jsonl``, the gatherer ``<lab>.history.jsonl``. ``claim.py`` reads the
lines, ``check.py`` holds them against one another. Nothing here imports a machine: what they
decided is worked out again from what was written, so that a bug of theirs is not believed twice.
"""
