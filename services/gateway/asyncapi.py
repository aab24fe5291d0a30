"""The AsyncAPI 3.0 document of the facts and of the websocket, made from the types themselves."""

from html import escape
from typing import Any, get_args

import msgspec

from contracts import facts, topology
from contracts.progress import LiveProgress
from services.gateway import messages

_FACTS: tuple[type[facts.Fact], ...] = get_args(facts.AnyFact)
_CLIENT: tuple[type[msgspec.Struct], ...] = get_args(messages.AnyClientMessage)
_SERVER: tuple[type[msgspec.Struct], ...] = get_args(messages.AnyServerMessage)


def document(version: str) -> dict[str, Any]:
    """The document as plain data."""
    types: list[type[msgspec.Struct]] = [*_FACTS, LiveProgress, *_CLIENT, *_SERVER]
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    channels = {facts.name(fact): _fact_channel(fact) for fact in _FACTS}
    channels["progress"] = {
        "address": "progress.{job_id}.{stage}",
        "description": "How far a stage is. Kept in memory, the last word only.",
        "parameters": {"job_id": {"description": "The job."}, "stage": {"description": "The stage."}},
        "messages": {"LiveProgress": {"$ref": "#/components/messages/LiveProgress"}},
    }
    channels["websocket"] = {
        "address": "/ws",
        "description": "Any number of jobs on one connection.",
        "messages": {one.__name__: {"$ref": f"#/components/messages/{one.__name__}"} for one in (*_CLIENT, *_SERVER)},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Subtide facts",
            "version": version,
            "description": f"The stream {topology.JOBS}: what has happened to every job, in the past tense, as JSON. "
            f"Everything is republished under {topology.LIVE}. for those who only listen.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {
            **{
                f"append-{name}": _operation("send", name) for name in channels if name not in ("progress", "websocket")
            },
            "report-progress": _operation("send", "progress"),
            "watch": {
                "action": "send",
                "channel": {"$ref": "#/channels/websocket"},
                "messages": [{"$ref": f"#/channels/websocket/messages/{one.__name__}"} for one in _SERVER],
            },
            "ask": {
                "action": "receive",
                "channel": {"$ref": "#/channels/websocket"},
                "messages": [{"$ref": f"#/channels/websocket/messages/{one.__name__}"} for one in _CLIENT],
            },
        },
        "components": {
            "schemas": schemas,
            "messages": {
                one.__name__: {
                    "name": one.__name__,
                    "summary": _summary(one),
                    "payload": {"$ref": f"#/components/schemas/{one.__name__}"},
                }
                for one in types
            },
        },
    }


def page(described: dict[str, Any]) -> str:
    """The document as HTML that needs no script."""
    sections = []
    for name, channel in described["channels"].items():
        shown = []
        for message in channel["messages"]:
            schema = msgspec.json.format(msgspec.json.encode(described["components"]["schemas"][message]), indent=2)
            shown.append(
                f"<h3>{escape(message)}</h3><p>{escape(described['components']['messages'][message]['summary'])}</p>"
                f"<details><summary>Schema</summary><pre>{escape(schema.decode())}</pre></details>"
            )
        sections.append(
            f'<section id="{escape(name)}"><h2>{escape(name)}</h2><p><code>{escape(channel["address"])}</code></p>'
            f"{''.join(shown)}</section>"
        )
    links = " ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in described["channels"])
    info = described["info"]
    return (
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>"
        f'<p>As JSON: <a href="/asyncapi.json">/asyncapi.json</a></p><nav>{links}</nav>{"".join(sections)}'
    )


def _fact_channel(fact: type[facts.Fact]) -> dict[str, Any]:
    parameters = {"owner": "Whose job.", "job_id": "The job.", "run": "Counts manual retries, from 1."}
    address = f"job.{facts.name(fact)}.{{owner}}.{{job_id}}.{{run}}"
    if issubclass(fact, facts.NumberedFact):
        parameters["n"] = "Number within the run."
        address += ".{n}"
    return {
        "address": address,
        "description": _summary(fact),
        "parameters": {name: {"description": text} for name, text in parameters.items()},
        "messages": {fact.__name__: {"$ref": f"#/components/messages/{fact.__name__}"}},
    }


def _operation(action: str, channel: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


def _summary(kind: type[msgspec.Struct]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]
