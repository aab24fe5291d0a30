"""A multipart form as it comes in: the file goes where the caller says, block by block; the fields become parameters.

Fields may stand before or after the file. Nothing but one block and the fields is held in memory.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec
from multipart import (  # type: ignore[import-untyped]  # it ships no stubs
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from contracts.artifacts import ArtifactRef
from contracts.filenames import clean_filename as clean_filename
from contracts.parameters import Parameters
from services.gateway.problems import Problem, file_too_large

FORM_OVERHEAD_BYTES = 1 << 20
"""How much larger than the file a form may be."""
_FIELD_BYTES_MAX = 16 << 10
_PARTS_MAX = 64
_HEADER_BYTES_MAX = 8 << 10

_INVALID_FIELD = re.compile(r"`\$\.(\w+)`")
_NAMES = tuple(msgspec.structs.asdict(Parameters()))
_WORDS = {"on": "true", "yes": "true", "off": "false", "no": "false"}
_EXPECTED = (
    ("Expected `str` matching regex", "This is no name of a model"),
    ("Expected `int | null`", "A whole number is expected"),
    ("Expected `int`,", "A whole number is expected"),
    ("Expected `bool`", "Say true or false"),
)
_SWITCHES = frozenset(name for name, value in msgspec.structs.asdict(Parameters()).items() if isinstance(value, bool))
_CHOICES = {name: get_args(kind) for name, kind in get_type_hints(Parameters).items() if get_origin(kind) is Literal}

Save = Callable[[AsyncIterator[bytes]], Awaitable[ArtifactRef]]
"""Where the bytes of the file go."""

_Events = AsyncGenerator[MultipartSegment | bytes | bytearray | None, None]


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What a submit asked for: a recording that is here, or one at an address."""

    filename: str
    source: ArtifactRef | None = None
    source_url: str | None = None
    parameters: Parameters


async def read(
    content_type: str,
    blocks: AsyncIterator[bytes],
    save: Save,
    *,
    max_file_bytes: int,
) -> Submission:
    """Read a form to its end, saving the part `file` on the way. Raises Problem on anything that is not right."""
    boundary = _boundary(content_type)
    given: dict[str, str] = {}
    file: tuple[str, ArtifactRef] | None = None
    events = _events(boundary, blocks)
    try:
        async for event in events:
            if not isinstance(event, MultipartSegment):
                continue
            name = event.name or ""
            if name == "file":
                if file is not None:
                    raise Problem(400, "several_files", "The form has more than one file; send one a job.", field=name)
                file = (
                    clean_filename(event.filename or ""),
                    await _unbroken(_limited(_part(events), max_file_bytes), save),
                )
            elif name not in _NAMES:
                raise _unknown(name)
            elif name in given:
                raise _repeated(name)
            else:
                given[name] = await _text(name, events)
    except ParserLimitReached as error:
        raise Problem(
            400,
            "form_too_long",
            f"The form is past a limit ({error}): it may have {_PARTS_MAX} parts, and each header of one "
            f"{_HEADER_BYTES_MAX:,} bytes.",
        ) from error
    except MultipartError as error:
        raise Problem(400, "malformed_form", f"The form could not be read: {error}.") from error
    if file is None:
        raise Problem(400, "file_missing", "The form has no file; send it as the part named file.", field="file")
    filename, source = file
    if source.bytes == 0:
        raise empty_file()
    return Submission(filename=filename, source=source, parameters=parameters(given))


async def read_raw(
    filename: str,
    given: Sequence[tuple[str, str]],
    blocks: AsyncIterator[bytes],
    save: Save,
    *,
    max_file_bytes: int,
) -> Submission:
    """Save a body that is nothing but the file; the parameters are looked at first. Raises Problem."""
    named: dict[str, str] = {}
    for name, text in given:
        if name in named:
            raise _repeated(name)
        named[name] = text
    wanted = parameters(named)
    source = await _unbroken(_limited(blocks, max_file_bytes), save)
    if source.bytes == 0:
        raise empty_file()
    return Submission(filename=clean_filename(filename), source=source, parameters=wanted)


