"""The I/O of a recorder: a link to the broker, and a database."""
