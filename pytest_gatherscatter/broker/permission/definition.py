"""Rights as ``rabbitmqctl`` reads them."""

from collections.abc import Iterable
from typing import Any

from pytest_gatherscatter.broker.permission.right import Rights, pattern
from pytest_gatherscatter.broker.topology import lab_topology


def definitions_of(user: str, vhost: str, given: Rights, labs: Iterable[str]) -> dict[str, Any]:
    """Write rights as ``rabbitmqctl import_definitions`` reads them, with what the labs share.

    The user must be there: a definition of it would have to hold its password.
    """
    shared = [lab_topology(lab) for lab in labs]
    return {
        "permissions": [
            {
                "user": user,
                "vhost": vhost,
                "configure": pattern(given.configure),
                "write": pattern(given.write),
                "read": pattern(given.read),
            }
        ],
        "topic_permissions": [
            {
                "user": user,
                "vhost": vhost,
                "exchange": exchange,
                "write": pattern(given.says.get(exchange, ())),
                "read": pattern(given.hears.get(exchange, ())),
            }
            for exchange in given.exchanges
        ],
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": vhost,
                "type": exchange.kind,
                "durable": exchange.durable,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for topology in shared
            for exchange in topology.exchanges
        ],
        "queues": [
            {
                "name": queue.name,
                "vhost": vhost,
                "durable": queue.durable,
                "auto_delete": queue.auto_delete,
                "arguments": dict(queue.arguments),
            }
            for topology in shared
            for queue in topology.queues
        ],
        "bindings": [
            {
                "source": binding.exchange,
                "vhost": vhost,
                "destination": binding.queue,
                "destination_type": "queue",
                "routing_key": binding.key,
                "arguments": {},
            }
            for topology in shared
            for binding in topology.bindings
        ],
    }
