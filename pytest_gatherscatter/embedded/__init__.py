"""An AMQP 0-9-1 broker for one machine: RabbitMQ's behaviour where there is no RabbitMQ.

So that pika is the only client and one URL is all that changes between a laptop and a
laboratory. From the inside out: ``vhost.py`` (with ``directory``, ``exchange``, ``queue``,
``record``, ``refusal`` and ``invariant``) is pure and knows no bytes; ``frames.py`` turns
bytes into frames; ``session.py`` is one connection's protocol without a socket; ``server.py``
is the process around them, and ``address.py`` how others find it. It forgets everything at
its end.
"""
