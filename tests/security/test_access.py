"""Who may do what: every address and every message of the websocket, by every kind of caller.

`ROWS` has a line for each route of the gateway, and a route without one fails the first test. What a caller may not do
is answered byte for byte as if there were nothing.
"""

import asyncio
import json
import typing
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from services.gateway import access, app, documents, messages, page
from services.gateway.assets import scalar_path
from services.gateway.settings import Settings
from tests.security.callers import BYTES, TUS, World, absent, bearer, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWNER = ("owner",)
LOOKERS = ("owner", "share")
TICKETS = ("ticket of the owner", "ticket of the share")
GONE = {"expired job": "expired", "deleted job": "expired"}
"""Jobs that are over: their own callers are told so, and nobody else that there was one."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One address, who may ask it, and what they are answered in the state that things are in."""

    method: str
    path: str
    """As the route has it."""
    thing: str | None = None
    """What the path, or the body, names; None: open to all."""
    may: tuple[str, ...] = ()
    status: int = 200
    code: str | None = None
    denied: tuple[int, str] = (404, "job_not_found")
    ways: tuple[str, ...] = ("header", "query")
    """How the token may come: in a header, in the query, as a ticket, in the body."""
    query: str = ""
    headers: dict[str, str] = {}
    content: bytes = b""
    body: str = ""
    """JSON in which THING and TOKEN are replaced."""
    note: str = ""

    @property
    def name(self) -> str:
        """For the report."""
        return f"{self.method} {self.path} {self.note}".rstrip()


def job(method: str, path: str, may: tuple[str, ...], status: int = 200, code: str | None = None, **more: Any) -> Row:
    return Row(
        method=method, path=f"/api/jobs/{{job_id}}{path}", thing="job", may=may, status=status, code=code, **more
    )


def upload(method: str, status: int, code: str | None = None, **more: Any) -> Row:
    """Of an upload of which a job was made, so that nothing that is allowed changes it."""
    return Row(
        method=method, path="/api/uploads/{upload_id}", thing="upload", may=("holder of the upload",), status=status,
        code=code, denied=(404, "upload_not_found"), **more,
    )  # fmt: skip


def signed(method: str, path: str, status: int = 200, code: str | None = None, **more: Any) -> Row:
    return Row(
        method=method, path=f"/api/uploads/{{upload_id}}{path}", thing="upload signed",
        may=("holder of the upload signed",), status=status, code=code, denied=(404, "upload_not_found"), **more,
    )  # fmt: skip


def batch(method: str, path: str = "", status: int = 200, code: str | None = None) -> Row:
    return Row(
        method=method, path=f"/api/batches/{{batch_id}}{path}", thing="batch", may=("holder of the batch",),
        status=status, code=code, denied=(404, "batch_not_found"),
    )  # fmt: skip


def anyone(method: str, path: str, status: int = 200, code: str | None = None, **more: Any) -> Row:
    return Row(method=method, path=path, status=status, code=code, **more)


