"""Exchanges, queues, routing keys and the names people give, as pure functions.

Two durable topic exchanges carry a lab: ``gs.<lab>`` for events that all may watch, and
``gs.<lab>.to`` for requests and answers to one party. Nobody writes to the default exchange,
so that topic permissions can say who may say what. Routing keys are dotted words, hence no
name may hold a dot.
"""

import re

from pytest_gatherscatter.errors import SettingsInvalid

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$(?!\n)"
"""What a name of a lab, bench, agent, process or queue may be (64: keys stay under 255 bytes).

Python's ``$`` also stands before a last line feed, hence the look ahead; ``\\Z`` is no word of
JSON Schema's patterns."""

NAME_RULE = "1 to 64 letters, digits, '_' or '-', the first a letter or digit"

SERVICE_PATTERN = r"^(service|grading|steps)\.[A-Za-z0-9][A-Za-z0-9_-]{0,63}$(?!\n)"
"""What the key of a service's queue may be: a kind of its clients' messages, and a name."""

ID_PATTERN = r"^[0-9a-f]{8,32}$(?!\n)"
"""What an identifier that programs make (a section, a run, an instance) may be."""

GATHERER_KEY = "gatherer"
STEER_KEY = "gatherer.steer"
"""The gatherer's ear for persons, apart so that a broker can refuse it to everybody else."""

GATHERER_STARTED = "gatherer.started"
WAITING_KEY = "waiting"
"""The waiting room of slips, on the direct exchange."""

SLIP_CHECK = "slip.check"
STEP_SOUGHT = "step.sought"
PROCESSOR_SOUGHT = "processor.sought"
JOB_SOUGHT = "job.sought"
LISTENER_SOUGHT = "listener.sought"
EXAMINER_SOUGHT = "examiner.sought"
BALANCER_SOUGHT = "balancer.sought"

_NAME = re.compile(NAME_PATTERN)


def check_name(what: str, text: str) -> str:
    """Return ``text`` if it may name a ``what`` (``"lab"``, ``"bench"``, ``"agent"`` …).

    Raises:
        SettingsInvalid: naming what was wrong and what is allowed.
    """
    if _NAME.fullmatch(text) is None:
        raise SettingsInvalid(f"{what} name {text!r}", f"allowed are {NAME_RULE}")
    return text


def event_exchange(lab: str) -> str:
    """Name the exchange of events, which observers may bind to."""
    return f"gs.{lab}"


def direct_exchange(lab: str) -> str:
    """Name the exchange of requests and answers to one party."""
    return f"gs.{lab}.to"


def dead(lab: str) -> str:
    """Name both the dead-letter exchange and its queue."""
    return f"gs.{lab}.dead"


def gatherer_queue(lab: str) -> str:
    """Name the gatherer's exclusive inbox; owning it is being the gatherer."""
    return f"gs.{lab}.gatherer"


def agent_queue(lab: str, name: str) -> str:
    """Name an agent's exclusive inbox."""
    return f"gs.{lab}.agent.{name}"


def reply_queue(lab: str, reply_id: str) -> str:
    """Name the exclusive queue on which one asker takes its answers."""
    return f"gs.{lab}.reply.{reply_id}"


def section_queue(lab: str, section: str) -> str:
    """Name the durable, expiring queue of a section's artifacts."""
    return f"gs.{lab}.section.{section}"


def agent_key(name: str) -> str:
    """Key of an agent's inbox on the direct exchange."""
    return f"agent.{name}"


def reply_key(reply_id: str) -> str:
    """Key of an asker's answers on the direct exchange."""
    return f"reply.{reply_id}"


def section_key(section: str) -> str:
    """Key of a section's artifacts on the direct exchange."""
    return f"section.{section}"


def section_event(what: str, bench: str) -> str:
    """Key of a section's event: ``what`` is ``go``, ``stopped``, ``aborted`` or ``changed``."""
    return f"section.{what}.{bench}"


def agent_event(what: str, name: str) -> str:
    """Key of an agent's event: ``what`` is ``joined`` or ``left``."""
    return f"agent.{what}.{name}"


def job_queue(lab: str, job: str) -> str:
    """Name the exclusive inbox of a job's originator; workers see at once that it is gone."""
    return f"gs.{lab}.job.{job}"


def supervisor_queue(lab: str, supervisor: str) -> str:
    """Name the exclusive inbox of who holds workers."""
    return f"gs.{lab}.supervisor.{supervisor}"


def job_key(job: str) -> str:
    """Key of an originator's inbox on the direct exchange."""
    return f"job.{job}"


def supervisor_key(supervisor: str) -> str:
    """Key of a supervisor's inbox on the direct exchange."""
    return f"supervisor.{supervisor}"


def ping_key(asker: str) -> str:
    """Key of what listeners answer on the direct exchange: apart from the gatherer's answers."""
    return f"ping.{asker}"


def job_event(what: str, job: str) -> str:
    """Key of a job's event: ``what`` is ``offered`` or ``finished``."""
    return f"job.{what}.{job}"


