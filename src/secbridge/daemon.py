"""How are the rooms joined, and how does the house start and stop?  The one place that knows all.

``open_house`` builds the rooms from the settings; ``run`` lets mail in and work go on until a
signal says stop.  The commands for operators open the same house without letting anybody in.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, assert_never

from secbridge import __version__, logs, maillog, systemd
from secbridge.errors import ConfigError, Deferral, PermanentFault
from secbridge.intake import Endpoint, IntakeLimits, Listener, MailProtocol
from secbridge.model.alias import Alias
from secbridge.model.issue import Severity
from secbridge.openpgp import GnuPG, KeyLimits
from secbridge.outbound import MailGuard, SmtpSubmission, TemplateWording
from secbridge.pipeline.adopting import Adopting
from secbridge.pipeline.claiming import Claiming
from secbridge.pipeline.clockwork import EACH_MINUTE, HOURLY, Chore, Clockwork, Tidying
from secbridge.pipeline.commanding import Commanding
from secbridge.pipeline.conversation import Conversation, Habits
from secbridge.pipeline.examining import Examiner
from secbridge.pipeline.filing import Filing
from secbridge.pipeline.following import Signs
from secbridge.pipeline.guarding import AFRESH, Guarding, Place
from secbridge.pipeline.keychanges import KeyChanges
from secbridge.pipeline.keyfinding import ASKED
from secbridge.pipeline.opener import ProcessOpener
from secbridge.pipeline.replying import Answering
from secbridge.pipeline.returning import Returning
from secbridge.pipeline.sending import Sender
from secbridge.pipeline.speaking import Speaking
from secbridge.pipeline.steps import Steps
from secbridge.pipeline.troubles import Troubles
from secbridge.pipeline.waiting import RetryPolicy
from secbridge.pipeline.watching import Watching
from secbridge.pipeline.worker import Worker, WorkerLimits, keep_working
from secbridge.ports import Clock, Hook, KeyFinder, Shelter, Tracker
from secbridge.rules.budgets import Budgets
from secbridge.settings import LOCAL_TRACKER, Settings
from secbridge.settings.tables import FollowUp
from secbridge.settings.written import FdEndpoint, TcpEndpoint, UnixEndpoint
from secbridge.store import Store
from secbridge.trackers import registry
from secbridge.trackers.local import LocalTracker

if TYPE_CHECKING:  # uvicorn loads when there is something to serve
    from secbridge.web import WebServer

POLL = 1.0
"""Seconds that a worker sleeps at most before it asks what is due; a commit wakes it at once."""

BUSY_PAUSE = 1.0
"""Seconds to wait when the store is busy."""

_MALLOPT = {-3: 1 << 20, -1: 4 << 20, -8: 2}
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX of glibc's mallopt(3)."""

EXIT_KILLED = 128 + signal.SIGTERM
"""Exit status after a second SIGTERM."""


class SystemClock:
    """The present, from the system."""

    def now(self) -> datetime:
        """Return the present in UTC."""
        return datetime.now(UTC)


# ── Building ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class House:
    """The rooms, joined.

    ``trackers`` are keyed by (tracker name, project); ``shelters`` by alias: the embedded tracker
    of those that have a fallback.
    """

    settings: Settings
    clock: Clock
    aliases: Mapping[str, Alias]
    store: Store
    openpgp: GnuPG
    opener: ProcessOpener
    examiner: Examiner
    answering: Answering
    guard: MailGuard
    submission: SmtpSubmission
    trackers: Mapping[Place, Tracker]
    shelters: Mapping[str, Shelter]
    guarding: Guarding
    conversation: Conversation


