"""Routing slips: a message that carries its own steps from queue to queue, and how they went.

Rooms: ``slip`` is what a slip means, ``document`` how people write one, ``template`` what a
processor may be asked to run; ``processor`` and ``room`` are the machines. All I/O is in
``service/``.
"""
