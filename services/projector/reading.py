"""The reader's side of the projection."""

import asyncio

import asyncpg

from contracts.projection import SCHEMA

_TIMEOUT_S = 5.0
_RETRY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


async def wait(database_url: str, seq: int, *, poll_s: float = 0.05) -> int:
    """Return the watermark once it has reached `seq`: what the log said until then is in the tables.

    Waits for Postgres and for the tables, too; the caller says for how long.
    """
    while True:
        try:
            connection = await asyncpg.connect(
                database_url,
                timeout=_TIMEOUT_S,
                command_timeout=_TIMEOUT_S,
                server_settings={"search_path": SCHEMA, "application_name": "subtide-wait"},
            )
            try:
                while True:
                    watermark = await connection.fetchval("SELECT seq FROM watermark")
                    if watermark is not None and watermark >= seq:
                        return int(watermark)
                    await asyncio.sleep(poll_s)
            finally:
                connection.terminate()
        except _RETRY:
            await asyncio.sleep(poll_s)
