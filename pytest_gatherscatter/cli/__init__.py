"""The command line: a file for what each command does, and a few that all of them share.

``main.py`` is the way in: it finds the command, and turns whatever goes wrong into one line and
an exit status. ``option.py`` reads what was asked, ``output.py`` tells, ``stop.py`` knows when a
service has to end, ``command.py`` runs a program inside a section. Commands are imported when
they are called, so that ``--help`` and shell completion stay fast.
"""
