"""What a client may not: too often, too much at once, too large, too slowly. Each at its limit and one past it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chassis.joblog import JobLog
from chassis.store import Store
from contracts.longest import Longest
from services.extractor.settings import Settings as ExtractorSettings
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.stages import Stages

HEAD_BYTES = 64 << 10
RIGHT = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
SMALL = {"SUBTIDE_GATEWAY_UPLOAD_LEASE_S": "0.5"}


class Raw:
    """A connection on which bytes are sent as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def answer(self, timeout_s: float = 10.0) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        async with asyncio.timeout(timeout_s):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status = int(head.split()[1])
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:] if line)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return status, headers, body

    async def ended(self, timeout_s: float = 10.0) -> bytes:
        """What still comes until the other side ends."""
        async with asyncio.timeout(timeout_s):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


async def opened(gateway: Gateway, **options: Any) -> Raw:
    host, port = gateway.url.removeprefix("http://").split(":")
    return Raw(*await asyncio.open_connection(host, int(port), **options))


async def dripping(raw: Raw, content: bytes) -> tuple[int, dict[str, str], bytes]:
    """The answer to somebody who goes on sending a little until it comes."""
    answering = asyncio.create_task(raw.answer())
    while not answering.done():
        await raw.send(content)
        await asyncio.sleep(0.02)
    return await answering


@pytest.fixture
async def hasty(environ: dict[str, str]) -> AsyncIterator[Gateway]:
    """A gateway that does not wait long for anything."""
    settings = {
        "SUBTIDE_GATEWAY_HEADER_S": "0.4",
        "SUBTIDE_GATEWAY_BODY_IDLE_S": "0.5",
        "SUBTIDE_GATEWAY_WRITE_IDLE_S": "0.5",
        **SMALL,
    }
    async with running_gateway(environ | settings) as running:
        yield running


def problem(body: bytes, code: str) -> str:
    """The sentence of a problem document."""
    told: dict[str, Any] = json.loads(body)
    assert told["code"] == code, told
    return str(told["detail"])


