"""A submit that names its recording instead of sending it, in JSON."""

from typing import Any

import msgspec

from contracts.parameters import Parameters
from services.gateway import form
from services.gateway.problems import Problem

ITEMS_MAX = 100
"""Recordings of one batch: its fact has to fit into a message of the log."""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which recording, and what to call it."""

    upload_id: str | None = None
    """A finished upload."""
    upload_token: str | None = None
    """What the creation of the upload answered; may be sent as `Authorization: Bearer` instead."""
    source_url: str | None = None
    """Where the recording is to be fetched from, instead of an upload."""
    filename: str | None = None
    """Default: as the upload is called, or what is at the address."""


class NamedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch asks for."""

    sources: list[Source]
    parameters: Parameters


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What a submit asks for."""

    source: Source
    parameters: Parameters


def read(body: bytes) -> Named:
    """The JSON object of a submit: a source and, beside it, parameters. Raises Problem naming the field."""
    values = _object(body)
    own = {name: values.pop(name) for name in Source.__struct_fields__ if name in values}
    parameters = form.parameters(values)
    return Named(source=_source(own), parameters=parameters)


def read_batch(body: bytes) -> NamedBatch:
    """The JSON object of a batch: `items`, each a source, and beside them parameters for all. Raises Problem."""
    values = _object(body)
    items = values.pop("items", None)
    if not isinstance(items, list) or not items:
        raise Problem(400, "items_missing", "Name the recordings: give items, a list.", field="items")
    if len(items) > ITEMS_MAX:
        raise Problem(
            400,
            "too_many_items",
            f"The batch has {len(items):,} items, and at most {ITEMS_MAX} are taken at once.",
            field="items",
        )
    parameters = form.parameters(values)
    sources = []
    for n, item in enumerate(items):
        try:
            sources.append(_source(item))
        except Problem as problem:
            raise in_item(n, problem) from None
    return NamedBatch(sources=sources, parameters=parameters)


def in_item(n: int, problem: Problem) -> Problem:
    """The same, saying which item of a batch is meant."""
    document = problem.document
    field = f"items[{n}].{document.field}" if document.field else f"items[{n}]"
    return Problem(document.status, document.code, f"items[{n}]: {document.detail}", field=field)


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed_json", "The request is no JSON object.") from error


def _source(own: object) -> Source:
    if not isinstance(own, dict):
        raise Problem(400, "invalid_parameter", "A recording is named by an object.")
    for name, value in own.items():
        if name not in Source.__struct_fields__:
            raise Problem(400, "unknown_parameter", f"{name[:64]} is not known here.", field=name[:64])
        if not isinstance(value, str | None):
            raise Problem(400, "invalid_parameter", f"{name} is no text.", field=name)
    source = msgspec.convert(own, Source)
    if not source.upload_id and not source.source_url:
        raise Problem(
            400,
            "source_missing",
            "Name the recording: give upload_id, or source_url for an address.",
            field="upload_id",
        )
    if source.upload_id and source.source_url:
        raise Problem(400, "several_sources", "Give upload_id or source_url, not both.", field="source_url")
    return source
