"""How often one client may ask: counted to the last one, for a bounded number of clients."""

from typing import Any

import pytest

from services.gateway import access
from services.gateway.rates import Rate, Rates
from services.gateway.settings import Settings

SECRET = b"key"
JOB = "/api/jobs/" + "a" * 32


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Client:
    """Asks the rates in front of an app that always answers the same."""

    def __init__(self, **settings: int) -> None:
        self.clock = Clock()
        self.status = 200
        self.asked = 0
        self._serve = Rates(Settings(**settings), SECRET, self.clock, self._passes).limited(self._app)

    async def ask(
        self, path: str = JOB, *, method: str = "GET", token: str = "", address: str = "192.0.2.1", query: str = ""
    ) -> tuple[int, dict[str, str]]:
        """What one request is answered: the status, and the headers of the limits."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope: Any = {
            "type": "http", "method": method, "path": path, "query_string": query.encode(), "client": (address, 1),
            "headers": [(b"authorization", f"Bearer {token}".encode())] if token else [],
        }  # fmt: skip
        await self._serve(scope, receive, send)
        return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}

    async def speak(self, messages: int) -> float:
        """How long it takes until so many messages of a websocket are read."""
        began_s, scope = self.clock.now_s, {"type": "websocket", "path": "/ws", "query_string": b"", "headers": []}

        async def receive() -> Any:
            return {"type": "websocket.receive", "text": "{}"}

        async def reading(_: Any, received: Any, __: Any) -> None:
            for _ in range(messages):
                await received()

        self._reads = reading
        await self._serve(scope | {"client": ("192.0.2.1", 1)}, receive, lambda _: None)  # type: ignore[arg-type]
        return self.clock.now_s - began_s

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        if scope["type"] == "websocket":
            await self._reads(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": self.status, "headers": []})

    async def _passes(self, seconds: float) -> None:
        self.clock.now_s += seconds


async def test_the_last_request_of_a_minute_is_answered_and_one_more_is_not() -> None:
    client = Client(requests_per_minute=5)
    for left in (4, 3, 2, 1, 0):
        status, headers = await client.ask()
        assert status == 200
        assert headers == {"ratelimit-policy": '"requests";q=5;w=60', "ratelimit": f'"requests";r={left};t=60'}
    status, headers = await client.ask()
    assert status == 429
    assert client.asked == 5
    assert headers["retry-after"] == "72"
    assert headers["ratelimit"] == '"requests";r=0;t=60'
    assert (await client.ask(address="192.0.2.2"))[0] == 200


async def test_who_comes_back_after_what_he_was_told_is_answered() -> None:
    client = Client(requests_per_minute=5)
    for _ in range(5):
        await client.ask()
    wait_s = int((await client.ask())[1]["retry-after"])
    client.clock.now_s += wait_s - 1
    assert (await client.ask())[0] == 429
    client.clock.now_s += 1
    assert (await client.ask())[0] == 200
    assert (await client.ask())[0] == 429


async def test_a_minute_that_ended_long_ago_does_not_count() -> None:
    client = Client(requests_per_minute=2)
    for _ in range(3):
        await client.ask()
    client.clock.now_s += 120
    assert [(await client.ask())[0] for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("gap_s", [0.0, 7.0, 12.0, 59.9])
def test_no_minute_has_many_more_than_the_limit(gap_s: float) -> None:
    rate, now_s, taken = Rate("requests", 10), 0.0, []
    while now_s < 600:
        if not rate.state("one", now_s).wait_s:
            rate.count("one", now_s)
            taken.append(now_s)
        now_s += max(gap_s / 10, 0.25)
    for began_s in taken:
        assert sum(began_s <= one < began_s + 60 for one in taken) <= 12


async def test_a_rate_of_nought_is_off() -> None:
    client = Client(requests_per_minute=0, submits_per_minute=0)
    for _ in range(2000):
        status, headers = await client.ask("/api/jobs/submit", method="POST")
    assert (status, headers) == (200, {})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/jobs/submit"),
        ("PUT", "/api/jobs/submit/talk.mp4"),
        ("PUT", "/api/jobs/submit/"),
        ("PUT", "/api/jobs/submit"),
        ("POST", "/api/uploads"),
        ("POST", "/api/uploads/signed"),
        ("POST", "/api/batches"),
        ("POST", f"{JOB}/retry"),
        ("POST", f"{JOB}/share"),
    ],
)
async def test_what_creates_something_is_counted_besides(method: str, path: str) -> None:
    client = Client(submits_per_minute=2)
    statuses = [(await client.ask(path, method=method))[0] for _ in range(3)]
    status, headers = await client.ask(path, method=method)
    assert statuses == [200, 200, 429]
    assert headers["ratelimit-policy"] == '"requests";q=3000;w=60, "submits";q=2;w=60'
    assert headers["ratelimit"] == '"requests";r=2998;t=60, "submits";r=0;t=60'
    assert (await client.ask())[0] == 200
    assert status == 429


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "/api/uploads/0"), ("HEAD", "/api/uploads/0"), ("PUT", "/api/uploads/0/parts/1")]
)
async def test_pieces_of_uploads_are_counted_by_themselves_and_there_may_be_ten_times_as_many(
    method: str, path: str
) -> None:
    client = Client(requests_per_minute=50)
    assert {(await client.ask(path, method=method))[0] for _ in range(500)} == {200}
    assert (await client.ask(path, method=method))[0] == 429
    assert (await client.ask())[0] == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/assets/web/index-1.js"])
async def test_health_and_the_files_of_the_page_are_not_counted(path: str) -> None:
    client = Client(requests_per_minute=1)
    assert [(await client.ask(path))[0] for _ in range(5)] == [200] * 5
    assert (await client.ask(path))[1] == {}


async def test_a_token_that_opened_something_is_counted_for_itself() -> None:
    client = Client(requests_per_minute=3)
    assert [(await client.ask(token="good"))[0] for _ in range(4)] == [200] * 4
    assert [(await client.ask())[0] for _ in range(3)] == [200, 200, 429]
    assert [(await client.ask(query="token=good"))[0]][0] == 429
    client.clock.now_s += 120
    assert (await client.ask(query="token=good", address="198.51.100.1"))[0] == 200


async def test_what_creates_something_is_counted_by_address_whatever_token_comes_along() -> None:
    client = Client(submits_per_minute=3)
    for n in range(5):
        await client.ask(token=f"good {n}")
    answered = [(await client.ask("/api/uploads", method="POST", token=f"good {n}"))[0] for n in range(5)]
    assert answered == [200, 200, 200, 429, 429]


async def test_all_tokens_of_one_address_together_have_an_end() -> None:
    client = Client(requests_per_minute=2)
    for n in range(40):
        assert (await client.ask(token=f"good {n}"))[0] == 200
        client.clock.now_s += 60
    client.clock.now_s += 120
    answered = [(await client.ask(token=f"good {n % 40}"))[0] for n in range(41)]
    assert answered == [200] * 40 + [429]
    assert (await client.ask(token="good 0", address="192.0.2.2"))[0] == 200


async def test_messages_of_a_websocket_are_read_as_often_as_requests_are_answered() -> None:
    assert await Client(requests_per_minute=60).speak(59) == 0  # the handshake is one
    client = Client(requests_per_minute=60)
    assert await client.speak(61) > 50
    assert (await client.ask())[0] == 429


async def test_tokens_that_somebody_makes_up_do_not_get_him_more_requests() -> None:
    client = Client(requests_per_minute=3, wrong_tokens_per_minute=0)
    client.status = 404
    assert [(await client.ask(token=f"made up {n}"))[0] for n in range(4)] == [404, 404, 404, 429]


async def test_a_token_is_not_known_from_an_address_that_opens_to_everybody() -> None:
    client = Client(requests_per_minute=3)
    answered = [(await client.ask("/api/capacity", token=f"made up {n}"))[0] for n in range(4)]
    assert answered == [200, 200, 200, 429]


async def test_a_token_is_not_known_from_the_address_of_a_part_which_needs_none() -> None:
    client = Client(requests_per_minute=1)
    part = f"/api/uploads/{'a' * 48}/parts/1"
    answered = [(await client.ask(part, method="PUT", token=f"made up {n}"))[0] for n in range(11)]
    assert answered == [200] * 10 + [429]


@pytest.mark.parametrize("status", [401, 404])
async def test_wrong_tokens_of_one_address_end_at_their_limit_and_right_ones_go_on(status: int) -> None:
    client = Client(wrong_tokens_per_minute=3)
    await client.ask(token="good")
    client.status = status
    assert [(await client.ask(token=f"guess {n}"))[0] for n in range(3)] == [status] * 3
    answered, headers = await client.ask(token="guess 4")
    assert answered == 429
    assert headers["retry-after"] == "80"
    client.status = 200
    assert (await client.ask(token="good"))[0] == 200
    assert (await client.ask())[0] == 200
    assert (await client.ask(token="guess 5", address="192.0.2.9"))[0] == 200


async def test_not_found_without_a_token_is_no_wrong_token() -> None:
    client = Client(wrong_tokens_per_minute=1)
    client.status = 404
    assert [(await client.ask())[0] for _ in range(3)] == [404] * 3


def test_no_more_clients_are_kept_than_a_bound() -> None:
    rate = Rate("requests", 1, clients_max=100)
    for n in range(1000):
        rate.count(access.counted_as(f"10.0.{n // 256}.{n % 256}", SECRET), 0.0)
    assert len(rate) == 100
    assert rate.state(access.counted_as("10.0.3.231", SECRET), 0.0).wait_s
    assert not rate.state(access.counted_as("10.0.0.0", SECRET), 0.0).wait_s


@pytest.mark.parametrize("setting", ["requests_per_minute", "submits_per_minute", "wrong_tokens_per_minute"])
def test_a_rate_below_nought_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        Settings(**{setting: -1})
