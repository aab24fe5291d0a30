"""How often one client may ask: counted for a minute that slides, by each gateway process for itself.

A client is its address, or, once its token has opened something, the token: neighbours behind one address do not use up
each other's requests, and tokens that somebody makes up do not get him any. Anybody can have himself given tokens, so
what creates something is counted by address whoever asks, and all tokens of one address together have an end, too. What
is counted is kept in memory, for a bounded number of clients; it is forgotten at a restart.

The usual library (`limits`) walks over all it has counted at every request, where it counts in memory.
"""

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway import access
from services.gateway.problems import Problem, send_raw
from services.gateway.settings import Settings

WINDOW_S = 60.0
PIECES_FACTOR = 10
"""How many more pieces of uploads than other requests there may be: a file of 2 GiB comes in hundreds."""
NEIGHBOURS_FACTOR = 20
"""How many more requests there may be of all known tokens of one address together than of one of them."""
_CLIENTS_MAX = 50_000
"""Clients that one rate knows; of more, those are forgotten that have not been seen for longest."""
_TOKENS_MAX = 50_000

_FREE = re.compile(r"/health/[a-z]+|/assets/.+")
_PIECE = re.compile(r"/api/uploads/.+")
_PIECE_METHODS = frozenset({"PATCH", "HEAD", "PUT"})
_CREATES = re.compile(
    r"POST /api/(?:uploads(?:/signed)?|jobs/submit|batches|jobs/[^/]+/(?:retry|share|versions))/?"
    r"|PUT /api/jobs/submit(?:/.*)?"
)
_OPENED = re.compile(r"/api/(?:jobs|uploads|batches)/[0-9a-f]{32,64}(?:/(?!parts/).*)?")
"""Addresses that answer only to a token which opens them; a part of an upload does to a signature."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How a client stands with a rate."""

    remaining: int
    resets_s: int
    """Until the minute that is counted in ends."""
    wait_s: int = 0
    """Until there is room again; 0 where there is."""


class Rate:
    """So many in a minute that slides: what the last minute counted weighs as much as of it is in the sliding one."""

    def __init__(self, name: str, most: int, *, clients_max: int = _CLIENTS_MAX) -> None:
        self.name = name
        self.most = most
        self._clients_max = clients_max
        self._clients: OrderedDict[str, _Counted] = OrderedDict()

    @property
    def policy(self) -> str:
        """The rate as an entry of the header RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10)."""
        return f'"{self.name}";q={self.most};w={WINDOW_S:.0f}'

    def told(self, state: State) -> str:
        """How a client stands as an entry of the header RateLimit."""
        return f'"{self.name}";r={state.remaining};t={state.resets_s}'

    def state(self, client: str, now_s: float) -> State:
        """How the client stands; `wait_s` where one more would be too many."""
        counted = self._clients.get(client)
        if counted is None:
            return State(remaining=self.most, resets_s=math.ceil(WINDOW_S))
        counted.roll(now_s)
        return State(
            remaining=max(0, math.floor(self.most - counted.used(now_s))),
            resets_s=math.ceil(counted.began_s + WINDOW_S - now_s),
            wait_s=math.ceil(counted.wait_s(self.most, now_s)),
        )

    def count(self, client: str, now_s: float) -> None:
        """One more of the client."""
        counted = self._clients.pop(client, None) or _Counted(began_s=now_s)
        counted.roll(now_s)
        counted.count += 1
        self._clients[client] = counted
        while len(self._clients) > self._clients_max:
            self._clients.popitem(last=False)

    def __len__(self) -> int:
        return len(self._clients)


