"""The least rights of each role on RabbitMQ, as patterns; nothing here does I/O.

RabbitMQ looks at a login three times: may it *configure* (make and delete) this exchange or
queue, *write* to it (publish; bind a queue), *read* from it (consume; bind to an exchange); and
for the two topic exchanges of a lab, with which keys it may publish and bind. So nobody but the
gatherer can say go, because nobody else may publish with ``section.go.…``, and an agent hears
what is for itself, because it may bind no other ``agent.…`` key.

What stands inside a message RabbitMQ does not weigh. So what persons steer with has a key of its
own, which the operator's role has alone; and the gatherer lets a section be spoken for only by the
login that entered it. But whoever may write to the gatherer may call itself any agent.

``right`` says what rights are, a module for each room which ones its roles need; ``role`` has all
of them, and ``definition`` writes them down for RabbitMQ.
"""