_BUILT = (page.STATIC / "service-worker.js").is_file()
_SUBSCRIPTION = json.dumps({"endpoint": "https://push.example.org/x", "keys": {"p256dh": "B" * 87, "auth": "A" * 22}})
_PLAYERS: dict[str, Any] = {"ways": ("header", "query", "ticket")}
ROWS = [
    job("GET", "", LOOKERS),
    job("GET", "/download/{format_name}", LOOKERS),
    job("HEAD", "/download/{format_name}", LOOKERS),
    job("GET", "/download/{format_name}", LOOKERS, query="preset=social", note="in a preset"),
    job("GET", "/download/{format_name}", LOOKERS, query="version=0", note="of a version"),
    job("GET", "/quality", LOOKERS),
    job("GET", "/versions", LOOKERS),
    job("POST", "/versions", OWNER, 422, "nothing_changed", body='{"based_on":0,"restore":0}'),
    job("POST", "/playable", LOOKERS),
    job("GET", "/media", LOOKERS + TICKETS, **_PLAYERS),
    job("HEAD", "/media", LOOKERS + TICKETS, **_PLAYERS),
    job("GET", "/captions", LOOKERS + TICKETS, **_PLAYERS),
    job("GET", "/peaks", LOOKERS),
    job("DELETE", "", OWNER, 409, "not_cancellable"),
    job("DELETE", "", OWNER, 409, "not_cancellable", query="running=true", note="that runs"),
    job("POST", "/retry", OWNER, 409, "not_retryable"),
    job("POST", "/share", OWNER, 201, headers={"Idempotency-Key": "one"}),
    job("GET", "/share", OWNER),
    job("DELETE", "/share/{share_id}", OWNER, 204),
    job("PUT", "/notifications", OWNER, 409, "job_over", body=_SUBSCRIPTION),
    job("DELETE", "/notifications", OWNER, 204),
    upload("HEAD", 200, headers=TUS),
    upload("PATCH", 409, "upload_offset_mismatch", headers=BYTES | {"Upload-Offset": "1"}, content=b"x"),
    upload("DELETE", 409, "upload_used", headers=TUS),
    signed("GET", "/signed"),
    signed("POST", "/complete", 409, "part_missing", body="{}"),
    Row(
        method="PUT", path="/api/uploads/{upload_id}/parts/{number}", thing="upload signed", content=b"x",
        denied=(404, "address_not_found"), note="without its signature",
    ),
    batch("GET"),
    batch("DELETE", status=409, code="batch_beginning"),
    batch("GET", "/download", 409, "not_finished"),
    Row(
        method="POST", path="/api/jobs/check-stale", thing="operator", may=("operator",), denied=(401, "unauthorized"),
        ways=("header",),
    ),
    Row(
        method="POST", path="/api/jobs/submit", thing="upload", may=("holder of the upload",), status=409,
        code="upload_used", denied=(404, "upload_not_found"), ways=("header", "query", "body"),
        body='{"upload_id":"THING","upload_token":TOKEN}', note="of an upload",
    ),
    Row(
        method="POST", path="/api/batches", thing="upload", may=("holder of the upload",), status=409,
        code="upload_used", denied=(404, "upload_not_found"), ways=("body",),
        body='{"items":[{"upload_id":"THING","upload_token":TOKEN}]}', note="of an upload",
    ),
    anyone("POST", "/api/jobs/submit", 400, "malformed_json", headers={"Content-Type": "application/json"}),
    anyone("PUT", "/api/jobs/submit/{filename}", 400, "empty_file", ways=("header",)),
    anyone("GET", "/api/jobs"),
    anyone("POST", "/api/jobs/query", body='{"tokens":[]}'),
    anyone("POST", "/api/batches", 400, "items_missing", body="{}"),
    anyone("POST", "/api/uploads", 400, "invalid_header", headers=TUS),
    anyone("POST", "/api/uploads/signed", 400, "invalid_parameter", body='{"length":0}'),
    anyone("OPTIONS", "/api/uploads", 204),
    anyone("OPTIONS", "/api/uploads/{upload_id}", 204),
    anyone("OPTIONS", "/api/uploads/signed", 204),
    anyone("OPTIONS", "/api/uploads/{upload_id}/signed", 204),
    anyone("OPTIONS", "/api/uploads/{upload_id}/parts/{number}", 204),
    anyone("OPTIONS", "/api/uploads/{upload_id}/complete", 204),
    anyone("GET", "/api/capacity"),
    anyone("GET", "/api/notifications/key"),
    anyone("GET", "/health/live"),
    anyone("GET", "/health/ready"),
    anyone("GET", "/"),
    anyone("GET", "/jobs/{job_id}"),
    anyone("GET", "/docs"),
    anyone("GET", "/asyncapi"),
    anyone("GET", "/asyncapi.json"),
    anyone("GET", "/assets/pages.css"),
    anyone("GET", "/assets/scalar.js", *((200, None) if scalar_path().is_file() else (404, "not_installed"))),
    anyone("GET", "/assets/web/{name}", 404, "not_found"),
    anyone("GET", "/service-worker.js", *((200, None) if _BUILT else (404, "not_found"))),
    anyone("GET", "/schema"),
    anyone("GET", "/schema/openapi.json"),
    anyone("GET", "/schema/{path}", 404),
]  # fmt: skip