class _Counted(msgspec.Struct, kw_only=True):
    began_s: float
    count: int = 0
    before: int = 0
    """As counted in the minute before."""

    def roll(self, now_s: float) -> None:
        """To the minute that is now. Minutes follow one another from the first request on, until one is empty."""
        passed = int((now_s - self.began_s) // WINDOW_S)
        if passed <= 0:
            return
        self.before = self.count if passed == 1 else 0
        self.began_s = self.began_s + WINDOW_S if self.before else now_s
        self.count = 0

    def used(self, now_s: float) -> float:
        return self.before * (1 - (now_s - self.began_s) / WINDOW_S) + self.count

    def wait_s(self, most: int, now_s: float) -> float:
        """Until one more fits."""
        if self.used(now_s) + 1 <= most:
            return 0.0
        passed_s = now_s - self.began_s
        if self.count + 1 <= most:
            return (1 - (most - 1 - self.count) / self.before) * WINDOW_S - passed_s
        return WINDOW_S - passed_s + (1 - (most - 1) / self.count) * WINDOW_S


class Rates:
    """The rates of a gateway."""

    def __init__(
        self,
        settings: Settings,
        secret: bytes,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._pause = pause
        self._requests = Rate("requests", settings.requests_per_minute)
        self._pieces = Rate("pieces", settings.requests_per_minute * PIECES_FACTOR)
        self._neighbours = Rate("neighbours", settings.requests_per_minute * NEIGHBOURS_FACTOR)
        self._submits = Rate("submits", settings.submits_per_minute)
        self._wrong_tokens = Rate("wrong-tokens", settings.wrong_tokens_per_minute)
        self._opened: OrderedDict[str, None] = OrderedDict()

    def limited(self, app: ASGIApp) -> Callable[[Scope, Receive, Send], Any]:
        """The app, which is not asked by who asks too often; whoever is counted reads how he stands."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] not in (ScopeType.HTTP, ScopeType.WEBSOCKET) or _FREE.fullmatch(scope["path"]):
                await app(scope, receive, send)
                return
            method = str(scope.get("method", "GET"))
            token = _token(scope)
            address = access.counted_as(scope["client"][0] if scope["client"] else "", self._secret)
            known = token is not None and token in self._opened
            now_s = self._clock()
            counting = self._counting(method, scope["path"], address, token if known else None)
            states = [(rate, rate.state(client, now_s)) for rate, client in counting]
            guessing = self._wrong_tokens if token is not None and not known and self._wrong_tokens.most else None
            if guessing is not None:
                states.append((guessing, guessing.state(address, now_s)))
            late = [(rate, state) for rate, state in states if state.wait_s]
            if late:
                rate, state = max(late, key=lambda one: one[1].wait_s)
                await send_raw(_too_often(rate, state, _said(counting, now_s)), scope, send)
                return
            for rate, client in counting:
                rate.count(client, now_s)
            said = _said(counting, now_s)
            headers = [(name.lower().encode(), value.encode()) for name, value in said.items()]

            async def received() -> Any:
                message: Any = await receive()
                if message["type"] == "websocket.receive" and self._requests.most:
                    await self._room_for_a_message(address)
                return message

            async def sent(message: Message) -> None:
                if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                    message["headers"] = [*message.get("headers", []), *headers]
                if message["type"] == "http.response.start" and token is not None:
                    if message["status"] in (401, 404):
                        if guessing is not None:
                            guessing.count(address, self._clock())
                    elif message["status"] < 400 and method != "OPTIONS" and _OPENED.fullmatch(scope["path"]):
                        self._know(token)
                await send(message)

            await app(scope, received, sent)

        return serve

    def _counting(self, method: str, path: str, address: str, token: str | None) -> list[tuple[Rate, str]]:
        """What a request is counted by, and as whose. `token` is one that is known."""
        client = address if token is None else f"token {token}"
        pieces = method in _PIECE_METHODS and _PIECE.fullmatch(path)
        counting = [(self._pieces if pieces else self._requests, client)]
        if _CREATES.fullmatch(f"{method} {path}"):
            counting.append((self._submits, address))
        if token is not None:
            counting.append((self._neighbours, address))
        return [(rate, whose) for rate, whose in counting if rate.most]

    async def _room_for_a_message(self, address: str) -> None:
        """A message of a websocket is a request. One too many is no mistake: it is read when there is room for it."""
        while wait_s := self._requests.state(address, self._clock()).wait_s:
            await self._pause(wait_s)
        self._requests.count(address, self._clock())

    def _know(self, token: str) -> None:
        self._opened[token] = None
        self._opened.move_to_end(token)
        while len(self._opened) > _TOKENS_MAX:
            self._opened.popitem(last=False)


def _said(counting: list[tuple[Rate, str]], now_s: float) -> dict[str, str]:
    if not counting:
        return {}
    return {
        "RateLimit-Policy": ", ".join(rate.policy for rate, _ in counting),
        "RateLimit": ", ".join(rate.told(rate.state(client, now_s)) for rate, client in counting),
    }


def _token(scope: Scope) -> str | None:
    """The hash of the token that comes along."""
    authorization = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    try:
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=100)
    except ValueError:  # more fields than anything of ours has
        query = {}
    given = access.bearer(
        None if authorization is None else authorization.decode("latin-1"), next(iter(query.get("token", [])), None)
    )
    return None if given is None else access.digest(given)


_SENTENCES = {
    "requests": "You sent more than the {most:,} requests a minute that one client may send.",
    "pieces": "You sent more than the {most:,} pieces of uploads a minute that one client may send.",
    "neighbours": "From your address came more than the {most:,} requests a minute of all who send from there.",
    "submits": "From your address came more than the {most:,} requests a minute that create something.",
    "wrong-tokens": "From your address came more than the {most:,} tokens a minute that may open nothing.",
}


def _too_often(rate: Rate, state: State, said: dict[str, str]) -> Problem:
    detail = f"{_SENTENCES[rate.name].format(most=rate.most)} Try again in {state.wait_s} seconds."
    return Problem(429, "rate_limited", detail, headers={"Retry-After": str(state.wait_s), **said})
