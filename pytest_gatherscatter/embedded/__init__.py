"""An AMQP 0-9-1 broker for one machine: RabbitMQ's behaviour where there is no RabbitMQ.

So that pika is the only client, and one URL is all that changes between a laptop and a
laboratory. It forgets everything at its end. From the inside out:

- pure, without bytes or a clock: ``vhost`` is the door, with ``declaration`` behind it;
  ``flow`` moves messages through ``queue``; ``directory`` knows what is declared and
  ``exchange`` where a key leads; ``budget`` bounds what is declared; ``argument`` reads what
  clients ask of queues; ``record`` is what goes in and comes out, ``refusal`` how the broker says
  no (with the list of what it does not support), ``invariant`` what is always true.
- bytes without a socket: ``frames``, ``method`` and ``header`` check what arrives, ``session`` is
  one connection, from its ``handshake`` on, and ``channel`` one channel of it, ``hub`` what they
  share.
- the process: ``server``, and ``address``, by which others find it.
"""