async def test_requests_beyond_the_rate_are_refused_and_told_when_to_come_back(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_REQUESTS_PER_MINUTE": "3"}) as gateway:
        for left in (2, 1, 0):
            answer = await gateway.http.get("/api/capacity")
            assert answer.status_code == 200
            assert answer.headers["ratelimit"].startswith(f'"requests";r={left};t=')
            assert answer.headers["ratelimit-policy"] == '"requests";q=3;w=60'
        refused = await gateway.http.get("/api/capacity")
        assert refused.status_code == 429
        assert "3 requests a minute" in problem(refused.content, "rate_limited")
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')
        assert (await gateway.http.get("/health/live")).status_code == 200
        with pytest.raises(InvalidStatus) as handshake:
            await connect(gateway.ws_url)
        assert handshake.value.response.status_code == 429


async def test_submits_beyond_the_rate_are_refused_before_their_bytes_are_read(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_SUBMITS_PER_MINUTE": "2"}) as gateway:
        await gateway.submit()
        await gateway.submit()
        refused = await gateway.http.post("/api/jobs/submit", files={"file": ("talk.mp4", b"sound" * 1_000_000)})
        assert refused.status_code == 429
        assert "2 requests a minute that create" in problem(refused.content, "rate_limited")


async def test_tokens_that_open_nothing_are_refused_after_so_many_and_right_ones_go_on(
    environ: dict[str, str],
) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_WRONG_TOKENS_PER_MINUTE": "3"}) as gateway:
        job = await gateway.submit()
        address, right = f"/api/jobs/{job['job_id']}", {"Authorization": f"Bearer {job['access_token']}"}
        assert (await gateway.http.get(address, headers=right)).status_code == 200
        statuses = [(await gateway.http.get(address, params={"token": f"guess{n}"})).status_code for n in range(4)]
        assert statuses == [404, 404, 404, 429]
        assert (await gateway.http.get(address, headers=right)).status_code == 200


async def test_an_upload_in_many_pieces_is_not_slowed_down(environ: dict[str, str]) -> None:
    async with running_gateway(environ | SMALL | {"SUBTIDE_GATEWAY_REQUESTS_PER_MINUTE": "10"}) as gateway:
        tus = {"Tus-Resumable": "1.0.0"}
        created = await gateway.http.post("/api/uploads", headers=tus | {"Upload-Length": "80"})
        for offset in range(80):
            answer = await gateway.http.patch(
                created.headers["location"],
                content=b"x",
                headers=tus | {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"},
            )
            assert answer.status_code == 204
        assert answer.headers["ratelimit-policy"].startswith('"pieces";q=100;w=60')


async def test_capacity_tells_every_limit(environ: dict[str, str]) -> None:
    settings = {
        "SUBTIDE_EXTRACTOR_MAX_DURATION_S": "7200",
        "SUBTIDE_GATEWAY_SUBMITS_PER_MINUTE": "0",
        "SUBTIDE_GATEWAY_MAX_JOBS_PER_SOCKET": "7",
    }
    async with running_gateway(environ | settings) as gateway:
        told = (await gateway.http.get("/api/capacity")).json()
    assert told["max_upload_bytes"] == 2 << 30
    assert told["max_media_s"] == 7200
    assert told["max_batch_items"] == 100
    assert told["max_unfinished_uploads"] == 100
    assert told["max_jobs_per_socket"] == 7
    assert told["max_sockets_per_client"] == 100
    assert told["requests_per_minute"] == 3000
    assert told["submits_per_minute"] is None


def test_the_gateway_and_the_extractor_read_the_same_longest_recording() -> None:
    assert Longest().max_duration_s == ExtractorSettings().max_duration_s


@pytest.mark.parametrize(
    ("path", "most"),
    [("/api/jobs/query", 64 << 10), ("/api/jobs/submit", 64 << 10), ("/api/batches", 512 << 10)],
)
async def test_a_json_body_of_the_largest_size_is_read_and_a_larger_one_is_not(
    gateway: Gateway, path: str, most: int
) -> None:
    body = b"{}".ljust(most)
    headers = {"Content-Type": "application/json"}
    assert (await gateway.http.post(path, content=body, headers=headers)).status_code == 400
    refused = await gateway.http.post(path, content=body + b" ", headers=headers)
    assert refused.status_code == 413
    assert f"{most:,} bytes" in problem(refused.content, "request_too_large")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(most // 1024 + 1):
            yield b" " * 1024

    refused = await gateway.http.post(path, content=endless(), headers=headers)
    assert refused.status_code == 413


FORM = {"Content-Type": "multipart/form-data; boundary=limit"}


def part(name: str, content: bytes, *, more: str = "") -> bytes:
    """A part of a form."""
    named = f'name="{name}"' + ('; filename="a.mp4"' if name == "file" else "")
    return f"--limit\r\nContent-Disposition: form-data; {named}\r\n{more}\r\n".encode() + content + b"\r\n"


async def formed(gateway: Gateway, *parts: bytes) -> tuple[int, dict[str, Any]]:
    """What a form of these parts is answered."""
    answer = await gateway.http.post("/api/jobs/submit", content=b"".join(parts) + b"--limit--\r\n", headers=FORM)
    return answer.status_code, answer.json()


async def test_a_field_of_the_largest_size_is_read_and_a_larger_one_is_not(gateway: Gateway) -> None:
    file = part("file", b"sound")
    _, answer = await formed(gateway, part("initial_prompt", b"x" * (16 << 10)), file)
    assert answer["code"] == "invalid_parameter"  # as a prompt it is too long, for a form it is not
    status, answer = await formed(gateway, part("initial_prompt", b"x" * ((16 << 10) + 1)), file)
    assert (status, answer["code"]) == (400, "parameter_too_long")
    assert "16,384 bytes" in answer["detail"]


async def test_a_form_has_so_many_parts_and_headers_and_no_more(gateway: Gateway) -> None:
    for header_bytes, expected in ((8 << 10, 202), ((8 << 10) + 1, 400)):
        header = "X: ".ljust(header_bytes, "x") + "\r\n"
        status, answer = await formed(gateway, part("file", b"sound", more=header))
        assert status == expected, answer
    assert answer["code"] == "form_too_long"
    assert "8,192 bytes" in answer["detail"]
    # no form has so many parameters: the first that is none, or comes twice, ends it, wherever it stands
    status, answer = await formed(gateway, *(part(f"p{n}", b"x") for n in range(65)))
    assert (status, answer["code"]) == (400, "unknown_parameter")


async def test_so_many_tokens_may_be_asked_at_once_and_no_more(gateway: Gateway) -> None:
    for count, statuses in ((500, (200, 503)), (501, (400,))):  # 503: nobody projects here
        tokens = [f"{n}" for n in range(count)]
        listed = await gateway.http.get("/api/jobs", params={"tokens": ",".join(tokens)})
        queried = await gateway.http.post("/api/jobs/query", json={"tokens": tokens})
        assert listed.status_code in statuses
        assert queried.status_code in statuses
    assert "501 tokens were sent, and at most 500" in listed.json()["detail"]
    assert "500" in queried.json()["detail"]


async def test_a_job_is_shared_so_often_and_no_more(gateway: Gateway) -> None:
    job = await gateway.submit()
    address, bearer = f"/api/jobs/{job['job_id']}/share", {"Authorization": f"Bearer {job['access_token']}"}
    for _ in range(100):
        assert (await gateway.http.post(address, headers=bearer)).status_code == 201
    answer = await gateway.http.post(address, headers=bearer)
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_shares")
    assert "100 times" in answer.json()["detail"]


async def test_a_path_with_two_slashes_is_counted_and_answered_as_with_one(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_SUBMITS_PER_MINUTE": "2"}) as gateway:
        said = {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}
        for path in ("/api//uploads", "//api/uploads/"):
            answer = await gateway.http.post(f"{gateway.url}{path}", headers=said)
            assert (answer.status_code, answer.headers["tus-resumable"]) == (201, "1.0.0")
        refused = await gateway.http.post(f"{gateway.url}/api///jobs//submit", files={"file": ("talk.mp4", b"sound")})
        assert refused.status_code == 429


async def test_a_head_of_the_largest_size_is_read_and_a_larger_one_is_not(gateway: Gateway) -> None:
    target, host = b"/health/live", b"127.0.0.1"
    used = len(target) + len(b"host: \r\n") + len(host) + len(b"x: \r\n")
    for more, expected in ((0, 200), (1, 431)):
        raw = await opened(gateway)
        await raw.send(
            b"GET %s HTTP/1.1\r\nHost: %s\r\nX: %s\r\n\r\n" % (target, host, b"a" * (HEAD_BYTES - used + more))
        )
        status, headers, body = await raw.answer()
        assert status == expected
        raw.writer.close()
    assert "65,536 bytes" in problem(body, "head_too_large")
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"a" * 300_000,
        b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 60_000,
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX" + b"a" * 300_000,
    ],
    ids=["address", "header", "headers", "name"],
)
async def test_a_head_that_does_not_end_is_refused_while_it_comes(gateway: Gateway, endless: bytes) -> None:
    raw = await opened(gateway)
    await raw.send(endless)
    await raw.send(b"a" * 300_000)
    status, _, body = await raw.answer()
    assert status == 431
    assert "65,536 bytes" in problem(body, "head_too_large")
    raw.writer.write_eof()
    assert not await raw.ended()


@pytest.mark.parametrize("trailer", [b"X: a\r\n" * 60_000, b"X: " + b"a" * 600_000], ids=["many", "one"])
async def test_trailers_that_do_not_end_are_refused_while_they_come(gateway: Gateway, trailer: bytes) -> None:
    raw = await opened(gateway)
    await raw.send(b"PUT /api/jobs/submit/a.mp4 HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    await raw.send(b"1\r\na\r\n0\r\n" + trailer)
    assert b"200 OK" not in await raw.ended()
    assert (await gateway.http.get("/health/live")).status_code == 200


async def test_what_is_no_http_is_answered_by_a_problem(gateway: Gateway) -> None:
    raw = await opened(gateway)
    await raw.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    status, headers, body = await raw.answer()
    assert status == 400
    problem(body, "malformed_request")
    assert headers["connection"] == "close"
    raw.writer.write_eof()
    assert not await raw.ended()


async def test_a_message_of_the_largest_size_is_read_and_a_larger_one_ends_the_socket(gateway: Gateway) -> None:
    ping = json.dumps({"type": "ping"})
    async with connect(gateway.ws_url) as socket:
        await socket.send(ping.ljust(64 << 10))
        assert json.loads(await socket.recv())["type"] == "pong"
        await socket.send(ping.ljust((64 << 10) + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("method", "target", "said", "more", "expected"),
    [
        (b"GET", b"/ws", RIGHT, b"X: " + b"a" * 8187 + b"\r\n", 101),
        (b"GET", b"/ws", RIGHT, b"X: " + b"a" * 8188 + b"\r\n", 400),
        (b"GET", b"/ws?" + b"a" * 9000, RIGHT, b"", 400),
        (b"GET", b"/ws", RIGHT, b"X: a\r\n" * 123, 101),
        (b"GET", b"/ws", RIGHT, b"X: a\r\n" * 124, 400),
        (b"GET", b"/ws", RIGHT, b"Content-Length: 1\r\n", 400),
        (b"POST", b"/ws", RIGHT, b"", 400),
        (b"GET", b"/ws", RIGHT.replace(b"13", b"12"), b"", 400),
        (b"GET", b"/ws", RIGHT.replace(b"dGhlI", b""), b"", 400),
        (b"GET", b"/ws", b"", b"", 400),
    ],
)
async def test_a_handshake_is_always_answered(
    gateway: Gateway, method: bytes, target: bytes, said: bytes, more: bytes, expected: int
) -> None:
    raw = await opened(gateway)
    await raw.send(
        method
        + b" "
        + target
        + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + said
        + more
        + b"\r\n"
    )
    status, headers, body = await raw.answer()
    assert status == expected
    if expected == 400:
        assert "8,192 bytes" in problem(body, "malformed_handshake")
        assert headers["x-content-type-options"] == "nosniff"
        raw.writer.write_eof()
        assert not await raw.ended()
    else:
        raw.writer.close()


async def test_a_client_may_have_so_many_sockets_and_one_more_once_one_is_closed(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_MAX_SOCKETS_PER_CLIENT": "2"}) as gateway:
        first, second = await connect(gateway.ws_url), await connect(gateway.ws_url)
        with pytest.raises(InvalidStatus) as refused:
            await connect(gateway.ws_url)
        assert refused.value.response.status_code == 429
        assert "may have 2" in problem(bytes(refused.value.response.body or b""), "too_many_sockets")
        await first.close()

        async def connects() -> bool:
            try:
                await (await connect(gateway.ws_url)).close()
            except InvalidStatus:
                return False
            return True

        assert await until(connects)
        await second.close()


async def test_a_head_that_comes_byte_by_byte_is_cut_off(hasty: Gateway) -> None:
    raw = await opened(hasty)
    await raw.send(b"GET / HTTP/1.1\r\nX: ")
    status, _, body = await dripping(raw, b"a")
    assert status == 408
    assert "0.4 seconds" in problem(body, "request_timeout")
    raw.writer.write_eof()
    assert not await raw.ended()


@pytest.mark.parametrize("before", [b"", b"\r\n"], ids=["nothing", "blank lines"])
async def test_a_connection_on_which_nothing_is_asked_ends(hasty: Gateway, before: bytes) -> None:
    raw = await opened(hasty)
    await raw.send(before)
    assert not await raw.ended()


async def test_blank_lines_between_requests_keep_no_connection_open(hasty: Gateway) -> None:
    raw = await opened(hasty)
    await raw.send(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert (await raw.answer())[0] == 200
    while not raw.reader.at_eof():
        try:
            await raw.send(b"\r\n")
        except ConnectionError:
            break
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("request_line", "headers"),
    [
        (b"POST /api/jobs/query", b"Content-Type: application/json\r\n"),
        (b"POST /api/jobs/submit", b"Content-Type: application/json\r\n"),
        (b"POST /api/batches", b"Content-Type: application/json\r\n"),
        (b"PUT /api/jobs/submit/a.mp4", b""),
        (b"POST /api/jobs/submit", b"Content-Type: multipart/form-data; boundary=b\r\n"),
    ],
)
async def test_a_body_that_stops_coming_or_comes_byte_by_byte_is_cut_off(
    hasty: Gateway, joblog: JobLog, request_line: bytes, headers: bytes
) -> None:
    for content in (b"", b"-"):
        raw = await opened(hasty)
        await raw.send(request_line + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n" + headers + b"\r\n")
        status, said, body = await dripping(raw, content)
        assert (status, said["connection"]) == (408, "close")
        assert "0.5 seconds" in problem(body, "request_timeout")
        raw.writer.close()
    assert not await joblog.read(1, 10)


async def test_an_upload_that_stops_coming_is_cut_off_and_keeps_what_came(hasty: Gateway) -> None:
    tus = {"Tus-Resumable": "1.0.0"}
    created = await hasty.http.post("/api/uploads", headers=tus | {"Upload-Length": "5000"})
    location = created.headers["location"]
    raw = await opened(hasty)
    await raw.send(
        f"PATCH {location} HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        "Content-Type: application/offset+octet-stream\r\nContent-Length: 5000\r\n\r\n".encode()
        + b"x" * 3000
    )
    assert (await raw.answer())[0] == 408
    asked = await hasty.http.head(location, headers=tus)
    assert asked.headers["upload-offset"] == "3000"


async def test_a_body_that_comes_slowly_but_comes_is_read(hasty: Gateway) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(8):
            await asyncio.sleep(0.15)
            yield b"x" * 1024

    answer = await hasty.http.put("/api/jobs/submit/a.mp4", content=slowly())
    assert answer.status_code == 202


async def completed(gateway: Gateway, joblog: JobLog, store: Store, content: bytes) -> str:
    """The address of a download."""
    job = await gateway.submit()
    stages = Stages(joblog, job["job_id"])
    await stages.start()
    await stages.extract()
    await stages.complete(store)
    await store.put_part((await stages.view()).results["txt"].key, content)
    return f"/api/jobs/{job['job_id']}/download/txt?token={job['access_token']}"


async def test_a_reader_that_takes_nothing_of_a_download_is_dropped(
    hasty: Gateway, joblog: JobLog, store: Store
) -> None:
    address = await completed(hasty, joblog, store, b"x" * (32 << 20))
    raw = await opened(hasty, limit=1024)
    await raw.send(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    async def dropped() -> bool:
        try:
            await raw.send(b"\r\n")
        except ConnectionError:
            return True
        return False

    assert await until(dropped)


async def test_a_reader_that_takes_a_download_slowly_has_all_of_it(
    hasty: Gateway, joblog: JobLog, store: Store
) -> None:
    content = b"x" * (12 << 20)
    address = await completed(hasty, joblog, store, content)
    raw = await opened(hasty, limit=1024)
    await raw.send(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await raw.reader.readuntil(b"\r\n\r\n")
    for _ in range(12):
        await asyncio.sleep(0.2)
        await raw.reader.readexactly(1 << 20)
