"""How many requests with bytes a gateway receives at once, and the memory that they hold: no more than they need."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import psutil
import pytest
from nats.aio.client import Client

from chassis.store import Store, StoreFull
from cli.standalone.server import free_port
from contracts.artifacts import LEAF_BYTES
from services.gateway import idempotency
from services.gateway.buffers import Buffer
from services.gateway.problems import Problem
from services.gateway.receiving import Checksum, Pace, Receiving
from services.gateway.room import Room
from services.gateway.uploads import Asked, Kept, Uploads
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.test_gateway_uploads import BYTES, CONTENT, PART, begin, half_open, offset_of, registry, send

CALLERS = ["a" * 32, "b" * 32, "c" * 32]
STALLED = 30
NEARLY_TWO = 2 * LEAF_BYTES - 1
GROWTH_MAX = 64 << 20


@pytest.fixture
async def uploads(client: Client, store: Store) -> Uploads:
    return await registry(client, store)


async def created(uploads: Uploads, counted_as: str = CALLERS[0], length: int = len(CONTENT)) -> Kept:
    asked = Asked(length=length, filename="talk.mp4", metadata="")
    return await uploads.create(idempotency.new(), asked, owner="anon", counted_as=counted_as)


class Body:
    """One that comes as far as is said, then stalls, and goes on or breaks off when it is told."""

    def __init__(self, content: bytes = CONTENT[:5]) -> None:
        self._content = content
        self._rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.is_read = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.is_read = True
        for start in range(0, len(self._content), 1 << 16):
            yield self._content[start : start + (1 << 16)]
        yield await self._rest

    def ends(self, rest: bytes = b"") -> None:
        self._rest.set_result(rest)

    def breaks_off(self) -> None:
        self._rest.set_exception(Problem(400, "upload_interrupted", "The upload broke off."))


class Receptions:
    """Requests that are being received, without a gateway."""

    def __init__(self, uploads: Uploads, store: Store, pace: Pace) -> None:
        self.uploads = uploads
        self.receiving = Receiving(uploads, store, pace)

    async def begin(
        self, counted_as: str = CALLERS[0], content: bytes = CONTENT[:5], checksum: Checksum | None = None
    ) -> tuple[Kept, Body, asyncio.Task[object]]:
        kept, body = await created(self.uploads, counted_as, len(CONTENT) * 6), Body(content)
        receiving = self.receiving.receive(kept, 0, aiter(body), announced=None, checksum=checksum)
        return kept, body, asyncio.create_task(receiving)


def pace(**numbers: float) -> Pace:
    return Pace(part_bytes=PART, lease_s=30, wait_s=0.3, **numbers)  # type: ignore[arg-type]


async def test_so_many_requests_are_received_at_once_half_of_them_of_one_caller_and_one_more_waits_or_is_refused(
    uploads: Uploads, store: Store
) -> None:
    receptions = Receptions(uploads, store, pace(at_once=4))
    begun = [await receptions.begin(caller) for caller in (CALLERS[0], CALLERS[0], CALLERS[1])]
    await until(lambda: all(body.is_read for _, body, _ in begun))
    kept, body, third_of_one = await receptions.begin(CALLERS[0])
    with pytest.raises(Problem) as refused:
        await third_of_one
    assert refused.value.document.status == 503
    assert refused.value.document.code == "receiving_busy"
    assert refused.value.document.detail.startswith(
        "The bytes of 3 requests are being received, 2 of them of your uploads; at most 4 are at once, 2 of one client"
    )
    assert int(refused.value.headers["Retry-After"]) >= 1
    assert not body.is_read
    assert (await uploads.again(kept)).upload.lease is None
    begun.append(await receptions.begin(CALLERS[1]))
    await until(lambda: begun[3][1].is_read)
    _, _, fifth = await receptions.begin(CALLERS[2])
    with pytest.raises(Problem, match="of 4 requests are being received, 0 of them of your"):
        await fifth
    _, waiting, sixth = await receptions.begin(CALLERS[2])
    await asyncio.wait({sixth}, timeout=0.1)
    assert not waiting.is_read
    begun[0][1].ends()
    await until(lambda: waiting.is_read)
    for _, ending, _ in [*begun[1:], (kept, waiting, sixth)]:
        ending.ends()
    await asyncio.gather(*(task for _, _, task in begun), sixth)


@pytest.mark.parametrize(("most", "of_one"), [(1, 1), (2, 1), (3, 1), (64, 32)])
async def test_a_caller_has_half_of_the_places_and_one_at_least(most: int, of_one: int) -> None:
    room = Room(most, wait_s=0.01)
    places = [await room.enter(CALLERS[0]) for _ in range(of_one)]
    for _ in range(3):  # those that gave up waiting take nothing with them
        with pytest.raises(Problem):
            await room.enter(CALLERS[0])
    places += [await room.enter(f"caller {n}") for n in range(most - of_one)]
    with pytest.raises(Problem):
        await room.enter(CALLERS[1])
    for leave in places:
        leave()
    assert len([await room.enter(f"caller {n}") for n in range(most)]) == most


async def test_what_is_refused_anyway_waits_for_no_place(uploads: Uploads, store: Store) -> None:
    receptions = Receptions(uploads, store, pace(at_once=1))
    kept, body, receiving = await receptions.begin()
    await until(lambda: body.is_read)
    locked = await uploads.again(kept)
    for refused, offset, announced, code in (
        (locked, 0, None, "upload_locked"),
        (await created(uploads), 1, None, "upload_offset_mismatch"),
        (await created(uploads), 0, len(CONTENT) + 1, "upload_too_long"),
    ):
        with pytest.raises(Problem) as problem:
            await receptions.receiving.receive(refused, offset, aiter(Body()), announced=announced)
        assert problem.value.document.code == code
    body.ends()
    await receiving


class Holding(Store):
    """A store that takes its time."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_asked = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def put_part(self, key: str, content: bytes | memoryview) -> None:
        self.is_asked.set()
        await self.goes_on.wait()
        await super().put_part(key, content)


