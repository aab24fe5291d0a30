"""A JSON body of one shape and nothing else in it: how it is read, and how it is described."""

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

from services.gateway import incoming
from services.gateway.openapi import properties
from services.gateway.problems import Problem

B = TypeVar("B", bound=msgspec.Struct)

_AT = re.compile(r" - at `\$\.?(\w*)[^`]*`$")
_MISSING = re.compile(r"missing required field `([^`]*)`")
_UNKNOWN = re.compile(r"unknown field `(.*)`", re.DOTALL)


async def read(
    request: Request[Any, Any, Any],
    kind: type[B],
    *,
    may_be_empty: bool = False,
    max_bytes: int = incoming.JSON_BYTES_MAX,
) -> B:
    """The body as a Struct that forbids what it does not know. Raises Problem naming the field."""
    body = await incoming.whole(request, max_bytes)
    if may_be_empty and not body:
        return kind()
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "not_json", "Send the body as application/json.")
    try:
        given = msgspec.json.decode(body, type=dict[str, Any])
        return msgspec.convert(_numbers(given), kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed_json", "The request is no JSON object.") from error


def described(kind: type[msgspec.Struct], *, may_be_empty: bool = False) -> type[Operation]:
    """The operation whose body `read` reads."""

    @dataclass
    class Shaped(Operation):
        def __post_init__(self) -> None:
            schema = Schema(
                type=OpenAPIType.OBJECT,
                properties=properties(kind),
                required=[field.encode_name for field in msgspec.structs.fields(kind) if field.required],
                additional_properties=False,
            )
            content = {"application/json": OpenAPIMediaType(schema=schema)}
            self.request_body = RequestBody(required=not may_be_empty, content=content)

    return Shaped


def _numbers(value: object) -> object:
    """JSON has one kind of number: 10.0 is an integer (JSON Schema, 6.1.1)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return value


def _invalid(reason: str) -> Problem:
    what = _AT.sub("", reason)
    if unknown := _UNKNOWN.search(what):
        return Problem(400, "unknown_parameter", f"{unknown[1][:64]} is not known here.", field=unknown[1][:64])
    if missing := _MISSING.search(what):
        return Problem(400, "invalid_parameter", f"{missing[1]} is missing.", field=missing[1])
    at = _AT.search(reason)
    if at is None or not at[1]:
        return Problem(400, "malformed_json", f"The request is not as it should be: {what}.")
    return Problem(400, "invalid_parameter", f"{at[1]}: {what}.", field=at[1])
