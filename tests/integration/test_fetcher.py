"""Recordings by address: a server on loopback that cuts, stalls and lies, a real broker, workers that are killed."""

import asyncio
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts, topology
from contracts.addresses import Rules
from contracts.artifacts import LEAF_BYTES, ArtifactRef, ContentDigest, fetched_folder, finished_key
from contracts.failures import FailureCode, Permanent, Retryable
from contracts.parameters import Parameters
from services.dispatcher.app import serve as serve_dispatcher
from services.exporter.app import serve as serve_exporter
from services.extractor.app import serve as serve_extractor
from services.fetcher.app import serve
from services.fetcher.engine import Fetched, Fetcher
from services.fetcher.settings import Settings
from tests.integration.conftest import until
from tests.media import Sound, record
from tests.origin import Origin, Request, origin

CONTENT = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range((2 * LEAF_BYTES + 77_777) // 32))
FAST = Settings(connect_s=2, idle_s=2, break_wait_s=0.01)


@pytest.fixture
def numbers() -> topology.Numbers:
    """Short waits."""
    return topology.Numbers(
        jobs_max_bytes=64 << 20, ack_wait_s=1.0, heartbeat_s=0.3, retry_delay_s=0.1, retry_factor=1.0
    )


@pytest.fixture
def fetcher_environ(environ: dict[str, str]) -> dict[str, str]:
    """The environment of a fetcher that may fetch from loopback."""
    return environ | {
        "SUBTIDE_FETCHER_ALLOW": "127.0.0.0/8",
        "SUBTIDE_FETCHER_BREAK_WAIT_S": "0.01",
        "SUBTIDE_ACK_WAIT_S": "1",
        "SUBTIDE_HEARTBEAT_S": "0.3",
        "SUBTIDE_RETRY_DELAY_S": "0.1",
        "SUBTIDE_RETRY_FACTOR": "1",
    }


@pytest.fixture
async def server() -> AsyncIterator[Origin]:
    """A web server."""
    async with origin() as one:
        yield one


@asynccontextmanager
async def serving(environ: dict[str, str], *services: Any) -> AsyncIterator[None]:
    """Services in this process."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(service(environ, stop)) for service in services or (serve,)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 15)


async def fetch(store: Store, url: str, *, job_id: str = "j", filename: str = "", **rules: Any) -> Fetched:
    """Fetch with a fetcher of its own, as another worker would."""
    settings = rules.pop("settings", FAST)
    fetcher = Fetcher(store, Rules(allow="127.0.0.0/8", **rules), settings)
    fetched, _ = await fetcher.fetch(url, owner="anon", job_id=job_id, filename=filename, report=no_report)
    return fetched


async def no_report(_: float) -> None:
    """Nobody watches."""


async def content_of(store: Store, fetched: Fetched) -> bytes:
    """What is stored; it has the digest that it says it has."""
    content = b"".join([block async for block in store.read(fetched.source)])
    digest = ContentDigest()
    digest.update(content)
    assert (fetched.source.bytes, fetched.source.digest) == (len(content), digest.hexdigest())
    return content


def accepted(url: str, *, job_id: str = "j", run: int = 1) -> facts.JobAccepted:
    """A job that came with an address."""
    return facts.JobAccepted(
        job_id=job_id, run=run, owner="anon", at=datetime.now(UTC), filename="talk.mp4", source_url=url,
        parameters=Parameters(), token_sha256="a" * 64,
    )  # fmt: skip


def started(url: str, *, job_id: str = "j", run: int = 1) -> facts.JobStarted:
    """It has a place."""
    return facts.JobStarted(
        job_id=job_id, run=run, owner="anon", at=datetime.now(UTC), filename="talk.mp4", source_url=url,
        parameters=Parameters(),
    )  # fmt: skip


async def begin(joblog: JobLog, url: str, *, job_id: str = "j", run: int = 1) -> None:
    """What the gateway and the dispatcher say."""
    await joblog.append(accepted(url, job_id=job_id, run=run))
    await joblog.append(started(url, job_id=job_id, run=run))


async def said(joblog: JobLog, kind: type[facts.Fact], *, job_id: str = "j", run: int = 1) -> Any:
    """The fact of a kind, once it is there."""

    async def there() -> Any:
        known = [one.fact for one in await joblog.facts_of(job_id)]
        return next((fact for fact in known if isinstance(fact, kind) and fact.run == run), None)

    return await until(there, 20)


async def test_a_recording_is_fetched_and_stored_in_parts(store: Store, server: Origin) -> None:
    server.serves(CONTENT)

    fetched = await fetch(store, f"{server.url}/talks/my%20talk.mp4?token=x", filename="my talk.mp4")

    assert await content_of(store, fetched) == CONTENT
    assert fetched.source.parts == [LEAF_BYTES, LEAF_BYTES, len(CONTENT) - 2 * LEAF_BYTES]
    assert fetched.filename == "my talk.mp4"
    assert server.requests[0].target == "/talks/my%20talk.mp4?token=x"


async def test_nothing_is_sent_that_tells_who_asks(
    store: Store, server: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither through a proxy of the environment, nor with what a first answer or address set."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async def handle(request: Request) -> None:
        if request.target == "/":
            await request.answer(b"", 302, Location="/there", Set_Cookie="a=b; Path=/")
        else:
            await request.answer(b"sound")

    server.handle = handle
    await fetch(store, server.url + "/#fragment")

    assert [sorted(request.headers) for request in server.requests] == [
        ["", "accept", "accept-encoding", "connection", "host", "user-agent"]
    ] * 2
    assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_a_connection_that_breaks_is_gone_on_with_where_it_broke(store: Store, server: Origin) -> None:
    cut = 5 << 20
    server.serves(CONTENT, cut_after=cut)

    fetched = await fetch(store, server.url)

    assert await content_of(store, fetched) == CONTENT
    assert [request.first for request in server.requests] == [0, cut, 2 * cut, 3 * cut]
    assert {request.headers.get("if-range") for request in server.requests[1:]} == {'"one"'}


async def test_a_last_modified_that_is_old_enough_does_for_going_on(store: Store, server: Origin) -> None:
    then, now = (format_datetime(datetime(2026, 1, day, tzinfo=UTC), usegmt=True) for day in (1, 2))

    async def handle(request: Request) -> None:
        dates = {"Date": now, "Last_Modified": then, "Content_Length": 1000 - request.first}
        if request.first:
            dates["Content_Range"] = f"bytes {request.first}-999/1000"
        await request.head(206 if request.first else 200, **dates)
        await request.send(CONTENT[request.first : 1000][:400])

    server.handle = handle
    assert await content_of(store, await fetch(store, server.url)) == CONTENT[:1000]
    assert [request.first for request in server.requests] == [0, 400, 800]


@pytest.mark.parametrize("validators", [{}, {"ETag": 'W/"weak"'}, {"ETag": "unquoted"}])
async def test_without_a_sure_sign_of_the_same_content_all_of_it_is_fetched_again(
    store: Store, server: Origin, validators: dict[str, str]
) -> None:
    async def handle(request: Request) -> None:
        await request.head(200, Content_Length=1000, **validators)
        await request.send(CONTENT[:400] if len(server.requests) < 3 else CONTENT[:1000])

    server.handle = handle
    assert await content_of(store, await fetch(store, server.url)) == CONTENT[:1000]
    assert all("range" not in request.headers for request in server.requests)


async def test_a_recording_that_changes_on_the_way_is_not_mixed_with_what_it_was(store: Store, server: Origin) -> None:
    other = CONTENT[::-1]

    async def handle(request: Request) -> None:
        server.serves(other, etag='"two"')
        await request.head(200, Content_Length=len(CONTENT), ETag='"one"')
        await request.send(CONTENT[: LEAF_BYTES + 100])

    server.handle = handle
    fetched = await fetch(store, server.url)

    assert await content_of(store, fetched) == other
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}),
        (206, {"Content_Range": "bytes 0-999/1000"}),
        (206, {"Content_Range": "bytes 400-999/5000"}),
        (206, {"Content_Range": "bytes 400-999/1000", "ETag": '"two"'}),
        (206, {}),
        (416, {}),
    ],
)
async def test_a_rest_that_is_not_the_rest_is_not_taken_for_it(
    store: Store, server: Origin, answer: tuple[int, dict[str, str]]
) -> None:
    async def handle(request: Request) -> None:
        status, headers = answer if "range" in request.headers else (200, {})
        content = CONTENT[:1000] if status == 200 else b"x" * 600
        await request.head(status, **{"ETag": '"one"', "Content_Length": len(content), **headers})
        await request.send(content if len(server.requests) > 1 else content[:400])

    server.handle = handle
    assert await content_of(store, await fetch(store, server.url)) == CONTENT[:1000]


async def test_another_worker_goes_on_behind_the_last_part_that_is_stored(store: Store, server: Origin) -> None:
    server.serves(CONTENT, cut_after=LEAF_BYTES + 1000)
    impatient = Settings(connect_s=2, idle_s=2, breaks_max=0)
    with pytest.raises(Retryable):
        await fetch(store, server.url, settings=impatient)
    server.requests.clear()
    server.serves(CONTENT)

    assert await content_of(store, await fetch(store, server.url)) == CONTENT
    assert [request.first for request in server.requests] == [0, LEAF_BYTES]


async def test_what_is_fetched_is_not_fetched_again(store: Store, server: Origin) -> None:
    server.serves(CONTENT)
    first = await fetch(store, server.url)
    server.requests.clear()

    assert await fetch(store, server.url) == first
    assert server.requests == []


async def test_what_is_fetched_and_no_longer_whole_is_fetched_again(store: Store, server: Origin) -> None:
    server.serves(CONTENT)
    first = await fetch(store, server.url)
    await store.delete(first.source.key + "/00001")

    assert await content_of(store, await fetch(store, server.url)) == CONTENT


async def test_two_workers_on_one_job_store_one_recording(store: Store, server: Origin) -> None:
    server.serves(CONTENT)
    first, second = await asyncio.gather(fetch(store, server.url), fetch(store, server.url))

    assert first == second
    assert await content_of(store, first) == CONTENT


@pytest.mark.parametrize("announced", [True, False])
async def test_a_recording_may_be_as_large_as_the_limit_and_no_larger(
    store: Store, server: Origin, announced: bool
) -> None:
    async def handle(request: Request) -> None:
        await request.head(200, **({"Content_Length": 1000} if announced else {}))
        await request.send(CONTENT[:1000])

    server.handle = handle
    assert await content_of(store, await fetch(store, server.url, max_bytes=1000)) == CONTENT[:1000]
    with pytest.raises(Permanent) as refused:
        await fetch(store, server.url, job_id="k", max_bytes=999)

    assert refused.value.code is FailureCode.ADDRESS_TOO_LARGE
    assert "accepts 999" in refused.value.told
    assert not announced or "1,000 bytes" in refused.value.told


async def test_an_endless_recording_ends_at_the_limit(store: Store, server: Origin) -> None:
    async def handle(request: Request) -> None:
        await request.head(200, Transfer_Encoding="chunked")
        while True:
            await request.send(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    server.handle = handle
    with pytest.raises(Permanent) as refused:
        await fetch(store, server.url, max_bytes=1 << 20)
    assert refused.value.code is FailureCode.ADDRESS_TOO_LARGE


async def test_a_server_that_says_less_than_it_announced_is_left_in_the_end(store: Store, server: Origin) -> None:
    async def handle(request: Request) -> None:
        first = {"Content_Range": f"bytes {request.first}-999/1000"} if request.first else {}
        await request.head(206 if request.first else 200, ETag='"one"', Content_Length=1000 - request.first, **first)
        if not request.first:
            await request.send(CONTENT[:400])

    server.handle = handle
    with pytest.raises(Retryable) as lost:
        await fetch(store, server.url, settings=Settings(connect_s=2, idle_s=2, break_wait_s=0.01, breaks_max=3))
    assert (lost.value.code, lost.value.told) == (FailureCode.ADDRESS_UNREACHABLE, "400 bytes of it had come.")
    assert len(server.requests) == 4  # one, and three more


async def test_a_silent_server_is_left_in_the_end(store: Store, server: Origin) -> None:
    async def handle(request: Request) -> None:
        await request.head(200, Content_Length=1000)
        await request.send(b"x")
        await asyncio.sleep(60)

    server.handle = handle
    with pytest.raises(Retryable) as lost:
        await fetch(store, server.url, settings=Settings(idle_s=0.1, break_wait_s=0.01, breaks_max=2))
    assert lost.value.code is FailureCode.ADDRESS_UNREACHABLE
    assert len(server.requests) == 3


async def test_a_slow_server_has_so_much_time(store: Store, server: Origin) -> None:
    async def handle(request: Request) -> None:
        await request.head(200, Content_Length=1_000_000)
        while True:
            await request.send(b"x")
            await asyncio.sleep(0.01)

    server.handle = handle
    with pytest.raises(Permanent) as late:
        await fetch(store, server.url, settings=Settings(total_s=1))
    assert late.value.code is FailureCode.ADDRESS_TIMED_OUT
    assert late.value.told.startswith("After 1 seconds, ")


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, Permanent, FailureCode.ADDRESS_REFUSED),
        (401, Permanent, FailureCode.ADDRESS_REFUSED),
        (404, Permanent, FailureCode.ADDRESS_REFUSED),
        (410, Permanent, FailureCode.ADDRESS_REFUSED),
        (204, Permanent, FailureCode.ADDRESS_REFUSED),
        (206, Permanent, FailureCode.ADDRESS_REFUSED),
        (302, Permanent, FailureCode.ADDRESS_REFUSED),
        (408, Retryable, FailureCode.ADDRESS_UNREACHABLE),
        (429, Retryable, FailureCode.ADDRESS_UNREACHABLE),
        (500, Retryable, FailureCode.ADDRESS_UNREACHABLE),
        (503, Retryable, FailureCode.ADDRESS_UNREACHABLE),
    ],
)
async def test_a_refusal_names_its_status(
    store: Store, server: Origin, status: int, kind: type[Exception], code: FailureCode
) -> None:
    server.handle = lambda request: request.answer(b"", status)
    with pytest.raises(kind) as refused:
        await fetch(store, server.url)
    assert (refused.value.code, refused.value.told) == (code, f"It answered {status}.")


async def test_nobody_there_may_be_somebody_later(store: Store) -> None:
    async with origin() as gone:
        url = gone.url
    with pytest.raises(Retryable) as refused:
        await fetch(store, url)
    assert refused.value.code is FailureCode.ADDRESS_UNREACHABLE


@pytest.mark.parametrize("packing", ["gzip", "br", "deflate, gzip", "\x7f<b>"])
async def test_what_comes_packed_is_refused(store: Store, server: Origin, packing: str) -> None:
    server.handle = lambda request: request.answer(b"x", Content_Encoding=packing)
    with pytest.raises((Permanent, Retryable)) as refused:
        await fetch(store, server.url)
    assert "<" not in refused.value.told
    assert packing == "\x7f<b>" or refused.value.code is FailureCode.ADDRESS_REFUSED


async def test_an_empty_recording_is_refused(store: Store, server: Origin) -> None:
    server.handle = lambda request: request.answer(b"")
    with pytest.raises(Permanent) as refused:
        await fetch(store, server.url)
    assert refused.value.code is FailureCode.EMPTY_FILE


@pytest.mark.parametrize(
    "garbage",
    [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x16\x03\x01\x00\x00", b"HTTP/1.1 200 x\r\n" + b"a: b\r\n" * 100_000,
     b"HTTP/1.1 100 x\r\n\r\n" * 1000, b"HTTP/1.1 200 x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
     b"HTTP/1.1 200 x\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
async def test_whatever_is_not_http_is_nothing(store: Store, server: Origin, garbage: bytes) -> None:
    server.handle = lambda request: request.send(garbage)
    with pytest.raises(Retryable) as refused:
        await fetch(store, server.url, settings=Settings(connect_s=2, idle_s=2, break_wait_s=0.01, breaks_max=1))
    assert refused.value.code is FailureCode.ADDRESS_UNREACHABLE


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="talk.mp4"', "talk.mp4"),
        ("attachment; filename*=UTF-8''%C3%BC%20b.mp4", "ü b.mp4"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\evil.mp4"', "evil.mp4"),
        ("attachment; filename*=nonsense''%ff%fe", None),
        ("attachment", "stream.mp4"),
        ("inline; filename=", "stream.mp4"),
    ],
)
async def test_a_recording_is_called_what_its_server_calls_it(
    store: Store, server: Origin, header: str, name: str | None
) -> None:
    server.handle = lambda request: request.answer(b"x", Content_Disposition=header)
    fetched = await fetch(store, server.url + "/stream.mp4", filename="stream.mp4")
    assert name is None or fetched.filename == name
    assert "/" not in fetched.filename


async def test_a_name_that_the_user_chose_stays(store: Store, server: Origin) -> None:
    server.handle = lambda request: request.answer(b"x", Content_Disposition='attachment; filename="x.mp4"')
    assert (await fetch(store, server.url + "/stream.mp4", filename="Our talk")).filename == "Our talk"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="a certificate is made with openssl")
async def test_a_certificate_is_checked_by_the_name_although_the_connection_goes_to_an_ip_address(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=talks.test", "-addext", "subjectAltName=DNS:talks.test"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    command += ["-keyout", str(key), "-out", str(certificate)]
    made = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    assert await made.wait() == 0
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate, key)
    named: list[str | None] = []
    served.sni_callback = lambda _socket, name, _context: named.append(name)

    async def loopback(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with origin(tls=served) as secure:
        secure.serves(b"sound")

        async def over_tls(host: str) -> Fetched:
            fetcher = Fetcher(store, Rules(allow="127.0.0.0/8"), Settings(breaks_max=0), resolve=loopback)
            url = f"https://{host}:{secure.port}/"
            return (await fetcher.fetch(url, owner="anon", job_id="j", filename="", report=no_report))[0]

        with pytest.raises(Retryable):
            await over_tls("talks.test")  # nobody vouches for it
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(Retryable):
            await over_tls("others.test")
        assert await content_of(store, await over_tls("talks.test")) == b"sound"
    assert named == ["talks.test", "others.test", "talks.test"]
    assert len(secure.requests) == 1


async def test_a_job_with_an_address_is_fetched_and_then_extracted(
    joblog: JobLog, fetcher_environ: dict[str, str], server: Origin, tmp_path: Path
) -> None:
    recording = record(tmp_path / "talk.mp4", [Sound(seconds=1.0)])
    server.serves(recording.read_bytes())
    async with serving(fetcher_environ, serve, serve_extractor):
        await begin(joblog, server.url + "/talk.mp4")
        extracted = await said(joblog, facts.AudioExtracted)

    fetched = await said(joblog, facts.SourceFetched)
    assert extracted.media.duration_s > 0
    assert (fetched.source.bytes, fetched.filename) == (recording.stat().st_size, "talk.mp4")
    view = await joblog.view("j")
    assert view is not None
    assert (view.source, view.stage_fractions["fetching"]) == (fetched.source, 1.0)


async def test_a_job_with_an_address_runs_from_its_acceptance_to_its_end(
    joblog: JobLog, store: Store, fetcher_environ: dict[str, str], server: Origin, tmp_path: Path
) -> None:
    """With the dispatcher and the exporter; what the models would say is said here."""
    server.serves(record(tmp_path / "talk.mp4", [Sound(seconds=1.0)]).read_bytes())
    of_job: dict[str, Any] = {"job_id": "j", "run": 1, "owner": "anon", "at": datetime.now(UTC)}
    receipt = facts.StageReceipt(engine="test/1", seconds=0.1)
    plan = ArtifactRef(key="cache/anon/planner/p.json", digest="b" * 64, bytes=1)
    async with serving(fetcher_environ, serve, serve_extractor, serve_dispatcher, serve_exporter):
        await joblog.append(accepted(server.url + "/talk.mp4"))
        fetched = await said(joblog, facts.SourceFetched)
        await said(joblog, facts.AudioExtracted)
        planned = facts.TranscriptionPlanned(
            **of_job, plan=plan, chunks=0, chunk_speech_s=[], language=None, language_probability=None,
            language_source="none", speech_s=0.0, receipt=receipt,
        )  # fmt: skip
        await joblog.append(planned)
        await joblog.append(facts.SpeakersDiarized(**of_job, turns=None, speakers=0, receipt=receipt))
        completed = await said(joblog, facts.JobCompleted)

    result = msgspec.json.decode(await store.get(completed.results["json"].key))
    assert [line["stage"] for line in result["receipt"]["stages"]][:2] == ["fetcher", "extractor"]
    assert await store.find(finished_key("anon", fetched.source.digest, Parameters())) is not None
    view = await joblog.view("j")
    assert view is not None
    assert view.progress == 100.0


async def test_a_page_at_the_address_is_no_recording(
    joblog: JobLog, fetcher_environ: dict[str, str], server: Origin
) -> None:
    server.handle = lambda request: request.answer(b"<html>Sign in" + b" " * 5000, Content_Type="video/mp4")
    async with serving(fetcher_environ, serve, serve_extractor):
        await begin(joblog, server.url)
        failed = await said(joblog, facts.JobFailed)
    assert (failed.code, failed.stage) == (FailureCode.NOT_MEDIA, "extractor")


async def test_a_job_whose_recording_came_along_is_none_of_its_business(
    joblog: JobLog, fetcher_environ: dict[str, str], server: Origin
) -> None:
    from tests.runs import Run

    run = Run("other")
    async with serving(fetcher_environ):
        await joblog.append(run.accepted)
        await joblog.append(run.started)
        server.serves(b"sound")
        await begin(joblog, server.url)
        await said(joblog, facts.SourceFetched)
    assert [facts.name(one.fact) for one in await joblog.facts_of("other")] == ["accepted", "started"]


async def test_a_server_that_is_busy_is_asked_again_and_a_refusal_fails_the_job(
    joblog: JobLog, fetcher_environ: dict[str, str], server: Origin
) -> None:
    async def handle(request: Request) -> None:
        await (request.answer(b"", 503) if len(server.requests) < 3 else request.answer(b"sound"))

    async with serving(fetcher_environ):
        server.handle = handle
        await begin(joblog, server.url)
        assert (await said(joblog, facts.SourceFetched)).receipt.attempts == 3
        server.handle = lambda request: request.answer(b"", 404)
        await begin(joblog, server.url, job_id="k")
        failed = await said(joblog, facts.JobFailed, job_id="k")

    assert (failed.code, failed.attempts, failed.told) == (FailureCode.ADDRESS_REFUSED, 1, "It answered 404.")
    view = await joblog.view("k")
    assert view is not None
    assert "It answered 404." in (view.error_message or "")


async def test_a_forbidden_address_fails_its_job_without_a_word_to_it(
    joblog: JobLog, fetcher_environ: dict[str, str], server: Origin
) -> None:
    async with serving(fetcher_environ | {"SUBTIDE_FETCHER_ALLOW": ""}):
        await begin(joblog, server.url)
        failed = await said(joblog, facts.JobFailed)
    assert (failed.code, server.connections) == (FailureCode.ADDRESS_FORBIDDEN, 0)


async def test_a_retry_finds_what_an_earlier_run_fetched(
    joblog: JobLog, store: Store, fetcher_environ: dict[str, str], server: Origin
) -> None:
    server.serves(CONTENT)
    async with serving(fetcher_environ):
        await begin(joblog, server.url)
        first = await said(joblog, facts.SourceFetched)
        server.requests.clear()
        await begin(joblog, server.url, run=2)
        second = await said(joblog, facts.SourceFetched, run=2)
    assert second.source == first.source
    assert second.receipt.cached_at is not None
    assert server.requests == []


async def test_a_worker_that_is_killed_leaves_what_it_has_to_the_next(
    joblog: JobLog, store: Store, fetcher_environ: dict[str, str], server: Origin
) -> None:
    stuck = asyncio.Event()

    async def handle(request: Request) -> None:
        await request.head(200, Content_Length=len(CONTENT), ETag='"one"')
        await request.send(CONTENT[: LEAF_BYTES + 1000])
        stuck.set()
        await asyncio.sleep(60)

    server.handle = handle
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.fetcher", env=os.environ | fetcher_environ, stderr=subprocess.DEVNULL
    )
    await begin(joblog, server.url)
    await asyncio.wait_for(stuck.wait(), 20)

    async def a_part() -> bool:
        return bool([file async for file in store.list(fetched_folder("anon", "j")) if file.bytes == LEAF_BYTES])

    await until(a_part)
    worker.send_signal(signal.SIGKILL)
    await worker.wait()
    server.requests.clear()
    server.serves(CONTENT)
    async with serving(fetcher_environ):
        fetched = await said(joblog, facts.SourceFetched)

    assert [request.first for request in server.requests] == [0, LEAF_BYTES]
    assert await content_of(store, Fetched(source=fetched.source, filename="")) == CONTENT
    assert fetched.receipt.attempts == 2


async def test_a_worker_that_is_stopped_hands_the_job_back(
    joblog: JobLog, fetcher_environ: dict[str, str], server: Origin
) -> None:
    stuck = asyncio.Event()

    async def handle(request: Request) -> None:
        await request.head(200, Content_Length=1000, ETag='"one"')
        await request.send(CONTENT[:10])
        stuck.set()
        await asyncio.sleep(60)

    server.handle = handle
    alone = fetcher_environ | {"SUBTIDE_FETCHER_WORKERS": "1"}
    async with serving(alone):
        await begin(joblog, server.url)
        await asyncio.wait_for(stuck.wait(), 20)
    server.serves(CONTENT[:1000])
    async with serving(alone):
        assert (await said(joblog, facts.SourceFetched)).receipt.attempts == 1


async def test_a_job_that_is_cancelled_is_fetched_no_further(
    joblog: JobLog, fetcher_environ: dict[str, str], server: Origin
) -> None:
    gone = asyncio.Event()

    async def handle(request: Request) -> None:
        await request.head(200, Content_Length=1 << 30)
        try:
            while True:
                await request.send(bytes(1000))
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    server.handle = handle
    async with serving(fetcher_environ):
        await begin(joblog, server.url)
        await until(lambda: server.requests, 20)
        await joblog.append(facts.JobCancelled(job_id="j", run=1, owner="anon", at=datetime.now(UTC)))
        await asyncio.wait_for(gone.wait(), 20)