ABSENT = "nothing"
_MALFORMED: list[dict[str, str | bytes]] = [
    {"Authorization": "Bearer"},
    {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="},
    {"Authorization": "OWNER"},
    {"Authorization": "Bearer OWNER OWNER"},
    {"Authorization": b"Bearer \xff\xfe\xfd"},
    {"Authorization": "Bearer " + "x" * 5000},
]
"""Headers that have no token in them; OWNER is the owner's."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def there() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def send(
    there: World, row: Row, thing_id: str, way: str | None, token: str | None, headers: dict[str, Any] | None = None
) -> httpx.Response:
    """Ask what a row asks, of a thing, with a token that comes some way."""
    parts = {
        "job_id": thing_id, "upload_id": thing_id, "batch_id": thing_id, "format_name": "srt", "filename": "talk.mp4",
        "share_id": there.ids["revoked share"], "number": "2", "name": "page.js", "path": "elsewhere",
    }  # fmt: skip
    query = row.query
    given = row.headers | (headers or {})
    if way == "header" and token is not None:
        given = given | bearer(token)
    elif way in ("query", "ticket") and token is not None:
        query += ("&" if query else "") + str(httpx.QueryParams({"token" if way == "query" else way: token}))
    content = row.content
    if row.body:
        given = given | {"Content-Type": "application/json"}
        content = (
            row.body.replace("THING", thing_id).replace("TOKEN", json.dumps(token if way == "body" else None)).encode()
        )
    path = row.path.format(**parts) + (f"?{query}" if query else "")
    raw = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in given.items()]
    return await there.gateway.http.request(row.method, path, content=content, headers=raw)


def told(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """All that a caller can see of an answer, but for when it came."""
    headers = sorted((name, value) for name, value in answer.headers.multi_items() if name != "date")
    return answer.status_code, headers, answer.content


def said(answer: httpx.Response) -> tuple[int, str | None]:
    """Status and code."""
    is_problem = answer.headers.get("content-type") == "application/problem+json" and answer.content
    return answer.status_code, answer.json()["code"] if is_problem else None


def expected(row: Row, thing: str, who: str, way: str) -> tuple[int, str | None]:
    """What the table says of one cell."""
    is_ticket = who.startswith("ticket")
    if (way == "ticket" and not is_ticket) or (way != "ticket" and is_ticket):
        return row.denied
    if thing == row.thing and who in row.may:
        return row.status, row.code
    if thing in GONE and (who == f"owner of the {thing}" or (who == f"share of the {thing}" and "share" in row.may)):
        return 410, GONE[thing]
    return row.denied


def cells(there: World, row: Row, thing: str) -> list[tuple[str, str]]:
    """The callers of a thing: all, of that which the row is about; of others, those who might have to do with it."""
    everybody = ["nobody", *there.tokens]
    if thing == row.thing:
        return [(who, way) for who in everybody for way in row.ways]
    some = {"nobody", "owner", "share", "wrong token", "operator", "holder of the upload", "holder of the batch"}
    return [(who, row.ways[0]) for who in everybody if who in some or who.endswith(thing)]


def of_kind(row: Row) -> list[str]:
    """The things that an address is asked for."""
    match row.thing:
        case "job":
            return ["job", *GONE, "upload", "batch", ABSENT]
        case "upload":
            return ["upload", "upload gone by", ABSENT]
        case "upload signed":
            return ["upload signed", "job", ABSENT]
        case "batch":
            return ["batch", "job", ABSENT]
        case other:
            return [str(other)]


async def test_every_route_has_its_row(there: World) -> None:
    served = {
        (method, route.path_format)
        for route in await _routes()
        for method in getattr(route, "methods", ())
        if method != "OPTIONS" or route.path_format.startswith("/api/uploads")
    }
    assert served == {(row.method, row.path) for row in ROWS}


@pytest.mark.parametrize("row", [row for row in ROWS if row.thing], ids=lambda row: row.name)
async def test_who_may_is_answered_and_who_may_not_learns_nothing(there: World, row: Row) -> None:
    nothing = await send(there, row, absent(str(row.thing)), None, None)
    assert nothing.status_code == row.denied[0]
    allowed = set()
    for thing in of_kind(row):
        thing_id = there.ids[thing] if thing in there.ids else absent(str(row.thing))
        for who, way in cells(there, row, thing):
            if way == "ticket" and who == "endless token":
                continue  # refused as too long, whatever is there
            answer = await send(there, row, thing_id, way, there.tokens.get(who))
            wanted = expected(row, thing, who, way)
            where = f"{row.name}: {thing}, {who}, by {way}: {answer.text}"
            if wanted == row.denied and wanted != (row.status, row.code):
                assert told(answer) == told(nothing), where
            else:
                assert said(answer) == (wanted if row.method != "HEAD" else (wanted[0], None)), where
                allowed.add((who, way))
        for header in _MALFORMED if thing == row.thing else []:
            value = header["Authorization"]
            given = value if isinstance(value, bytes) else value.replace("OWNER", there.tokens["owner"])
            answer = await send(there, row, thing_id, None, None, {"Authorization": given})
            assert told(answer) == told(nothing), f"{row.name}: {thing}, {header}"
    assert {who for who, _ in allowed} >= set(row.may)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.thing], ids=lambda row: row.name)
async def test_what_is_open_to_all_is_the_same_for_all(there: World, row: Row) -> None:
    for who in (None, "owner", "share", "revoked share", "wrong token", "operator"):
        for way in row.ways:
            answer = await send(there, row, absent("job"), way, there.tokens[who] if who else None)
            assert said(answer) == (row.status, row.code), f"{row.name}: {who}, by {way}: {answer.text}"


async def test_the_header_counts_where_the_query_says_something_else(there: World) -> None:
    path, owner, wrong = f"/api/jobs/{there.ids['job']}", there.tokens["owner"], there.tokens["wrong token"]
    http = there.gateway.http
    assert (await http.get(path, params={"token": wrong}, headers=bearer(owner))).status_code == 200
    assert (await http.get(path, params={"token": owner}, headers=bearer(wrong))).status_code == 404


async def test_the_operator_is_no_one_special_by_query(there: World) -> None:
    answer = await there.gateway.http.post(f"/api/jobs/check-stale?token={there.tokens['operator']}")
    assert said(answer) == (401, "unauthorized")


async def test_a_list_has_what_its_tokens_open_and_no_more(there: World) -> None:
    opened = {
        "owner": ["job"], "share": ["job"], "owner of another job": ["job of another"], "revoked share": [],
        "wrong token": [], "operator": [], "hash of the owner's token": [], "holder of the upload": [],
        "holder of the batch": [], "ticket of the owner": [], "endless token": [], "owner of the deleted job": None,
        "owner of the expired job": None,
    }  # fmt: skip
    for who, things in opened.items():
        by_query = await there.gateway.http.get("/api/jobs", params={"tokens": there.tokens[who]})
        by_body = await there.gateway.http.post("/api/jobs/query", json={"tokens": [there.tokens[who]]})
        listed = [one["job_id"] for one in by_query.json()["jobs"]]
        assert listed == [one["job_id"] for one in by_body.json()["jobs"]]
        assert listed == [there.ids[thing] for thing in things or []], who


async def test_an_id_that_nothing_can_have_is_as_one_that_nothing_has(there: World) -> None:
    answers = [
        await there.gateway.http.get(f"/api/{kind}/{thing_id}", headers=bearer(there.tokens["owner"]))
        for kind in ("jobs", "batches")
        for thing_id in (absent("job"), "x", "any.*", "job.%3E", "a b", "é", "%00", "f" * 64)
    ]
    assert len({str(told(answer)) for answer in answers}) == 2


async def test_a_token_may_be_so_long_and_no_longer(there: World) -> None:
    async with connect(there.gateway.ws_url) as socket:
        for length, code in (
            (access.TOKEN_LENGTH_MAX, "job_not_found"),
            (access.TOKEN_LENGTH_MAX + 1, "invalid_message"),
        ):
            await socket.send(json.dumps({"type": "subscribe", "job_id": there.ids["job"], "token": "x" * length}))
            answer = json.loads(await asyncio.wait_for(socket.recv(), 10))
            assert answer["code"] == code
    assert str(access.TOKEN_LENGTH_MAX) in answer["message"]


async def test_every_message_of_the_websocket_has_its_row(there: World) -> None:
    kinds = typing.get_args(messages.AnyClientMessage)
    assert {kind.__struct_config__.tag for kind in kinds} == set(_MESSAGES)


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe", "ping"])
async def test_a_websocket_tells_each_caller_what_an_address_would(there: World, kind: str) -> None:
    for thing in ("job", *GONE, "upload", "batch", ABSENT):
        thing_id = there.ids.get(thing) or absent("job")
        for who in ("nobody", *there.tokens) if thing == "job" else ("owner", "share", f"owner of the {thing}"):
            token = there.tokens.get(who, "")
            async with connect(f"{there.gateway.ws_url}?token={there.tokens['owner']}") as socket:
                await socket.send(json.dumps({"type": kind, "job_id": thing_id, "token": token}))
                await socket.send(json.dumps({"type": "ping"}))
                answers = [json.loads(await asyncio.wait_for(socket.recv(), 10))]
                while answers[-1]["type"] != "pong":
                    answers.append(json.loads(await asyncio.wait_for(socket.recv(), 10)))
            wanted = _MESSAGES[kind](thing, who)
            assert [one.get("code", one["type"]) for one in answers[:1]] == [wanted], f"{kind}: {thing}, {who}"
            if wanted == "job_not_found":
                answers[0].pop("job_id")
                assert answers[0] == {
                    "type": "error",
                    "code": "job_not_found",
                    "message": "There is no such job, or this token does not open it.",
                }
                assert len(answers) == 2


def _subscribed(thing: str, who: str) -> str:
    if who == "endless token":
        return "invalid_message"
    if thing == "job" and who in LOOKERS:
        return "snapshot"
    if thing in GONE and who in (f"owner of the {thing}", f"share of the {thing}"):
        return GONE[thing]
    return "job_not_found"


_MESSAGES: dict[str, Callable[[str, str], str]] = {
    "subscribe": _subscribed,
    "unsubscribe": lambda thing, who: "pong",
    "ping": lambda thing, who: "pong",
}
"""The first answer to each message."""


async def _routes() -> list[Any]:
    """The routes of the app as it is served: it leaves itself in the scope of whoever asks."""

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def sent(_: Any) -> None:
        return

    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/health/live", "raw_path": b"/health/live", "query_string": b"",
        "headers": [(b"host", b"localhost")], "scheme": "http", "http_version": "1.1", "root_path": "",
        "server": ("", 80), "client": ("", 0), "asgi": {"version": "3.0"},
    }  # fmt: skip
    await app.build(Settings(), **dict.fromkeys(documents._parts()))(scope, receive, sent)
    routes: list[Any] = scope["litestar_app"].routes
    return routes
