"""A small process that ends the programs of an agent that was killed.

No signal reaches a process group whose agent had no time to send one, and the kernel's own
signal at a parent's death (``PR_SET_PDEATHSIG``) goes to one process, not to what that started.
So a shell of one MiB reads from a pipe which groups there are. When the agent ends, in whatever
way, the pipe does, and what is still on the list is killed: at once, since the slip or the request
is somebody else's by then.

A group is on the list before its program has anything to do, and off it before its number can be
another's.
"""

import contextlib
import os
import select
import signal
import threading

GUARD = """\
trap '' HUP INT QUIT TERM
groups=' '
while read -r word; do
    case $word in
    +*) groups="$groups${word#+} " ;;
    -*) one=" ${word#-} "
        case $groups in
        *"$one"*) groups="${groups%%"$one"*} ${groups#*"$one"}" ;;
        esac ;;
    esac
done
for one in $groups; do kill -s KILL -- "-$one" 2>&-; done
"""

SHELL = "/bin/sh"

PATIENCE = 2
"""Seconds for which its end is waited for; it takes a millisecond."""

USUAL = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM),
    signal.SIGXFSZ,
)
"""Signals that mean to a command what they always do: Python ignores some, and so may we."""


class Guard:
    """The guard of one agent; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._pipe = -1
        self._pid = 0
        self._start()

    def watch(self, group: int) -> None:
        """Have a group ended if this process ends."""
        with self._lock:
            self._groups.add(group)
            self._say(f"+{group}\n")

    def spare(self, group: int) -> None:
        """Leave a group alone, before its leader is waited for: then its number is free."""
        with self._lock:
            self._groups.discard(group)
            self._say(f"-{group}\n")

    def close(self) -> None:
        """Let it end; a group that is still watched ends with it."""
        with self._lock:
            if self._pipe >= 0:
                os.close(self._pipe)
                self._pipe = -1
                self._see_off()

    def _see_off(self) -> None:
        """Wait for its end, which comes with that of its pipe, unless somebody has stopped it."""
        over = os.pidfd_open(self._pid)
        poll = select.poll()
        poll.register(over, select.POLLIN)
        if not poll.poll(PATIENCE * 1000):
            os.kill(self._pid, signal.SIGKILL)
        os.close(over)
        os.waitpid(self._pid, 0)

    def _say(self, word: str) -> None:
        if self._pipe < 0:
            return
        try:
            os.write(self._pipe, word.encode())
        except BrokenPipeError:  # somebody has killed it: another one is told of all groups
            os.close(self._pipe)
            os.waitpid(self._pid, 0)
            self._start()

    def _start(self) -> None:
        theirs, self._pipe = os.pipe()
        try:
            self._pid = os.posix_spawn(
                SHELL,
                ["sh", "-c", GUARD],
                {"PATH": os.defpath},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,  # a terminal's Ctrl-C is not for it
                setsigmask=(),
                setsigdef=USUAL,
            )
        except BaseException:
            os.close(self._pipe)
            self._pipe = -1
            raise
        finally:
            os.close(theirs)
        with contextlib.suppress(BrokenPipeError):  # gone at once: seen with the next word
            os.write(self._pipe, "".join(f"+{group}\n" for group in self._groups).encode())