def parameters(given: Mapping[str, object]) -> Parameters:
    """Form text, or JSON values, to parameters; an empty text or null is not given. Raises Problem naming the field."""
    for name in given:
        if name not in _NAMES:
            raise _unknown(name)
    values = {name: _value(name, value) for name, value in given.items()}
    try:
        return msgspec.convert(
            {name: value for name, value in values.items() if value not in ("", None)}, Parameters, strict=False
        )
    except msgspec.ValidationError as error:
        reason = str(error)
        found = _INVALID_FIELD.search(reason)
        field = found.group(1) if found else next((word for word in re.findall(r"\w+", reason) if word in _NAMES), None)
        sentence = f"{field}: {_plainly(_INVALID_FIELD.sub('', reason).removesuffix(' - at '))}" if found else reason
        choices = f" There are: {', '.join(_CHOICES[field])}." if found and field in _CHOICES else ""
        raise Problem(400, "invalid_parameter", f"{sentence}.{choices}", field=field) from error


def _plainly(reason: str) -> str:
    """What msgspec says of a value, for who knows no types."""
    for expected, plainly in _EXPECTED:
        if reason.startswith(expected):
            return plainly
    return reason


def empty_file() -> Problem:
    """A file without a byte."""
    return Problem(400, "empty_file", "The file is empty. Check that the recording was saved completely.", field="file")


def _value(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    if name in _SWITCHES:
        return _WORDS.get(value.strip().lower(), value.strip())
    if name == "language":
        return value.strip().lower()
    return value if value.strip() else ""


def _repeated(name: str) -> Problem:
    return Problem(400, "repeated_parameter", f"{name[:64]} is given more than once.", field=name[:64])


def _unknown(name: str) -> Problem:
    name = name[:64]
    return Problem(400, "unknown_parameter", f"{name} is not a parameter. There are: {', '.join(_NAMES)}.", field=name)


def _boundary(content_type: str) -> str:
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise Problem(415, "not_a_form", "Send the recording as multipart/form-data, in a part named file.")
    return str(options["boundary"])


async def _events(boundary: str, blocks: AsyncIterator[bytes]) -> _Events:
    parser = PushMultipartParser(boundary, max_header_size=_HEADER_BYTES_MAX, max_segment_count=_PARTS_MAX)
    async for block in blocks:
        if block:
            for event in parser.parse(block):
                yield event
    parser.close()


async def _part(events: _Events) -> AsyncIterator[bytes]:
    """The part that has begun, to its end."""
    async for event in events:
        if event is None:
            return
        assert isinstance(event, bytes | bytearray)
        yield bytes(event)


async def _limited(blocks: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    total = 0
    async for block in blocks:
        total += len(block)
        if total > max_bytes:
            raise file_too_large(max_bytes)
        yield block


async def _unbroken(blocks: AsyncIterator[bytes], save: Save) -> ArtifactRef:
    """Save a stream. What breaks it is raised as it is, whatever the store makes of it."""
    broken: list[BaseException] = []

    async def body() -> AsyncIterator[bytes]:
        try:
            async for block in blocks:
                yield block
        except Exception as error:
            broken.append(error)
            raise

    try:
        return await save(body())
    except Exception:
        if broken:
            raise broken[0] from None
        raise


async def _text(name: str, events: _Events) -> str:
    value = bytearray()
    async for event in events:
        if event is None:
            break
        assert isinstance(event, bytes | bytearray)
        value += event
        if len(value) > _FIELD_BYTES_MAX:
            raise Problem(
                400,
                "parameter_too_long",
                f"{name[:64]} has more than the {_FIELD_BYTES_MAX:,} bytes that a parameter may have.",
                field=name[:64],
            )
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "invalid_parameter", f"{name[:64]} is not UTF-8 text.", field=name[:64]) from error
