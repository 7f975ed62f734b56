"""Critical sections: the gatherer, the monitors, and the workloads that enter.

.. code-block:: text

    workload ──EnterSection──▶ gatherer ──PrepareSection──▶ monitors of the bench
             ◀─SectionGathered─         ◀─AgentReady / AgentHolding / AgentVetoed─
             ──WorkloadReady──▶         (all alive? recorded; commit)
             ◀───────────── SectionGo(t0, deadline), one publish ─────────────▶
             … quiet …                                        … capturing …
             ──LeaveSection───▶         ──SectionStopped──▶
             ◀─SectionClosed──          ◀─AgentReport──

Three machines without I/O: ``gatherer/``, ``monitor.py``, ``workload.py``. Everything that
touches the world stands in ``service/`` and in ``ticket.py``, ``benchlock.py`` and
``proc.py``. The states of a section are the table in ``gatherer/state.py``.
"""
