"""What a processor may be asked to run: the templates of its settings, and no more than that."""

import difflib
from collections.abc import Collection, Mapping

from pytest_gatherscatter.slips.template import Template, quoted
from pytest_gatherscatter.wire.slips import Step


class Repertoire:
    """The commands of each process; implements ``order.Templates``.

    Args:
        processes: templates by process and command.
        allow_shell: whether a slip may bring a command line of its own.
    """

    def __init__(
        self, processes: Mapping[str, Mapping[str, Template]], *, allow_shell: bool = False
    ) -> None:
        self._processes = processes
        self._allow_shell = allow_shell

    def line(self, step: Step, params: Mapping[str, str], *, compensating: bool = False) -> str:
        """Return the command line of a step, for ``sh -c``, its parameters quoted.

        ``params`` are the slip's; the step's own go before them, and each of those has to be one
        of its command's.

        Raises:
            ValueError: the command or a parameter is not known, or one is missing.
        """
        name = step.compensate if compensating else step.command
        if name is None:
            return self._shell(step)
        commands = self._processes.get(step.process, {})
        template = commands.get(name)
        if template is None:
            raise ValueError(
                f"process {step.process} has no command {name!r}{near(name, commands)}"
            )
        if not compensating:
            for own in step.params:
                if own not in template.fields:
                    text = f"command {name!r} has no parameter {own!r}"
                    raise ValueError(text + near(own, template.fields))
        values = {**params, **step.params}
        if missing := sorted(template.fields - values.keys()):
            names = ", ".join(map(repr, missing))
            raise ValueError(f"command {name!r} needs {names}, which nobody gives")
        return template.line(values)

    def _shell(self, step: Step) -> str:
        if not self._allow_shell:
            raise ValueError(
                "its command line is its own; this processor runs only the commands of its "
                "settings ('gatherscatter slips process --allow-shell' would run it)"
            )
        if step.params:
            raise ValueError("params are for the commands of settings; shell has none")
        quoted(step.shell)
        return step.shell


def near(name: str, known: Collection[str]) -> str:
    """Say what was meant, or what there is, for the end of a line."""
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(sorted(known))}" if known else "; there are none"
