"""The door to the broker: links, the topology, the pump, and where a broker is found.

``port.py`` says what a pump needs of any broker; ``link.py`` is that over pika, and names the
modules under it, the only ones that know pika; ``pump.py`` (read it first) turns deliveries into
messages for a machine and the machine's effects into publishes and settlements.
"""
