"""The base of all messages, and what their fields may hold."""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from pytest_gatherscatter.wire.names import ID_PATTERN, NAME_PATTERN

Name: TypeAlias = Annotated[str, Meta(pattern=NAME_PATTERN)]
Id: TypeAlias = Annotated[str, Meta(pattern=ID_PATTERN)]
Token: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # JSON numbers are exact to 2**53
Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
Label: TypeAlias = Annotated[str, Meta(max_length=512)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=31_536_000)]  # a year: nobody means more
Age: TypeAlias = Annotated[float, Meta(ge=0)]  # a gatherer may be up for more than a year
Pid: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=100_000)]
Amount: TypeAlias = Annotated[float, Meta(ge=0)]  # of whatever a step counts
Scalar: TypeAlias = bool | int | float | str | None


class Message(Struct, frozen=True, tag_field="kind", tag=True):
    """The base of all messages: a JSON object whose ``kind`` is the class's name."""


class Part(Struct, frozen=True, omit_defaults=True):
    """The base of what stands inside messages."""
