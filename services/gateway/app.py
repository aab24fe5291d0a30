"""Wiring of the gateway: connections, parts, routes, and a server that stops when it is told."""

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Any

import nats
import nats.errors
import uvicorn
from litestar import Litestar, Request
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp
from nats.aio.client import Client
from nats.js.errors import Error as JetStreamError
from nats.js.kv import KeyValue

from chassis import telemetry
from chassis.admission import Admission, Limits
from chassis.broker import CONNECT_OPTIONS, saying_who_is_away
from chassis.joblog import JobLog
from chassis.settings import Connections, SettingsError, load
from chassis.stopping import Stopped, unless_stopped
from chassis.store import Store
from chassis.subscriptions import Subscriptions
from contracts import topology
from contracts.addresses import Rules
from contracts.longest import Longest
from services.gateway import (
    access,
    batch_routes,
    connections,
    form,
    handler,
    health,
    media,
    methods,
    notifications,
    page,
    pages,
    problems,
    quality,
    reconcile,
    signed,
    sockets,
    tus,
    version_routes,
)
from services.gateway.arriving import arriving
from services.gateway.batches import Batches
from services.gateway.commands import Commands
from services.gateway.crowds import bounded
from services.gateway.engine import HighWater
from services.gateway.feed import Feed
from services.gateway.hardening import hardened
from services.gateway.history import History
from services.gateway.listing import Listing
from services.gateway.origins import judging
from services.gateway.paths import spelled_once
from services.gateway.places import Places
from services.gateway.rates import Rates
from services.gateway.receiving import Pace, Receiving
from services.gateway.settings import Settings
from services.gateway.staging import Staging
from services.gateway.submit import Intake
from services.gateway.unread import closing_unread
from services.gateway.uploads import Uploads
from services.gateway.versions import Versions

_WEBSOCKET_MESSAGE_BYTES = 64 << 10
_PROVISION_POLL_S = 1.0


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    settings = load(Settings, "SUBTIDE_GATEWAY_", environ)
    limits = load(Limits, "SUBTIDE_", environ)
    connecting = load(Connections, "", environ)
    numbers = load(topology.Numbers, "SUBTIDE_", environ)
    rules = load(Rules, "SUBTIDE_FETCHER_", environ)
    push_rules = load(Rules, "SUBTIDE_NOTIFIER_", environ)
    longest = load(Longest, "SUBTIDE_EXTRACTOR_", environ)
    log = telemetry.logger(stage="gateway")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its lines for websockets have the query in them
    try:
        async with _app(settings, limits, numbers, rules, push_rules, longest, connecting, stop) as app:
            server = _Server(_config(app, settings))
            listening = _listening(settings)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            stopping = asyncio.create_task(stop.wait())
            log.info("serving", host=settings.host, port=listening.getsockname()[1])
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            server.should_exit = True
            await serving
    except Stopped:
        pass
    log.info("stopped")


@asynccontextmanager
async def _app(
    settings: Settings,
    limits: Limits,
    numbers: topology.Numbers,
    rules: Rules,
    push_rules: Rules,
    longest: Longest,
    connecting: Connections,
    stop: asyncio.Event,
) -> AsyncIterator[Any]:
    feed: Feed | None = None

    async def lost() -> None:
        if feed is not None:
            feed.lost()

    async def back() -> None:
        if feed is not None:
            feed.resume()

    away = saying_who_is_away(connecting.nats_url)

    async def failed(error: Exception) -> None:
        if not isinstance(error, nats.errors.SlowConsumerError):
            await away(error)
        elif feed is not None:
            feed.lost()
            feed.resume()

    client = await unless_stopped(
        nats.connect(
            connecting.nats_url,
            name="subtide-gateway",
            disconnected_cb=lost,
            reconnected_cb=back,
            error_cb=failed,
            **CONNECT_OPTIONS,
        ),
        stop,
    )
    try:
        bucket, upload_bucket, push_bucket = await unless_stopped(_provisioned(client), stop)
        joblog, admission, store = JobLog(client), Admission(bucket), Store(connecting.artifacts_url)
        feed = Feed(joblog)
        await feed.start(client)
        listing = Listing(connecting.database_url)
        history = History(listing)
        places = Places(joblog, admission, limits, store, heartbeat_s=numbers.heartbeat_s)
        uploads = Uploads(
            client,
            upload_bucket,
            store,
            abandoned_s=numbers.abandoned_s,
            max_unfinished=settings.max_unfinished_uploads,
        )
        pace = Pace(
            part_bytes=settings.upload_part_bytes, lease_s=settings.upload_lease_s, at_once=settings.max_receiving
        )
        receiving = Receiving(uploads, store, pace)
        owners, high_water = Commands(joblog, admission), HighWater()
        try:
            # Routes and their description take a quarter of a second to build: off the loop, before the first request.
            yield await asyncio.to_thread(
                build,
                settings,
                client=client,
                store=store,
                limits=limits,
                rules=rules,
                longest=longest,
                admission=admission,
                listing=listing,
                intake=Intake(joblog, admission, limits, store, places, history, uploads),
                uploads=uploads,
                receiving=receiving,
                staging=Staging(uploads, receiving, store),
                owners=owners,
                batches=Batches(joblog, store, places, uploads, owners, high_water, rules),
                versions=Versions(joblog, store),
                waiting=notifications.Waiting(joblog, Subscriptions(client.jetstream(), push_bucket), push_rules),
                jobs=handler.Jobs(joblog, high_water, history),
                sockets=sockets.Sockets(feed, joblog, high_water, history, settings),
            )
        finally:
            feed.close()
            history.close()
            await places.close()
            await listing.close()
    finally:
        await client.close()


