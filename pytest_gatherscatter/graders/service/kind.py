"""The kinds of graders: those that are built in, and those that other packages bring.

A package brings some by a module in the entry-point group ``gatherscatter``::

    [project.entry-points.gatherscatter]
    spectrum = "labgraders.spectrum"

with a function that implements the hook below::

    @hookimpl
    def gatherscatter_graders():
        return {"spectrum": SpectrumGrader}
"""

from collections.abc import Mapping

import pluggy

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.graders.grader import Grader
from pytest_gatherscatter.graders.service.builtin import PythonGrader, SleepGrader
from pytest_gatherscatter.graders.service.http import HttpGrader
from pytest_gatherscatter.graders.service.subprocess import SubprocessGrader
from pytest_gatherscatter.gradersetting import GraderSettings

GROUP = "gatherscatter"

hookspec = pluggy.HookspecMarker(GROUP)

BUILT_IN: Mapping[str, type[Grader]] = {
    "http": HttpGrader,
    "python": PythonGrader,
    "sleep": SleepGrader,
    "subprocess": SubprocessGrader,
}


class Hooks:
    """What a package of graders may bring."""

    @hookspec
    def gatherscatter_graders(self) -> Mapping[str, type[Grader]]:  # type: ignore[empty-body]
        """Return kinds of graders by their names, as they stand in ``kind`` of a ``[[grader]]``."""


def kinds() -> dict[str, type[Grader]]:
    """Return all kinds that there are.

    Raises:
        SettingsInvalid: a package cannot be imported, or brings a kind that is there already.
    """
    plugins = pluggy.PluginManager(GROUP)
    plugins.add_hookspecs(Hooks)
    try:
        plugins.load_setuptools_entrypoints(GROUP)
        found = plugins.hook.gatherscatter_graders()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a package does when imported
        text = f"a package of graders is broken: {type(error).__name__}: {error}"
        raise SettingsInvalid(f"entry points {GROUP}", text[:1000]) from None
    known = dict(BUILT_IN)
    for brought in found:
        for name, kind in brought.items():
            if known.setdefault(name, kind) is not kind:
                raise SettingsInvalid(f"entry points {GROUP}", f"two packages bring {name!r}")
    return known


def make(settings: GraderSettings, known: Mapping[str, type[Grader]]) -> list[Grader]:
    """Make the graders of a ``[[grader]]``, one for each thread.

    Raises:
        SettingsInvalid: there is no such kind, or its options are wrong.
    """
    kind = known.get(settings.kind)
    if kind is None:
        allowed = ", ".join(sorted(known))
        text = f"there is no kind {settings.kind!r}; there are {allowed}"
        raise SettingsInvalid(f"{settings.where}: kind", text)
    try:
        return [kind.from_config(settings.options) for _ in range(settings.threads)]
    except SettingsInvalid as error:
        raise SettingsInvalid(f"{settings.where}: options.{error.where}", error.problem) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - of somebody's grader
        text = f"{type(error).__name__}: {error}"
        raise SettingsInvalid(f"{settings.where}: options", text[:1000]) from None