@contextlib.asynccontextmanager
async def open_house(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[House]:
    """Build the rooms and take them down again.  Raises ConfigError before anything is opened.

    ``clock`` is the system's, unless somebody holds another one.
    """
    clock = clock or SystemClock()
    aliases = {alias.address: alias for alias in settings.aliases()}
    secret = settings.installation_secret()
    if secret is None:
        raise ConfigError(
            settings.source,
            "daemon.installation_secret",
            "is missing",
            "name a credential or file for it, or let it be made in the state directory",
        )
    key = secret.reveal().encode()
    wording = TemplateWording(aliases.values())
    lookup_tls = _lookup_tls(settings)
    async with contextlib.AsyncExitStack() as stack:
        openpgp = build_openpgp(settings)
        stack.push_async_callback(openpgp.aclose)
        opener = build_opener(settings, openpgp)
        stack.push_async_callback(opener.aclose)
        store = await Store.open(settings.daemon.database, clock=clock)
        stack.push_async_callback(store.aclose)
        submission = _submission(settings)
        stack.push_async_callback(submission.aclose)
        trackers = _trackers(settings, tuple(aliases.values()), store, openpgp, clock)
        for tracker in trackers.values():
            stack.push_async_callback(tracker.aclose)
        yield House(
            settings=settings,
            clock=clock,
            aliases=aliases,
            store=store,
            openpgp=openpgp,
            opener=opener,
            examiner=Examiner(
                opener,
                policy=settings.triage_policy(),
                cases=store,
                secret=key,
            ),
            answering=Answering(
                openpgp,
                store,
                wording,
                secret=key,
                clock=clock,
                finder=_finder(settings, lookup_tls, store, clock),
                sources=settings.key_sources(),
                held=settings.retry.held,
                mark=settings.conversation.mark,
                outbox=store,
                budgets=Budgets(**dict(settings.answers)),
            ),
            guard=MailGuard(
                openpgp,
                wording,
                aliases.values(),
                secret=key,
                cases=store,
                mark=settings.conversation.mark,
            ),
            submission=submission,
            trackers=trackers,
            shelters=_shelters(aliases.values(), trackers),
            guarding=Guarding(
                trackers, store, clock=clock, afresh=min(AFRESH, settings.retry.maximum)
            ),
            conversation=_conversation(
                settings, store, openpgp, trackers, wording, secret=key, clock=clock
            ),
        )


def _conversation(
    settings: Settings,
    store: Store,
    openpgp: GnuPG,
    trackers: Mapping[Place, Tracker],
    wording: TemplateWording,
    *,
    secret: bytes,
    clock: Clock,
) -> Conversation:
    """Return who hears and does what the team asks in its trackers."""
    chosen = settings.conversation
    aliases = {alias.address: alias for alias in settings.aliases()}
    speaking = Speaking(
        openpgp,
        store,
        store,
        wording,
        aliases,
        secret=secret,
        clock=clock,
        mark=chosen.mark,
        slash=chosen.slash,
        sign_as=chosen.sign_as.value,
    )
    claiming = Claiming(openpgp, store, store, wording, aliases, secret=secret, clock=clock)
    adopting = Adopting(tuple(aliases.values()), cases=store, events=store, clock=clock)
    return Conversation(
        trackers,
        events=store,
        cases=store,
        places=store,
        commanding=Commanding(
            cases=store,
            events=store,
            outbox=store,
            speaking=speaking,
            claiming=claiming,
            changes=KeyChanges(store, openpgp),
            trackers=trackers,
            aliases=aliases,
            secret=secret,
            clock=clock,
            mark=chosen.mark,
        ),
        secret=secret,
        clock=clock,
        adopting=adopting if chosen.adopt else None,
        habits=Habits(
            mark=chosen.mark,
            slash=chosen.slash,
            public_replies=chosen.public_replies,
            signs=Signs(*settings.sign_commands(), nobody=_nobody(settings)),
        ),
    )


def _nobody(settings: Settings) -> tuple[str, ...]:
    """Return the accounts that get issues whose own assignees are unknown."""
    chosen = (table.get("fallback_assignee") for table in settings.trackers.values())
    return tuple(str(account) for account in chosen if account)


def build_openpgp(settings: Settings) -> GnuPG:
    """Return the room of the role keys."""
    chosen = settings.openpgp
    return GnuPG(
        settings.gnupg_home,
        role_keys=_keys(settings.aliases()),
        own_keys=[
            person.fingerprint
            for alias in settings.aliases()
            for person in alias.members
            if person.fingerprint
        ],
        limits=KeyLimits(**dict(settings.keys)),
        passphrase=settings.find_secret("openpgp.passphrase"),
        binary=chosen.gpg,
        timeout=chosen.timeout.total_seconds(),
        concurrency=chosen.processes,
        standby=True,
    )


def build_opener(settings: Settings, openpgp: GnuPG) -> ProcessOpener:
    """Return the processes that open mails; none is started yet."""
    limits = settings.opening
    return ProcessOpener(
        openpgp,
        limits=settings.opening_limits(),
        processes=limits.processes,
        max_time=limits.max_time,
        max_memory=limits.max_memory,
    )


def _lookup_tls(settings: Settings) -> ssl.SSLContext | None:
    """Return the context for look-ups, or None where nobody outside is asked.  Raises ConfigError.

    It believes the system's CAs, and the operator's own beside them.
    """
    if not set(ASKED) & set(settings.key_sources()):
        return None
    context = ssl.create_default_context()
    if settings.lookup.ca_file is None:
        return context
    try:
        context.load_verify_locations(settings.lookup.ca_file)
    except OSError:  # ssl.SSLError is one
        raise ConfigError(
            settings.source,
            "lookup.ca_file",
            "cannot be read, or holds no certificate",
            "give the PEM certificate of the CA that signed your own key directory's",
        ) from None
    return context


def _finder(
    settings: Settings, tls: ssl.SSLContext | None, store: Store, clock: Clock
) -> KeyFinder | None:
    """Return who asks others for certificates, or None where nobody outside is asked."""
    if tls is None:
        return None
    from secbridge.openpgp.discovery import Discovery, KeyServers, Memory
    from secbridge.openpgp.fetching import Fetcher  # 60 ms, for those who ask somebody

    chosen = settings.lookup
    fetcher = Fetcher(
        timeout=chosen.timeout.total_seconds(),
        max_size=chosen.max_size,
        tls=tls,
        proxy=chosen.proxy,
        private_networks=chosen.private_networks,
    )
    return Discovery(
        fetcher,
        store,
        clock=clock,
        servers=KeyServers(chosen.vks_server, chosen.hkp_server),
        memory=Memory(chosen.remember, chosen.remember_misses),
    )


def _submission(settings: Settings) -> SmtpSubmission:
    chosen = settings.submission
    return SmtpSubmission(
        host=chosen.host,
        port=chosen.port,
        tls=chosen.tls.value,
        ca_file=chosen.ca_file,
        username=chosen.username,
        password=settings.find_secret("submission.password"),
        timeout=chosen.timeout.total_seconds(),
        hostname=settings.intake.hostname,
    )


def _trackers(
    settings: Settings,
    aliases: Sequence[Alias],
    store: Store,
    openpgp: GnuPG,
    clock: Clock,
) -> dict[tuple[str, str], Tracker]:
    """Return one tracker for each (name, project) that an alias files in, now or meanwhile."""
    trackers: dict[Place, Tracker] = {}
    for name, project in dict.fromkeys(place for alias in aliases for place in _places(alias)):
        neighbours = [alias for alias in aliases if (name, project) in _places(alias)]
        plugin = registry.plugin(settings.tracker_kind(name))
        keys = _keys(neighbours)
        people = [person for alias in neighbours for person in alias.members]
        context = registry.TrackerContext(
            name=name,
            secret=partial(settings.tracker_secret, name),
            local_issues=store,
            sealer=registry.Sealer(openpgp, keys),
            clock=clock,
            labels=tuple(dict.fromkeys(label for alias in neighbours for label in alias.labels)),
            assignees=tuple(dict.fromkeys(who for alias in neighbours for who in alias.assignees)),
            team=registry.TeamSealer(
                openpgp, keys, tuple(one.fingerprint for one in people if one.fingerprint)
            ),
        )
        options = settings.tracker_settings(name, plugin)
        trackers[name, project] = plugin.create(context, options, project)
    return trackers


def _places(alias: Alias) -> Sequence[Place]:
    """Return where an alias files: where it is configured to, and in its fallback."""
    home = (alias.tracker, alias.project)
    return (home, (alias.fallback, alias.local_part)) if alias.fallback else (home,)


def _shelters(aliases: Iterable[Alias], trackers: Mapping[Place, Tracker]) -> dict[str, Shelter]:
    """Return the embedded tracker of each alias that has a fallback."""
    found: dict[str, Shelter] = {}
    for alias in aliases:
        tracker = trackers.get((alias.fallback, alias.local_part))
        if isinstance(tracker, LocalTracker):
            found[alias.address] = tracker
    return found


def _keys(aliases: Sequence[Alias]) -> tuple[str, ...]:
    """Return the role keys of all these aliases, each once."""
    return tuple(dict.fromkeys(key for alias in aliases for key in alias.role_keys))


# ── Running ──────────────────────────────────────────────────────────────────────────────────────


def run(settings: Settings, *, listen: bool = True, work: bool = True) -> int:
    """Run the daemon in the foreground until a signal says stop, and return the exit status."""
    logs.configure(settings.daemon.log_format, settings.daemon.log_level)
    _give_memory_back()
    return asyncio.run(_run(settings, listen=listen, work=work))


def _give_memory_back() -> None:
    """Let glibc return large blocks at once; by itself it keeps those of the largest mail for ever.

    Left alone it raises the size from which it returns them with each that is freed, and has a heap
    for each thread.  What stays is 4 MiB of each heap: without them every chunk that is read from a
    socket or a pipe is given back and faulted in again, which is a tenth of the time of a large
    mail.  With another C library nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError):
        for option, value in _MALLOPT.items():
            ctypes.CDLL(None).mallopt(option, value)


async def _run(settings: Settings, *, listen: bool, work: bool) -> int:
    """Open what the chosen half needs: taking mail needs the store alone, no keys and no tokens."""
    began = perf_counter()
    stopping = asyncio.Event()
    _stop_at_signals(stopping)
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings)) if work else None
        store = house.store if house else await stack.enter_async_context(_open_store(settings))
        listener = _listener(settings, store) if listen else None
        endpoints = await _open_doors(settings, listener) if listener else ()
        web = await _open_web(settings, stack) if house else None
        endpoints = (*endpoints, *(web.server.addresses if web else ()))
        loops = _start_work(house, stopping) if house else ()
        helpers = _start_helpers(house, web, stopping)
        took_ms = round((perf_counter() - began) * 1000)
        maillog.started(__version__, endpoints, len(settings.alias), took_ms)
        systemd.ready(f"{len(endpoints)} endpoints, {len(settings.alias)} aliases")
        healthy = await _until_stopped(stopping, loops)
        systemd.stopping()
        patience = settings.daemon.stop_timeout
        async with asyncio.TaskGroup() as ending:
            ending.create_task(_finish(loops, patience))
            if listener is not None:
                ending.create_task(listener.drain(patience.total_seconds()))
        await _dismiss(helpers)
        if work:
            await store.release_leases()
    maillog.stopped()
    return 0 if healthy else 1


@contextlib.asynccontextmanager
async def _open_store(settings: Settings) -> AsyncIterator[Store]:
    store = await Store.open(settings.daemon.database, clock=SystemClock())
    try:
        yield store
    finally:
        await store.aclose()


def _start_helpers(
    house: House | None, web: _Web | None, stopping: asyncio.Event
) -> list[asyncio.Task[None]]:
    """Start what goes on beside the mail: the watchdog's sign of life, the clock, the team."""
    helpers = [asyncio.create_task(_show_life(stopping))]
    if house is not None:
        clockwork = Clockwork(chores(house))
        helpers += [asyncio.create_task(_beside(clockwork.run(stopping)))]
        listening = house.conversation.run(stopping, every=house.settings.conversation.every)
        helpers += [asyncio.create_task(_beside(listening))]
        if web is not None:
            helpers += [asyncio.create_task(_beside(web.run(house, stopping)))]
        helpers += [asyncio.create_task(_beside(_look_at_keys(house)))]
        helpers += [asyncio.create_task(_beside(_warm(house)))]
    return helpers


def chores(house: House) -> Sequence[Chore]:
    """Return what is done by the clock: tidying, and looking after trackers and issues."""
    settings, store = house.settings, house.store
    tidying = Tidying(store, clock=house.clock, retention=settings.daemon.raw_mail_retention)
    watching = Watching(store, house.guarding)
    returning = Returning(
        house.guarding,
        house.shelters,
        LOCAL_TRACKER,
        places=store,
        deliveries=store,
        examiner=house.examiner,
        aliases=house.aliases,
        clock=house.clock,
        mark=settings.conversation.mark,
    )

    async def take_home() -> None:
        if house.shelters:  # a command that is copied to another tracker is our own comment there
            await house.conversation.catch_up(LOCAL_TRACKER)
        await returning.take_all_home()

    troubles = Troubles(
        store, store, house.guarding, clock=house.clock, mark=settings.conversation.mark
    )
    every = settings.retry.trackers
    return (
        Chore("tidying", HOURLY, tidying.tidy),
        Chore("guarding", every, house.guarding.check_all),
        Chore("watching", every, watching.look_around),
        Chore("returning", every, take_home),
        Chore("troubles", EACH_MINUTE, troubles.tell),
    )


async def _beside(helper: Awaitable[None]) -> None:
    """Let a helper work beside the mail: what breaks in it is told at once, and stops nothing."""
    try:
        await helper
    except Exception as error:  # noqa: BLE001 - the last net, as in the worker
        maillog.fault("daemon", type(error).__name__)


async def _show_life(stopping: asyncio.Event) -> None:
    """Tell systemd's watchdog that the loop turns, as often as the unit asks."""
    interval = systemd.watchdog_interval()
    while interval is not None and not stopping.is_set():
        systemd.watchdog()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval.total_seconds()):
                await stopping.wait()