async def test_a_place_is_free_once_what_came_is_kept_though_nobody_waits_for_it_any_more(
    uploads: Uploads, artifacts_url: str
) -> None:
    store = Holding(artifacts_url)
    receptions = Receptions(uploads, store, pace(at_once=1))
    kept, _, gone = await receptions.begin(content=CONTENT[: PART + 5])
    await store.is_asked.wait()
    for _ in range(2):
        gone.cancel()
        await asyncio.wait({gone}, timeout=0.1)
    assert gone.cancelled()
    with pytest.raises(Problem, match="of 1 requests are being received"):
        await (await receptions.begin())[2]
    store.goes_on.set()
    _, after, received = await receptions.begin()
    await until(lambda: after.is_read)
    assert (await uploads.again(kept)).upload.parts == [PART, 5]
    after.ends()
    await received


async def test_a_place_is_free_after_every_ending(uploads: Uploads, artifacts_url: str) -> None:
    class Full(Store):
        async def put_part(self, key: str, content: bytes | memoryview) -> None:
            raise StoreFull("no room")

    receptions = Receptions(uploads, Full(artifacts_url), pace(at_once=1))
    with pytest.raises(StoreFull):
        await (await receptions.begin(content=CONTENT[: 2 * PART + 5]))[2]
    kept, body, taken_over = await receptions.begin(content=b"")
    await until(lambda: body.is_read)
    now = await uploads.again(kept)
    await uploads.save(now, now.upload)
    body.ends()
    with pytest.raises(Problem, match="Another request goes on"):
        await taken_over
    _, broken, breaking = await receptions.begin(content=b"")
    await until(lambda: broken.is_read)
    broken.breaks_off()
    with pytest.raises(Problem, match="broke off"):
        await breaking
    _, last, received = await receptions.begin(content=b"")
    await until(lambda: last.is_read)
    last.ends()
    await received


def test_memory_that_is_given_up_is_the_systems_again_and_can_be_filled_again() -> None:
    buffer = Buffer(PART)
    buffer.fill(memoryview(CONTENT[:PART]))
    seen = buffer.content
    assert seen == CONTENT[:PART]
    buffer.give_up()
    assert bytes(seen) == bytes(PART)  # new memory is empty
    buffer.fill(memoryview(b"again"))
    assert bytes(buffer.content) == b"again"


