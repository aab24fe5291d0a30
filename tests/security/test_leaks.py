"""No token is written down: not in a log, a subject, a row, an artifact, nor an answer but the one that gives it out.

Real processes log as they do in production, at the level that says most. Every address and the websocket are asked with
every kind of token, rightly and wrongly, while the broker and the database run and while they do not.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from cli.standalone.server import free_port
from contracts.projection import SCHEMA
from tests.integration.conftest import Gateway, until
from tests.origin import Origin, Request, origin
from tests.security.callers import SETTINGS, TUS, Servers, World, bearer, servers
from tests.security.test_access import ROWS, send

KEY = "an-idempotency-key-that-nobody-else-knows"
ADDRESS_SECRET = "signature-of-the-address"
_ASKING = (
    "owner", "share", "revoked share", "wrong token", "operator", "owner of the deleted job",
    "owner of the expired job", "holder of the upload", "holder of the batch", "ticket of the owner",
    "holder of the upload signed", "signature of the upload signed", "part of the owner's token",
)  # fmt: skip
_OTHERS = "from chassis.service import main\n" + "".join(
    f"from services.{name}.app import serve as {name}\n" for name in ("dispatcher", "fetcher", "projector", "janitor")
) + "main({'dispatcher': dispatcher, 'fetcher': fetcher, 'projector': projector, 'janitor': janitor})"  # fmt: skip
_ROOM = {"SUBTIDE_RETRY_DELAY_S": "0.1", "SUBTIDE_MAX_ACTIVE_JOBS": "100", "SUBTIDE_MAX_ACTIVE_PER_OWNER": "100"}
"""So that what nobody works on here is in nobody's way."""
_GIVES = re.compile(
    r"(?:POST /api/(?:jobs/submit|uploads(?:/signed)?|batches|jobs/[0-9a-f]+/share)|PUT /api/jobs/submit/.*)"
)
"""Answers that give out a token, once."""


class Heard:
    """Everything that callers were answered."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str]] = []
        self.given: dict[str, str] = {}
        """Token to the answer that gave it out."""

    async def hear(self, answer: httpx.Response) -> None:
        """Keep an answer, without the tokens that it gives out for the first time."""
        content = (await answer.aread()).decode(errors="replace")
        what = f"{answer.request.method} {answer.request.url.path}"
        text = f"{answer.status_code} {dict(answer.headers)} {content}"
        if answer.is_success and _GIVES.fullmatch(what):
            again = "idempotency-key" in answer.request.headers
            for token in _tokens(json.loads(content)):
                assert again or token not in self.given, what
                self.given[token] = what
                text = text.replace(token, "...")
        if answer.is_success and what.endswith("/playable"):
            text = re.sub(r"ticket=[0-9a-f.]+", "ticket=...", text)
        if answer.is_success and what.endswith("/signed"):
            text = re.sub(r"signature=[0-9a-f]+", "signature=...", text)
        self.answers.append((what, text))


class Process:
    """A service as it is started in production; its log goes to a file."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        self._arguments = arguments

    @asynccontextmanager
    async def running(self, environ: dict[str, str]) -> AsyncIterator[None]:
        """For as long as the context lasts."""
        with self.log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *self._arguments, env=os.environ | environ, stdout=file, stderr=file
            )
            try:
                yield
                assert process.returncode is None, self.log.read_text()
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.wait()