async def _look_at_keys(house: House) -> None:
    """Try each role key once at the start: an operator learns of a dead key before a reporter does.

    Mail is taken all the same, and waits: it is safer here than in the queue of somebody else.
    """
    for fingerprint in _keys(tuple(house.aliases.values())):
        try:
            findings = await house.openpgp.self_test(fingerprint)
        except Deferral as error:
            maillog.finding(f"role key {fingerprint}", error.code, alarm=True)
            continue
        for finding in findings:
            if finding.severity is not Severity.OK:
                alarm = finding.severity is Severity.ERROR
                maillog.finding(f"role key {fingerprint}", finding.text, alarm=alarm)


async def _warm(house: House) -> None:
    """Start the processes that open mails: the first mail finds them, and a fault is told now."""
    try:
        await house.opener.warm()
    except Deferral as error:
        maillog.finding("opening", error.code, alarm=True)


def _stop_at_signals(stopping: asyncio.Event) -> None:
    """Stop in order at the first signal, and leave at once at the second."""

    def stop(number: signal.Signals) -> None:
        if stopping.is_set():
            os._exit(EXIT_KILLED)
        maillog.stopping(number.name)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


def _listener(settings: Settings, store: Store) -> Listener:
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


async def _open_doors(settings: Settings, listener: Listener) -> Sequence[str]:
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
class _Web:
    """The webhooks' door, open, and what proves those of each tracker."""

    server: WebServer
    hooks: Mapping[str, Hook]

    async def run(self, house: House, stopping: asyncio.Event) -> None:
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


