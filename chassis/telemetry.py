"""Logs and measures of a service: structured JSON lines, and how long its event loop was ever blocked."""

import asyncio
import logging
import sys
import time
from typing import Any

import structlog

_TICK_S = 0.05


def configure_logs(service: str, *, level: str = "info") -> None:
    """One JSON object a line on stderr, ours and the libraries'."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "nats", "asyncio", "uvicorn.access", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def logger(**context: Any) -> structlog.stdlib.BoundLogger:
    """A logger that says `context` on every line."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(**context)
    return bound


class LoopWatch:
    """Measures by how much the event loop comes late to a timer: what a blocking call in it costs everybody else."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin measuring on the running loop."""
        self._task = asyncio.create_task(self._watch(), name="loop-watch")

    async def stop(self) -> float:
        """End measuring. Returns the worst delay in seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return self.worst_s

    async def _watch(self) -> None:
        log = logger()
        while True:
            before = time.monotonic()
            await asyncio.sleep(_TICK_S)
            late = time.monotonic() - before - _TICK_S
            if late > self.worst_s:
                self.worst_s = late
                if late > 0.2:
                    log.warning("event_loop_blocked", blocked_s=round(late, 3))


def _named(service: str) -> Any:
    def add(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        event.setdefault("service", service)
        return event

    return add
