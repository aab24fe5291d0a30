"""A websocket client as a browser has one: it reconnects for ever, and says with `since` what it saw last."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import websockets.asyncio.client
import websockets.exceptions

from contracts import facts

_PATIENCE_S = 2.0
_RETRY_S = 0.1
_BROKEN = (OSError, TimeoutError, websockets.exceptions.WebSocketException)


class Watcher:
    """Watches one job; remembers every fact it was told, in order."""

    def __init__(self, gateway: Callable[[], str], job_id: str, token: str) -> None:
        """`gateway`: the address to connect to next."""
        self.job_id = job_id
        self.heard: list[tuple[int, str, int, int | None]] = []
        """Sequence, name, run and number of each fact."""
        self.connections = 0
        self._gateway = gateway
        self._token = token
        self._since = 0

    async def watch(self, runs: int = 1) -> None:
        """Until so many runs have ended."""
        while True:
            try:
                await self._connected(runs)
            except _BROKEN:
                await asyncio.sleep(_RETRY_S)
            else:
                return

    def complaints(self, known: list[tuple[int, facts.AnyFact]]) -> list[str]:
        """What was missed or told twice, given the facts of the log."""
        seqs = [seq for seq, *_ in self.heard]
        told = {(name, run, n) for _, name, run, n in self.heard}
        last = max(seqs, default=0)
        due = {
            (facts.name(fact), fact.run, fact.n if isinstance(fact, facts.NumberedFact) else None)
            for seq, fact in known
            if fact.job_id == self.job_id and seq <= last
        }
        return [
            *([f"job {self.job_id}: the websocket was told a fact twice"] if len(seqs) != len(set(seqs)) else []),
            *([f"job {self.job_id}: the websocket was told facts out of order"] if seqs != sorted(seqs) else []),
            *(f"job {self.job_id}: the websocket missed {one}" for one in sorted(due - told, key=str)),
        ]

    async def _connected(self, runs: int) -> None:
        url = self._gateway().replace("http://", "ws://") + "/ws"
        async with websockets.asyncio.client.connect(url, open_timeout=_PATIENCE_S, close_timeout=0.5) as socket:
            self.connections += 1
            subscribe = {"type": "subscribe", "job_id": self.job_id, "token": self._token, "since": self._since}
            await socket.send(json.dumps(subscribe))
            while True:
                try:
                    message = json.loads(await asyncio.wait_for(socket.recv(), _PATIENCE_S))
                except TimeoutError:
                    await socket.send('{"type": "ping"}')  # a gateway that is stopped does not answer
                    message = json.loads(await asyncio.wait_for(socket.recv(), _PATIENCE_S))
                if message["type"] == "error" and message["code"] == "log_unavailable":
                    raise OSError("the gateway cannot reach the log")
                if message["type"] == "error":
                    return  # deleted: there is no more to hear
                if message["type"] == "fact" and self._hear(message) >= runs:
                    return

    def _hear(self, message: dict[str, Any]) -> int:
        name = message["fact"].replace("_", "-")
        n = message["data"].get("n")
        self.heard.append((message["seq"], name, message["run"], n))
        self._since = message["seq"]
        ends = {facts.name(kind) for kind in (facts.JobCompleted, facts.JobFailed, facts.JobCancelled)}
        return len({run for _, name, run, _ in self.heard if name in ends})