async def test_no_token_is_found_anywhere_afterwards() -> None:
    heard = Heard()
    async with AsyncExitStack() as stack:
        on = await stack.enter_async_context(
            servers(SUBTIDE_LOG_LEVEL="debug", SUBTIDE_FETCHER_ALLOW="127.0.0.1", **_ROOM)
        )
        away = await stack.enter_async_context(origin())
        port = free_port()
        environ = on.environ | {"SUBTIDE_GATEWAY_PORT": str(port)}
        gateway_log = Process(on.folder / "gateway.log", "-m", "services.gateway")
        others_log = Process(on.folder / "others.log", "-c", _OTHERS)
        async with gateway_log.running(environ):
            url = f"http://127.0.0.1:{port}"
            http = await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, timeout=20, event_hooks={"response": [heard.hear]})
            )
            there = World(Gateway(url, http, asyncio.Event(), asyncio.current_task()), on.client, on.store)  # type: ignore[arg-type]
            await until(lambda: _answers(http), 30)
            await there.fill()
            async with others_log.running(environ):
                await _name_addresses(there, away)
                await _ask_everything(there)
                await _ask_wrongly(there, heard)
                await _break_and_ask(there, on, heard)
        secrets = _secrets(there, heard)
        assert len(secrets) > 30
        logs = [(str(one.log), one.log.read_text()) for one in (gateway_log, others_log)]
        streams = [entry async for entry in _stored_messages(on)]
        for written in (heard.answers, logs, streams, await _rows(on)):
            assert _found([there.ids["job"]], written), "what was to be looked at is not here"
            assert _found(secrets, written) == []
        assert _found_in_files(secrets, on.folder) == []
        assert _found([ADDRESS_SECRET], [*heard.answers, *logs]) == []
        log = gateway_log.log.read_text()
        for said in ("request_crashed", "waiting_for_broker", '"status": 503', '"status": 413', '"path": "/ws"'):
            assert said in log, "what was to be looked at did not happen"


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/health/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def _name_addresses(there: World, away: Origin) -> None:
    """Recordings at addresses that say a secret: one that answers 404, some that may not be, some that are none."""

    async def not_found(request: Request) -> None:
        await request.answer(b"", 404)

    away.handle = not_found
    http = there.gateway.http
    answer = await http.post(
        "/api/jobs/submit", json={"source_url": f"{away.url}/{ADDRESS_SECRET}/talk.mp4?sig={ADDRESS_SECRET}"}
    )
    assert answer.status_code == 202, answer.text
    job = answer.json()

    async def is_over() -> bool:
        shown = await http.get(f"/api/jobs/{job['job_id']}", headers=bearer(job["access_token"]))
        return bool(shown.json()["status"] == "failed")

    await until(is_over, 30)
    for url in (
        f"http://user:{ADDRESS_SECRET}@127.0.0.1/talk.mp4",
        f"ftp://127.0.0.1/{ADDRESS_SECRET}",
        f"http://10.0.0.1/?sig={ADDRESS_SECRET}",
        f"http://[{ADDRESS_SECRET}/",
    ):
        answer = await http.post("/api/jobs/submit", json={"source_url": url})
        assert answer.status_code in (202, 400), answer.text
        await http.post("/api/batches", json={"items": [{"source_url": url}]})


async def _ask_everything(there: World) -> None:
    for row in ROWS:
        thing_id = there.ids.get(str(row.thing), there.ids["job"])
        for who in _ASKING:
            for way in row.ways:
                await send(there, row, thing_id, way, there.tokens[who])
    for who in _ASKING:
        token = there.tokens[who]
        await there.gateway.http.get("/api/jobs", params={"tokens": token})
        await there.gateway.http.post("/api/jobs/query", json={"tokens": [token]})
        for message in (
            {"type": "subscribe", "job_id": there.ids["job"], "token": token, "since": 0},
            {"type": token},
            {"type": "subscribe", "job_id": token, "token": token},
            {"type": "subscribe", "job_id": there.ids["job"], "token": [token]},
        ):
            async with connect(f"{there.gateway.ws_url}?token={token}") as socket:
                await socket.send(json.dumps(message))
                await socket.recv()


async def _ask_wrongly(there: World, heard: Heard) -> None:
    """What is refused before a route is asked, or by the framework."""
    http = there.gateway.http
    for who in ("owner", "wrong token"):
        token = there.tokens[who]
        job = f"/api/jobs/{there.ids['job']}"
        for way in ({"params": {"token": token}}, {"headers": bearer(token)}):
            given: dict[str, Any] = way
            await http.get("/nothing/here", **given)
            await http.put(job, **given)
            await http.get(f"{job}?running=perhaps", **given)
            await http.post("/api/jobs/submit", content=b"{", **_typed(given))
            await http.post("/api/jobs/submit", content=b"x" * 100_000, **_typed(given))
            await http.post("/api/jobs/query", content=b'{"tokens":' + b"[" * 100_000, **_typed(given))
            await http.get(job, **{**given, "headers": given.get("headers", {}) | {"Host": "elsewhere.example.org"}})
            await http.post(f"{job}/share", **{**given, "headers": given.get("headers", {}) | {"Idempotency-Key": KEY}})
            await http.post(
                f"{job}/share", **{**given, "headers": given.get("headers", {}) | {"Idempotency-Key": f"{KEY} two"}}
            )
        await http.get("/api/jobs", params={"tokens": token, "page": "x"})
        await http.get("/api/jobs", params={"tokens": token, "page": "0", "per_page": token})
        await http.get(job, params={"token": [token, "another"]})
        try:
            await connect(f"{there.gateway.ws_url}?token={token}", origin="https://elsewhere.example.org")  # type: ignore[arg-type]
        except WebSocketException as error:
            heard.answers.append(("WEBSOCKET", str(error)))
        reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
        writer.write(f"GET {job}?token={token} HTTP/1.1\r\nBroken header {token}\r\n\r\n".encode())
        heard.answers.append(("no HTTP", (await asyncio.wait_for(reader.read(), 10)).decode(errors="replace")))
        writer.close()