def steps_queue(lab: str, process: str) -> str:
    """Name the durable work queue of the steps of one process."""
    return f"gs.{lab}.steps.{process}"


def steps_key(process: str) -> str:
    """Key of a process's work queue on the direct exchange."""
    return f"steps.{process}"


def waiting_queue(lab: str) -> str:
    """Name the durable queue of slips that wait for something: the waiting room."""
    return f"gs.{lab}.waiting"


def processor_queue(lab: str, name: str) -> str:
    """Name a processor's exclusive inbox; owning it is being the processor of that name."""
    return f"gs.{lab}.processor.{name}"


def processor_key(name: str) -> str:
    """Key of a processor's inbox on the direct exchange."""
    return f"processor.{name}"


def slip_queue(lab: str, asker: str) -> str:
    """Name the durable, expiring queue on which who gave out a slip hears of it."""
    return f"gs.{lab}.slip.{asker}"


def slip_key(asker: str) -> str:
    """Key of what processors answer, on the direct exchange: apart from the gatherer's answers."""
    return f"slip.{asker}"


def slip_event(what: str, slip: str) -> str:
    """Key of a slip's event: ``begun``, ``moved``, ``ended``, ``over``, or a wish: ``cancel``."""
    return f"slip.{what}.{slip}"


def grading_queue(lab: str, queue: str) -> str:
    """Name the durable work queue of one kind of grading."""
    return f"gs.{lab}.grading.{queue}"


def grading_key(queue: str) -> str:
    """Key of a grading queue on the direct exchange."""
    return f"grading.{queue}"


def suspects_queue(lab: str, queue: str) -> str:
    """Name the durable queue of requests that somebody has died with."""
    return f"gs.{lab}.suspects.{queue}"


def suspects_key(queue: str) -> str:
    """Key of a queue of suspects on the direct exchange."""
    return f"suspects.{queue}"


def examiner_queue(lab: str, name: str) -> str:
    """Name an examiner's exclusive inbox; owning it is being the examiner of that name."""
    return f"gs.{lab}.examiner.{name}"


def grade_queue(lab: str, asker: str) -> str:
    """Name the durable, expiring queue on which who asked for grades hears the answers."""
    return f"gs.{lab}.grade.{asker}"


def grade_key(asker: str) -> str:
    """Key of what examiners answer, on the direct exchange: apart from the gatherer's answers."""
    return f"grade.{asker}"


def grading_event(what: str, queue: str) -> str:
    """Key of a grading's event: ``what`` is ``answered``."""
    return f"grading.{what}.{queue}"


def record_queue(lab: str, name: str) -> str:
    """Name the durable queue of what a recorder has to write down; one party consumes it."""
    return f"gs.{lab}.record.{name}"


def service_key(name: str) -> str:
    """Key of the queue of a service that is neither graders' nor processors'."""
    return f"service.{name}"


def service_queue(lab: str, service: str) -> str:
    """Name the durable work queue of a service, by its key: a grading queue, one of steps."""
    return f"gs.{lab}.{service}"


def known_queue(lab: str, service: str) -> str:
    """Name the durable queue that holds which workers a balancer of this service knew."""
    return f"gs.{lab}.known.{service}"


def known_key(service: str) -> str:
    """Key of that queue on the direct exchange."""
    return f"known.{service}"


def balancer_queue(lab: str, service: str) -> str:
    """Name a balancer's exclusive inbox; owning it is being the balancer of that service."""
    return f"gs.{lab}.balancer.{service}"


def balancer_key(service: str) -> str:
    """Key of the inbox of a service's balancer on the direct exchange."""
    return f"balancer.{service}"


def balanced_queue(lab: str, address: str) -> str:
    """Name the exclusive inbox on which workers of one process take what a balancer gives."""
    return f"gs.{lab}.balanced.{address}"


def balanced_key(address: str) -> str:
    """Key of such an inbox on the direct exchange."""
    return f"balanced.{address}"


def client_queue(lab: str, client: str) -> str:
    """Name the durable, expiring queue on which a client of services hears the answers."""
    return f"gs.{lab}.client.{client}"


def client_key(client: str) -> str:
    """Key of what workers answer a client, on the direct exchange."""
    return f"client.{client}"


def balancer_event(what: str, service: str) -> str:
    """Key of a balancer's event: ``what`` is ``started``."""
    return f"balancer.{what}.{service}"


def step_event(what: str, run: str) -> str:
    """Key of the steps of a run's tests: ``what`` is ``progressed`` or ``finished``."""
    return f"step.{what}.{run}"


def recorded_events() -> tuple[str, ...]:
    """Keys on the event exchange that a recorder hears: how things ended."""
    return (
        grading_event("answered", "*"),
        section_event("changed", "*"),
        slip_event("over", "*"),
        job_event("finished", "*"),
    )


def bench_events(bench: str) -> tuple[str, ...]:
    """Keys on the event exchange that a monitor of ``bench`` must hear."""
    return tuple(section_event(what, bench) for what in ("go", "stopped", "aborted"))
