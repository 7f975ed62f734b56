"""Critical sections: the gatherer, the monitors, and the workloads that enter.

.. code-block:: text

    workload ──EnterSection──▶ gatherer ──PrepareSection──▶ monitors of the bench
             ◀─SectionGathered─         ◀─AgentReady / AgentHolding / AgentVetoed─
             ──WorkloadReady──▶         (all alive? recorded; commit)
             ◀───────────── SectionGo(t0, deadline), one publish ─────────────▶
             … quiet …                                        … capturing …
             ──LeaveSection───▶         ──SectionStopped──▶
             ◀─SectionClosed──          ◀─AgentReport──

Three machines without I/O: ``gatherer/``, ``monitor/``, ``workload/``. What test authors and
monitors' authors see stands beside them (``section``, ``demand``, ``report``, ``hook``,
``census``). Everything that touches the world is in ``service/``. The states of a section are
the table in ``gatherer/state.py``.
"""