async def _break_and_ask(there: World, on: Servers, heard: Heard) -> None:
    """A stored file that is broken, then the database away, then the broker."""
    view = await there.joblog.view(there.ids["job"])
    assert view is not None
    assert view.peaks is not None
    await there.store.delete(view.peaks.key)
    await there.store.put(view.peaks.key, b"{")
    http, owner = there.gateway.http, there.tokens["owner"]
    for way in ({"params": {"token": owner}}, {"headers": bearer(owner)}):
        given: dict[str, Any] = way
        assert (await http.get(f"/api/jobs/{there.ids['job']}/peaks", **given)).status_code == 500
    on.postgres.stop()
    assert (await http.get("/api/jobs", params={"tokens": owner})).status_code == 503
    on.broker.stop()

    async def ask(method: str, path: str, way: dict[str, Any]) -> None:
        assert (await http.request(method, path, **way)).status_code in (404, 412, 503), path

    async def subscribe(token: str) -> None:
        async with connect(there.gateway.ws_url) as socket:
            await socket.send(json.dumps({"type": "subscribe", "job_id": there.ids["job"], "token": token}))
            heard.answers.append(("WEBSOCKET", str(await socket.recv())))

    job = f"/api/jobs/{there.ids['job']}"
    asked = [("GET", job), ("POST", f"{job}/share"), ("HEAD", f"/api/uploads/{there.ids['upload']}")]
    await asyncio.gather(
        *(
            ask(method, path, {**way, "headers": TUS | way.get("headers", {})})
            for who in ("owner", "holder of the upload", "wrong token")
            for way in ({"params": {"token": there.tokens[who]}}, {"headers": bearer(there.tokens[who])})
            for method, path in asked
        ),
        *(subscribe(there.tokens[who]) for who in ("owner", "wrong token")),
    )
    on.broker.start()
    on.postgres.start()
    await until(lambda: _answers(http), 30)


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "headers": given.get("headers", {}) | {"Content-Type": "application/json"}}


def _tokens(body: Any) -> list[str]:
    """The tokens that an answer gives out."""
    jobs = body.get("jobs", [])
    return [one[name] for one in [body, *jobs] for name in one if name.endswith("_token")]


def _secrets(there: World, heard: Heard) -> list[str]:
    hashes = {"hash of the owner's token"}
    known = {token for who, token in there.tokens.items() if who not in hashes}
    return sorted({*known, *heard.given, KEY, SETTINGS["SUBTIDE_GATEWAY_SECRET"]})


def _found(secrets: list[str], texts: list[tuple[str, str]]) -> list[str]:
    return [f"{where}: {_around(text, secret)}" for where, text in texts for secret in secrets if secret in text]


def _around(text: str, secret: str) -> str:
    at = text.index(secret)
    return text[max(0, at - 200) : at + 100]


async def _stored_messages(on: Servers) -> AsyncIterator[tuple[str, str]]:
    """Every message of every stream, the buckets' too: subject, headers, body."""
    js = on.client.jetstream(timeout=10)
    for info in await js.streams_info():
        assert info.config.name is not None
        for seq in range(info.state.first_seq, info.state.last_seq + 1):
            try:
                message = await js.get_msg(info.config.name, seq)
            except Exception:  # noqa: BLE001 - a number that was removed
                continue
            body = (message.data or b"").decode(errors="replace")
            yield f"{info.config.name} {seq}", f"{message.subject} {message.headers} {body}"


async def _rows(on: Servers) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(on.postgres.url)
    try:
        tables = await connection.fetch(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = $1", SCHEMA
        )
        assert len(tables) > 2
        return [
            (table["table_name"], row["said"])
            for table in tables
            for row in await connection.fetch(f'SELECT row(t.*)::text AS said FROM {SCHEMA}."{table["table_name"]}" t')
        ]
    finally:
        await connection.close()


def _found_in_files(secrets: list[str], folder: Path) -> list[str]:
    """In what the store, the broker and the database have on disk, what their servers logged, and names of files."""
    wanted = re.compile(b"|".join(re.escape(secret.encode()) for secret in secrets))
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and (wanted.search(path.read_bytes()) or wanted.search(str(path).encode()))
    ]