async def _open_web(settings: Settings, stack: contextlib.AsyncExitStack) -> _Web | None:
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
    return _Web(server, hooks)


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


def build_steps(house: House) -> Steps:
    """Return the steps of a delivery through these rooms."""
    store, mark = house.store, house.settings.conversation.mark
    return Steps(
        deliveries=store,
        cases=store,
        events=store,
        examiner=house.examiner,
        answering=house.answering,
        aliases=house.aliases,
        places=store,
        guarding=house.guarding,
        filing=Filing(house.guarding, house.shelters, mark=mark),
        reopens=house.settings.conversation.closed is FollowUp.REOPEN,
        mark=mark,
    )


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop of work and how to let its hands finish."""

    task: asyncio.Task[None]
    crew: Worker | Sender


def _start_work(house: House, stopping: asyncio.Event) -> Sequence[_Loop]:
    """Start the loop that carries deliveries and the loop that sends mail."""
    settings, store = house.settings, house.store
    worker = Worker(
        build_steps(house),
        store,
        clock=house.clock,
        limits=WorkerLimits(settings.daemon.workers, deaths=settings.retry.quarantine_after),
        retry=RetryPolicy(settings.retry.first, settings.retry.maximum),
    )
    sender = Sender(
        store,
        house.guard,
        house.submission,
        clock=house.clock,
        retry=RetryPolicy(settings.submission.retry_first, settings.submission.retry_maximum),
        concurrency=settings.daemon.workers,
        deaths=settings.retry.quarantine_after,
    )
    return [
        _Loop(asyncio.create_task(_keep_working(worker, store.wait_for_work, stopping)), worker),
        _Loop(
            asyncio.create_task(_keep_working(sender, store.wait_for_outgoing, stopping)), sender
        ),
    ]


async def _keep_working(
    crew: Worker | Sender,
    wait_for_work: Callable[[float], Awaitable[bool]],
    stopping: asyncio.Event,
) -> None:
    await keep_working(
        crew.work_once,
        freed=crew.idle,
        wait_for_work=lambda: wait_for_work(POLL),
        stopping=stopping,
        pause=lambda: asyncio.sleep(BUSY_PAUSE),
    )


async def _until_stopped(stopping: asyncio.Event, loops: Sequence[_Loop]) -> bool:
    """Wait for a signal, or for a loop that ended by itself; return whether it was the signal."""
    signalled = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait(
        {signalled, *(loop.task for loop in loops)}, return_when=asyncio.FIRST_COMPLETED
    )
    signalled.cancel()
    for task in done - {signalled}:
        error = task.exception()
        maillog.fault("daemon", type(error).__name__ if error else "loop-ended")
    healthy = stopping.is_set()
    stopping.set()
    return healthy


async def _finish(loops: Sequence[_Loop], patience: timedelta) -> None:
    """Let the rooms in use finish; what is not over in time is resumed after the next start."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience.total_seconds()):
            await asyncio.gather(*(loop.task for loop in loops), return_exceptions=True)
            for loop in loops:
                await loop.crew.finish()
    for loop in loops:
        await loop.crew.drop()


async def _dismiss(helpers: Sequence[asyncio.Task[None]]) -> None:
    """End what went on beside the mail: a look at a key may wait for gpg longer than we may."""
    for helper in helpers:
        helper.cancel()
    await asyncio.gather(*helpers, return_exceptions=True)
