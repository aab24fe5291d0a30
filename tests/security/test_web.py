"""What every answer tells a browser, and which pages may ask: headers, names of the host, origins."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from chassis.joblog import JobLog
from chassis.store import Store
from services.gateway.origins import EXPOSED
from services.gateway.settings import Settings
from tests.integration.conftest import Gateway, running_gateway
from tests.integration.stages import Stages

FRIEND, STRANGER = "https://intranet.example.org", "https://evil.example"
TUS = {"Tus-Resumable": "1.0.0"}


class Site:
    """A gateway, and addresses of everything that it answers."""

    def __init__(self, gateway: Gateway, known: dict[str, str]) -> None:
        self.gateway = gateway
        self.known = known

    async def ask(
        self, method: str, path: str, headers: dict[str, str], content: bytes | None = None
    ) -> httpx.Response:
        return await self.gateway.http.request(method, path.format(**self.known), headers=headers, content=content)


@pytest.fixture
async def site(environ: dict[str, str], joblog: JobLog, store: Store) -> AsyncIterator[Site]:
    settings = {
        "SUBTIDE_GATEWAY_CORS_ORIGINS": FRIEND,
        "SUBTIDE_GATEWAY_TRUSTED_PROXIES": "127.0.0.1",
        "SUBTIDE_GATEWAY_WRONG_TOKENS_PER_MINUTE": "1",
        "SUBTIDE_GATEWAY_OPERATOR_TOKEN": "the operator of this test",
    }
    async with running_gateway(environ | settings) as gateway:
        job = await gateway.submit()
        stages = Stages(joblog, job["job_id"])
        await stages.start()
        await stages.extract()
        await stages.complete(store)
        upload = await gateway.http.post("/api/uploads", headers=TUS | {"Upload-Length": "1"})
        share = await gateway.http.post(f"/api/jobs/{job['job_id']}/share", params={"token": job["access_token"]})
        assert share.status_code == 201
        token = f"?token={job['access_token']}"
        known = {
            "job": f"/api/jobs/{job['job_id']}{token}",
            "download": f"/api/jobs/{job['job_id']}/download/srt{token}",
            "share": f"/api/jobs/{job['job_id']}/share/1{token}",
            "foreign": f"/api/jobs/{job['job_id']}?token=wrong",
            "upload": upload.headers["location"],
        }
        yield Site(gateway, known)


ANSWERS: list[tuple[int, str, str, dict[str, str], bytes | None]] = [
    (200, "GET", "/", {}, None),
    (200, "GET", "/docs", {}, None),
    (200, "GET", "/schema/openapi.json", {}, None),
    (200, "GET", "/health/ready", {}, None),
    (200, "GET", "/api/capacity", {}, None),
    (200, "GET", "{job}", {}, None),
    (200, "GET", "{download}", {}, None),
    (200, "HEAD", "{download}", {}, None),
    (200, "HEAD", "{upload}", TUS, None),
    (201, "POST", "/api/uploads", TUS | {"Upload-Length": "1"}, None),
    (204, "DELETE", "{share}", {}, None),
    (204, "OPTIONS", "{job}", {}, None),
    (204, "OPTIONS", "/api/uploads", {}, None),
    (206, "GET", "{download}", {"Range": "bytes=0-3"}, None),
    (304, "GET", "{download}", {"If-None-Match": "*"}, None),
    (400, "POST", "/api/jobs/query", {"Content-Type": "application/json"}, b"{"),
    (400, "PUT", "/api/jobs/submit/a.mp4?language=klingon", {}, b"x"),
    (401, "POST", "/api/jobs/check-stale", {}, None),
    (404, "GET", "/nothing/here", {}, None),
    (404, "GET", "{foreign}", {}, None),
    (405, "DELETE", "/api/jobs", {}, None),
    (412, "HEAD", "{upload}", {}, None),
    (413, "POST", "/api/jobs/query", {"Content-Type": "application/json"}, b" " * 70_000),
    (415, "POST", "/api/batches", {"Content-Type": "text/plain"}, b"x"),
    (416, "GET", "{download}", {"Range": "bytes=9999-"}, None),
    (421, "GET", "/api/capacity", {"Host": "evil.example"}, None),
]


def told(answer: httpx.Response) -> dict[str, str]:
    """The headers that every answer has once."""
    names = [name.lower() for name, _ in answer.headers.multi_items()]
    for name in ("content-security-policy", "x-content-type-options", "cache-control", "referrer-policy"):
        assert names.count(name) == 1, name
    return dict(answer.headers)


def is_hardened(headers: dict[str, str]) -> None:
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert "unsafe" not in policy.get("script-src", "")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


async def test_every_kind_of_answer_has_the_headers(site: Site) -> None:
    for status, method, path, headers, content in ANSWERS:
        answer = await site.ask(method, path, headers, content)
        assert answer.status_code == status, (method, path, answer.text)
        is_hardened(told(answer))
        if "{" in path or status >= 400:
            assert answer.headers["cache-control"] in ("no-store", "private, no-cache"), (method, path)
        if answer.headers["cache-control"] == "private, no-cache":
            assert answer.headers["etag"]
        assert "strict-transport-security" not in answer.headers
    refused = await site.ask("GET", "{foreign}", {})
    assert refused.status_code == 429
    is_hardened(told(refused))
    assert refused.headers["cache-control"] == "no-store"


async def test_an_answer_by_https_through_a_proxy_that_is_trusted_says_to_stay_with_it(site: Site) -> None:
    answer = await site.ask("GET", "{job}", {"X-Forwarded-Proto": "https"})
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_a_surprise_is_answered_with_the_headers(site: Site, artifacts_url: str) -> None:
    folder = Path(artifacts_url.removeprefix("file://"))
    shutil.rmtree(folder)
    folder.write_text("no folder")
    answer = await site.ask("GET", "{download}", {})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    is_hardened(told(answer))
    assert answer.headers["cache-control"] == "no-store"


async def test_a_body_that_stalls_is_answered_with_the_headers(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_BODY_IDLE_S": "0.2"}) as gateway:

        async def stalled() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(2)  # ten times as long as it may

        answer = await gateway.http.post(
            "/api/jobs/query", content=stalled(), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 408
        is_hardened(told(answer))


async def test_each_address_names_its_methods(site: Site) -> None:
    allowed = {
        "{job}": {"GET", "DELETE", "OPTIONS"},
        "/api/jobs/" + "a" * 32 + "/share": {"GET", "POST", "OPTIONS"},
        "{download}": {"GET", "HEAD", "OPTIONS"},
        "/api/jobs": {"GET", "OPTIONS"},
    }
    for path, methods in allowed.items():
        answer = await site.ask("OPTIONS", path, {})
        assert set(answer.headers["allow"].split(", ")) == methods
        refused = await site.ask("PATCH", path, {})
        assert refused.status_code == 405
        assert set(refused.headers["allow"].split(", ")) == methods


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("localhost.:8000", 200),
        ("[::1]", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("evil.example#localhost", 421),
        ("127.0.0.2", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
async def test_on_loopback_a_name_that_is_not_ours_is_refused(site: Site, host: str, status: int) -> None:
    answer = await site.ask("GET", "/api/capacity", {"Host": host})
    assert answer.status_code == status
    if status == 421:
        assert answer.json()["code"] == "wrong_host"


async def test_names_that_the_operator_gave_are_ours(environ: dict[str, str]) -> None:
    settings = {
        "SUBTIDE_GATEWAY_PUBLIC_URL": "https://subtitles.example.org:8443/",
        "SUBTIDE_GATEWAY_ALLOWED_HOSTS": "box.lan, other.lan",
    }
    async with running_gateway(environ | settings) as gateway:
        for host in ("subtitles.example.org", "box.lan:8000", "other.lan", "localhost"):
            assert (await gateway.http.get("/api/capacity", headers={"Host": host})).status_code == 200
        assert (await gateway.http.get("/api/capacity", headers={"Host": "evil.example"})).status_code == 421


async def test_who_listens_to_the_network_is_asked_under_any_name(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_HOST": "0.0.0.0"}) as gateway:
        assert (await gateway.http.get("/api/capacity", headers={"Host": "box.lan"})).status_code == 200


async def test_a_socket_opens_to_our_own_pages_and_to_those_that_the_operator_named(site: Site) -> None:
    own = site.gateway.url
    for origin in (None, own, own.replace("http:", "https:"), FRIEND):
        async with connect(site.gateway.ws_url, origin=origin) as socket:
            await socket.send(json.dumps({"type": "ping"}))
            assert json.loads(await socket.recv())["type"] == "pong"
    for origin in (STRANGER, "null", "http://127.0.0.1:1", f"{own}.evil.example", "https://intranet.example.org.evil"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(site.gateway.ws_url, origin=origin)
        answer = refused.value.response
        assert answer.status_code == 403
        assert json.loads(answer.body or b"")["code"] == "wrong_origin"
        is_hardened({name.lower(): value for name, value in answer.headers.raw_items()})


async def test_a_socket_is_not_opened_under_a_name_that_is_not_ours(site: Site) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect("ws://evil.example/ws", host="127.0.0.1", port=int(site.gateway.url.rpartition(":")[2]))
    assert refused.value.response.status_code == 421


async def test_pages_of_other_origins_may_read_nothing_unless_they_are_named(
    site: Site, environ: dict[str, str]
) -> None:
    answer = await site.ask("GET", "/api/capacity", {"Origin": STRANGER})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"
    async with running_gateway(environ) as gateway:
        answer = await gateway.http.get("/api/capacity", headers={"Origin": FRIEND})
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_page_that_is_named_reads_answers_and_refusals(site: Site) -> None:
    for path, status in (("/api/capacity", 200), ("/nothing", 404), ("{foreign}", 404), ("{foreign}", 429)):
        answer = await site.ask("GET", path, {"Origin": FRIEND})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert answer.headers["vary"] == "Origin"
        assert set(EXPOSED) == set(answer.headers["access-control-expose-headers"].split(", "))
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_browser_may_ask_before_it_uploads_and_plain_options_are_of_tus(site: Site) -> None:
    asking = {
        "Origin": FRIEND,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,tus-resumable,upload-offset,content-type",
    }
    answer = await site.ask("OPTIONS", "{upload}", asking)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == FRIEND
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == asking["Access-Control-Request-Headers"]
    assert "tus-version" not in answer.headers
    stranger = await site.ask("OPTIONS", "{upload}", asking | {"Origin": STRANGER})
    assert "access-control-allow-origin" not in stranger.headers
    plain = await site.ask("OPTIONS", "/api/uploads", {"Origin": FRIEND})
    assert plain.headers["tus-version"] == "1.0.0"
    assert plain.headers["access-control-allow-origin"] == FRIEND


@pytest.mark.parametrize(
    "settings",
    [
        {"cors_origins": "intranet.example.org"},
        {"cors_origins": "https://example.org/path"},
        {"cors_origins": "https://*.example.org"},
        {"allowed_hosts": "https://example.org"},
        {"allowed_hosts": "example.org:80"},
        {"max_header_bytes": 1},
        {"max_header_bytes": 65537},
        {"header_s": 0},
        {"body_idle_s": 0},
        {"write_idle_s": -1},
        {"max_sockets_per_client": -1},
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_its_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Settings(**settings)
