"""Graders: examiners that judge a result, and who asks them to.

``grader`` is what a grader's author writes, ``request`` what may be asked, ``given`` what comes
back; ``examiner`` and ``asker`` are the machines. All I/O is in ``service/``.
"""
