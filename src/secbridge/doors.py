"""Where do mail and webhooks come in?  The doors of the house, opened as the settings say."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, assert_never

from secbridge.errors import ConfigError, PermanentFault
from secbridge.house import House, SystemClock
from secbridge.intake import Endpoint, IntakeLimits, Listener, MailProtocol
from secbridge.ports import Hook
from secbridge.settings import Settings
from secbridge.settings.written import FdEndpoint, TcpEndpoint, UnixEndpoint
from secbridge.store import Store
from secbridge.trackers import registry

if TYPE_CHECKING:  # uvicorn loads when there is something to serve
    from secbridge.web import WebServer


def build_listener(settings: Settings, store: Store) -> Listener:
    """Return who takes mail for the store; it listens nowhere yet.  Raises ConfigError."""
    chosen = settings.intake
    return Listener(
        store,
        [alias.address for alias in settings.alias],
        postmaster=settings.postmaster,
        hostname=chosen.hostname,
        clock=SystemClock(),
        limits=IntakeLimits(
            connections=chosen.max_connections,
            connections_per_peer=chosen.max_connections_per_client,
            recipients=chosen.max_recipients,
            message_size=chosen.max_size,
            memory=max(chosen.max_bytes_in_flight, chosen.max_size),
            idle=chosen.command_timeout,
            data_time=chosen.data_timeout,
        ),
        tls=server_tls(settings),
        require_tls=chosen.require_tls,
        networks=chosen.allowed_networks,
    )


def server_tls(settings: Settings) -> ssl.SSLContext | None:
    """Return the context for STARTTLS, or None.  Raises ConfigError for a pair that won't fit."""
    chosen = settings.intake
    if chosen.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(chosen.tls_certificate, settings.secret_path("intake.tls_key"))
    except (OSError, ssl.SSLError):
        raise ConfigError(
            settings.source,
            "intake.tls_certificate",
            "and its private key cannot be read, or do not belong together",
            "give a PEM certificate chain and the PEM private key that it was made for",
        ) from None
    return context


async def open_doors(settings: Settings, listener: Listener) -> Sequence[str]:
    """Open all endpoints and return their names.  Raises ConfigError for one that cannot be had."""
    chosen = settings.intake
    wanted = [_endpoint(MailProtocol.SMTP, place) for place in chosen.smtp]
    wanted += [_endpoint(MailProtocol.LMTP, place) for place in chosen.lmtp]
    try:
        await listener.start(wanted)
    except OSError as error:
        raise ConfigError(
            settings.source,
            "intake.smtp, intake.lmtp",
            f"one of them cannot be opened ({error.strerror or type(error).__name__})",
            "choose a free port or path that this user may open",
        ) from None
    return [str(endpoint) for endpoint in listener.addresses]


def _endpoint(protocol: MailProtocol, place: TcpEndpoint | UnixEndpoint | FdEndpoint) -> Endpoint:
    match place:
        case TcpEndpoint(host, port):
            return Endpoint(protocol, host=host, port=port)
        case UnixEndpoint(path):
            return Endpoint(protocol, path=str(path))
        case FdEndpoint(number):
            return Endpoint(protocol, fd=number)
        case _:
            assert_never(place)


@dataclass(frozen=True, slots=True)
class WebDoor:
    """The webhooks' door, open, and what proves those of each tracker."""

    server: WebServer
    hooks: Mapping[str, Hook]

    async def run(self, house: House, stopping: asyncio.Event) -> None:
        """Let webhooks in until we stop; what they say makes the house look by itself."""
        from secbridge.web import Callers, HookApp

        chosen = house.settings.web
        app = HookApp(
            self.hooks,
            house.conversation.nudge,
            clock=house.clock,
            callers=Callers(proxies=chosen.proxies, per_minute=chosen.per_minute),
            max_body=chosen.max_body,
        )
        await self.server.run(app, stopping)


async def open_web(settings: Settings, stack: contextlib.AsyncExitStack) -> WebDoor | None:
    """Open the webhooks' door, if there is to be one.  Raises ConfigError."""
    if (place := settings.web.listen) is None:
        return None
    from secbridge.web import WebServer  # 100 ms, for those who have webhooks

    hooks, server = build_hooks(settings), WebServer()
    stack.callback(server.close)
    try:
        match place:
            case TcpEndpoint(host, port):
                await server.open(host=host, port=port)
            case UnixEndpoint(path):
                await server.open(path=str(path))
            case FdEndpoint(number):
                await server.open(fd=number)
            case _:
                assert_never(place)
    except OSError as error:
        raise ConfigError(
            settings.source,
            "web.listen",
            f"cannot be opened ({error.strerror or type(error).__name__})",
            "choose a free port or path that this user may open",
        ) from None
    return WebDoor(server, hooks)


def build_hooks(settings: Settings) -> dict[str, Hook]:
    """Return what proves the webhooks of each tracker that has a secret for them.

    Raises ConfigError for a secret that cannot be read, or cannot be one.
    """
    found: dict[str, Hook] = {}
    for name in settings.trackers:
        plugin = registry.plugin(settings.tracker_kind(name))
        if not isinstance(plugin, registry.HookingPlugin):
            continue
        options = settings.tracker_settings(name, plugin)
        try:
            hook = plugin.hook(partial(settings.tracker_secret, name), options)
        except PermanentFault as error:
            place = f"trackers.{name}.{error.setting}"
            raise ConfigError(settings.source, place, "cannot be used", error.mend) from None
        if hook is not None:
            found[name] = hook
    return found
