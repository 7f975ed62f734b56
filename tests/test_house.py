"""The house rules: a path tells which system a line belongs to, and whether it does I/O."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "pytest_gatherscatter"
ROOMS = ("sections", "slips", "graders", "testfiles", "roundrobin", "record")
IMPURE = {
    *("socket", "select", "selectors", "ssl", "threading", "_thread", "asyncio", "subprocess"),
    *("multiprocessing", "concurrent", "time", "datetime", "pytest", "pika", "tenacity"),
}
PURE = (
    "answering.py",
    "asking.py",
    "machine.py",
    "telling.py",
    "quantity.py",
    "errors.py",
    "wire/*",
    "broker/port.py",
    "broker/topology/*",
    "broker/permission/*",
)
PURE_EMBEDDED = ("vhost", "exchange", "queue", "record", "refusal", "directory", "flow")
PATHS = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def imports(name: str, *, at_once: bool = False) -> tuple[str, ...]:
    """Name every module that ``name`` imports; with ``at_once`` only when it is imported itself."""
    tree = ast.parse(PATHS[name].read_text())
    found: list[str] = []
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(found)


def own(imported: str) -> Iterator[str]:
    """Name the files of this package that importing ``imported`` runs, its own ones only."""
    words = imported.split(".")[1:] if imported.startswith("pytest_gatherscatter.") else []
    for end in range(1, len(words) + 1):
        stem = "/".join(words[:end])
        yield from (name for name in (f"{stem}.py", f"{stem}/__init__.py") if name in PATHS)


def reached(name: str, *, at_once: bool = False) -> set[str]:
    """Name all files of this package that ``name`` leads to, itself with them."""
    seen, todo = set[str](), [name]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += [o for i in imports(file, at_once=at_once) for o in own(i)]
    return seen


def is_pure(name: str) -> bool:
    """Tell from its path whether a file must do no I/O."""
    room, _, rest = name.partition("/")
    if room in ROOMS:
        return not fnmatch(rest, "service*")
    heart = room == "embedded" and Path(rest).stem in PURE_EMBEDDED
    return heart or any(fnmatch(name, pattern) for pattern in PURE)


DOORS = {
    "pika": "broker/*",
    "pamqp": "embedded/*",
    "sqlalchemy": "record/service/database.py",
}


@pytest.mark.parametrize(("library", "door"), DOORS.items())
def test_a_library_stays_behind_its_door(library: str, door: str) -> None:
    """Only the broker door knows pika, only the embedded broker pamqp, only one file SQL."""
    users = {n for n in PATHS for i in imports(n) if i.split(".")[0] == library}
    assert {name for name in users if not fnmatch(name, door)} == set()


def test_what_is_pure_does_no_io() -> None:
    """Machines, the wire and pure hearts reach nothing that waits, connects or reads a clock."""
    broken = {
        f"{name}: {imported} by {file}"
        for name in filter(is_pure, PATHS)
        for file in reached(name)
        for imported in imports(file)
        if imported.split(".")[0] in IMPURE
    }
    assert broken == set()


def test_rooms_never_import_one_another() -> None:
    """Each companion stands alone; what two of them need is below them."""
    broken = {
        f"{name}: {imported}"
        for name in PATHS
        for imported in imports(name)
        for room in ROOMS
        if name.split("/")[0] in {*ROOMS} - {room}
        and f"{imported}.".startswith(f"pytest_gatherscatter.{room}.")
    }
    assert broken == set()


def test_opening_a_room_starts_no_service() -> None:
    """Importing the package or a room brings names and machines, no shell and no library of one."""
    doors = [
        "__init__.py",
        *(f"{room}/__init__.py" for room in ROOMS if f"{room}/__init__.py" in PATHS),
    ]
    started = {(door, file) for door in doors for file in reached(door, at_once=True)}
    assert {(door, file) for door, file in started if "service" in file} == set()


def test_the_rules_see_something() -> None:
    """A rule that looked at no file would hold for ever."""
    assert is_pure("wire/messages.py")
    assert is_pure("sections/gatherer/machine.py")
    assert not is_pure("sections/service/__init__.py")
    assert "wire/names.py" in reached("settings.py")
    assert "socket" in set(imports("sections/service/proc.py"))