def build(settings: Settings, **parts: Any) -> Any:
    """The ASGI app on its parts."""
    secret = settings.secret.encode() or secrets.token_bytes(32)

    async def provide_caller(request: Request[Any, Any, Any]) -> str:
        return access.counted_as(request.client.host if request.client else "", secret)

    app = Litestar(
        [
            *handler.ROUTES,
            *tus.ROUTES,
            *signed.ROUTES,
            *batch_routes.ROUTES,
            *reconcile.ROUTES,
            *health.ROUTES,
            *pages.ROUTES,
            *page.ROUTES,
            *media.ROUTES,
            *quality.ROUTES,
            *notifications.ROUTES,
            *version_routes.ROUTES,
            sockets.watch_jobs,
        ],
        dependencies={
            "settings": _provided(settings),
            "secret": _provided(secret),
            "credential": Provide(handler.provide_credential),
            "caller": Provide(provide_caller),
            **{name: _provided(part) for name, part in parts.items()},
        },
        exception_handlers=problems.HANDLERS,
        request_max_body_size=settings.max_upload_bytes + form.FORM_OVERHEAD_BYTES,
        openapi_config=OpenAPIConfig(
            title="Subtide",
            version=version("subtide"),
            description="Long recordings in, speaker-labelled subtitles out. Facts and websocket: `/asyncapi`.",
            path="/schema",
            render_plugins=[JsonRenderPlugin()],
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"token": []}, {}],
            use_handler_docstrings=True,
        ),
        before_send=[methods.name_all],
        logging_config=None,
    )
    _ = app.openapi_schema  # built at the first look and kept
    asked: ASGIApp = bounded(arriving(app, settings.body_idle_s), settings.max_sockets_per_client, secret)
    asked = tus.speaking(Rates(settings, secret).limited(asked), settings.max_upload_bytes)
    return closing_unread(hardened(judging(spelled_once(asked), settings)))


class _Server(uvicorn.Server):
    """The process's signals are the chassis's, not uvicorn's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: Any, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="none",
        http=connections.protocol(settings),
        ws="websockets-sansio",
        ws_max_size=_WEBSOCKET_MESSAGE_BYTES,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=settings.shutdown_s,
    )


def _listening(settings: Settings) -> socket.socket:
    """A bound socket: uvicorn's own way to say that the port is taken is to leave the process.

    asyncio sets TCP_NODELAY only on sockets that say their protocol, which these do not: answers would come 40 ms late.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as error:
        raise SettingsError(
            f"SUBTIDE_GATEWAY_HOST, SUBTIDE_GATEWAY_PORT: cannot listen on {settings.host}:{settings.port}: {error}"
        ) from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _provided(part: Any) -> Provide:
    async def provide() -> Any:
        return part

    return Provide(provide)


async def _provisioned(client: Client) -> tuple[KeyValue, KeyValue, KeyValue]:
    """The buckets of ledger, uploads and browsers that wait, once `subtide provision` has made them and the log."""
    js = client.jetstream()
    while True:
        try:
            await js.stream_info(topology.JOBS)
            return (
                await js.key_value(topology.ADMISSION),
                await js.key_value(topology.UPLOADS),
                await js.key_value(topology.NOTIFICATIONS),
            )
        except (JetStreamError, nats.errors.Error) as error:
            telemetry.logger(stage="gateway").warning(
                "waiting_for_provision", error=repr(error), hint="run `subtide provision`"
            )
            await asyncio.sleep(_PROVISION_POLL_S)
