"""A web server on loopback that a test scripts byte by byte, and that counts who came."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Handle = Callable[["Request"], Awaitable[None]]


class Request:
    """One request, and the way to answer it."""

    def __init__(self, target: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        self.target = target
        self.headers = headers
        self._writer = writer

    async def send(self, content: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(content)
        await self._writer.drain()

    async def head(self, status: int, **headers: object) -> None:
        """Status line and headers; `_` in a name stands for `-`."""
        lines = [f"HTTP/1.1 {status} x", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def answer(self, content: bytes, status: int = 200, **headers: object) -> None:
        """A whole answer."""
        await self.head(status, Content_Length=len(content), **headers)
        await self.send(content)

    @property
    def first(self) -> int:
        """The first byte that is asked for."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])


class Origin:
    """Serves until its context ends. `requests` are those that came, `connections` counts."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self.handle: Handle | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def serves(self, content: bytes, *, etag: str | None = '"one"', cut_after: int | None = None) -> None:
        """A file with ranges. With `cut_after`, every connection breaks after so many bytes of it."""

        async def handle(request: Request) -> None:
            first = request.first if request.headers.get("if-range", etag) == etag and etag else 0
            rest = content[first:]
            headers = {"Content_Length": len(rest)} | ({"ETag": etag} if etag else {})
            if first:
                headers["Content_Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            await request.head(206 if first else 200, **headers)
            await request.send(rest if cut_after is None else rest[:cut_after])

        self.handle = handle

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            request = Request(lines[0].split(" ")[1], headers, writer)
            self.requests.append(request)
            if self.handle is not None:
                await self.handle(request)
        with suppress(ConnectionError):
            writer.close()


@asynccontextmanager
async def origin(host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """An origin on a free port."""
    one = Origin()
    server = await asyncio.start_server(one._connected, host, 0, ssl=tls)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
