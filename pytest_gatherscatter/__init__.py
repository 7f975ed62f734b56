"""Critical sections for hardware tests, coordinated over RabbitMQ."""

__version__ = "0.1.0"
