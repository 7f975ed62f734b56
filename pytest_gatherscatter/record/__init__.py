"""What ended in a lab, on record: its recorder hears of it, and a database keeps it.

``row.py`` says what goes into which table, ``recorder.py`` when, and when a message may be
forgotten; both are pure. ``service/`` has the connection, and the database.
"""
