"""What may be asked: a request is made here, and nowhere else."""

import json
from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from pytest_gatherscatter.errors import MessageUnreadable, RequestInvalid
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.grading import (
    MOST_FILES,
    MOST_INLINE,
    GradeRequest,
    GradingFile,
)
from pytest_gatherscatter.wire.names import check_name


def plain_json(what: str, value: Any, most: int | None = None) -> Raw:  # noqa: ANN401 - any JSON
    """Write ``value`` as JSON that every language reads, of at most so many bytes.

    Raises:
        RequestInvalid: it is none (also NaN, which is no JSON), or too large.
    """
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
        body = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestInvalid(f"{what} is no plain JSON: {error}"[:1000]) from None
    if most is not None and len(body) > most:
        raise RequestInvalid(f"{what} has {len(body)} bytes, {most} are allowed")
    return Raw(body)


def make_request(  # noqa: PLR0913 - what there is to say
    queue: str,
    payload: Any,  # noqa: ANN401 - any JSON
    *,
    id: str,  # noqa: A002 - it is one
    now: float,
    seconds: float,
    files: Sequence[GradingFile] = (),
    owner: str = "",
) -> GradeRequest:
    """Make a request that is to be answered within so many ``seconds`` of ``now``, Unix time.

    Raises:
        RequestInvalid: the payload is no JSON, there are too many files, or it is all too large.
        SettingsInvalid: the queue's name is none.
    """
    check_name("queue", queue)
    if len(files) > MOST_FILES:
        raise RequestInvalid(f"{len(files)} files, {MOST_FILES} are allowed")
    if len({one.name for one in files}) != len(files):
        raise RequestInvalid("two files have one name")
    inline = sum(len(one.data) for one in files)
    if inline > MOST_INLINE:
        raise RequestInvalid(f"{inline} bytes of files, {MOST_INLINE} go along; give paths instead")
    request = GradeRequest(
        request=id,
        queue=queue,
        payload=plain_json("the payload", payload),
        files=tuple(files),
        created=now,
        deadline=now + seconds,
        owner=owner[:512],
    )
    try:
        codec.encode(request)
    except MessageUnreadable as error:
        raise RequestInvalid(f"the request is too large or no text: {error}") from None
    return request