async def test_requests_that_stall_hold_no_memory_and_leave_none_when_they_are_cut(
    uploads: Uploads, store: Store
) -> None:
    """Those with a checksum hold theirs until then, since nothing of them may be kept before it was compared."""
    content = bytes(NEARLY_TWO)
    receptions = Receptions(uploads, store, Pace(lease_s=0.2))
    before = resident_bytes()
    stalled = [await receptions.begin(content=content) for _ in range(STALLED)]

    async def all_kept() -> bool:
        offsets = [(await uploads.again(kept)).upload.offset for kept, _, _ in stalled]
        return offsets == [NEARLY_TWO] * STALLED

    await until(all_kept, timeout_s=60)
    await until(lambda: resident_bytes() - before < GROWTH_MAX)
    for _, body, _ in stalled:
        body.breaks_off()
    await asyncio.gather(*(task for _, _, task in stalled), return_exceptions=True)
    assert resident_bytes() - before < GROWTH_MAX
    checked = [await receptions.begin(CALLERS[1], content, Checksum("sha256", bytes(32))) for _ in range(STALLED)]
    await until(lambda: resident_bytes() - before > STALLED * LEAF_BYTES, timeout_s=60)
    for _, body, _ in checked:
        body.breaks_off()
    await asyncio.gather(*(task for _, _, task in checked), return_exceptions=True)
    assert resident_bytes() - before < GROWTH_MAX


async def test_what_comes_after_a_stall_is_received_as_ever(uploads: Uploads, store: Store) -> None:
    receptions = Receptions(uploads, store, Pace(part_bytes=PART, lease_s=0.1))
    kept, body, receiving = await receptions.begin(content=CONTENT[: PART + 5])

    async def is_kept() -> bool:
        return (await uploads.again(kept)).upload.offset == PART + 5

    await until(is_kept)
    body.ends(CONTENT[PART + 5 :])
    await receiving
    upload = (await uploads.again(kept)).upload
    assert b"".join([block async for block in store.read(upload.source)]) == CONTENT


async def test_a_gateway_whose_clients_stall_and_are_cut_is_as_small_as_before(environ: dict[str, str]) -> None:
    async with gateway_process(environ | {"SUBTIDE_GATEWAY_UPLOAD_LEASE_S": "0.5"}) as (gateway, process):
        before = process.memory_info().rss
        ats = [await begin(gateway, 2 * LEAF_BYTES) for _ in range(STALLED)]
        writers = await asyncio.gather(*(half_open(gateway, at, bytes(NEARLY_TWO), 2 * LEAF_BYTES) for at in ats))

        async def all_kept() -> bool:
            return [await offset_of(gateway, at) for at in ats] == [NEARLY_TWO] * STALLED

        await until(all_kept, timeout_s=60)
        await until(lambda: process.memory_info().rss - before < GROWTH_MAX)
        for writer in writers:
            writer.transport.abort()
        for at in ats:
            await until(released(gateway, at))
        assert process.memory_info().rss - before < GROWTH_MAX


async def test_a_request_that_waits_for_its_place_is_received_when_another_is_cut(environ: dict[str, str]) -> None:
    async with running_gateway(environ_small(environ) | {"SUBTIDE_GATEWAY_MAX_RECEIVING": "4"}) as gateway:
        ats = [await begin(gateway) for _ in range(3)]
        first, second = [await half_open(gateway, at, CONTENT[:5]) for at in ats[:2]]
        for at in ats[:2]:
            await until(lambda at=at: has_arrived(gateway, at, 5))
        third = asyncio.create_task(send(gateway, ats[2], CONTENT))
        assert (await asyncio.wait({third}, timeout=0.5))[0] == set()
        assert await offset_of(gateway, ats[2]) == 0
        first.close()
        assert (await third).status_code == 204
        second.close()


async def has_arrived(gateway: Gateway, at: str, offset: int) -> bool:
    return await offset_of(gateway, at) == offset


def released(gateway: Gateway, at: str) -> Callable[[], object]:
    async def answers() -> bool:
        headers = BYTES | {"Upload-Offset": str(NEARLY_TWO)}
        return (await gateway.http.patch(at, content=b"", headers=headers)).status_code == 204

    return answers


def environ_small(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"SUBTIDE_GATEWAY_UPLOAD_PART_BYTES": str(PART), "SUBTIDE_GATEWAY_UPLOAD_LEASE_S": "0.5"}


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@asynccontextmanager
async def gateway_process(environ: dict[str, str]) -> AsyncIterator[tuple[Gateway, psutil.Process]]:
    """A gateway in a process of its own."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway", env=os.environ | environ | {"SUBTIDE_GATEWAY_PORT": str(port)}
    )
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:

        async def answers() -> bool:
            try:
                return (await http.get("/health/live")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await until(answers, timeout_s=60)
            yield (
                Gateway(url, http, asyncio.Event(), asyncio.create_task(asyncio.sleep(0))),
                psutil.Process(process.pid),
            )
        finally:
            process.terminate()
            await process.wait()
