"""What goes over the broker: names, messages, and the codec between bytes and messages.

All of it is pure. ``names.py`` says how exchanges, queues and routing keys are called,
``messages.py`` defines every message, ``codec.py`` turns them into bytes and back.
"""
