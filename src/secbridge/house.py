"""How are the rooms joined?  The one place that knows all of them.

``open_house`` builds the rooms from the settings.  The daemon lets mail in and work go on in them;
the commands for operators open the same house without letting anybody in.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from secbridge.errors import ConfigError
from secbridge.model.alias import Alias
from secbridge.openpgp import GnuPG, KeyLimits
from secbridge.outbound import MailGuard, SmtpSubmission, TemplateWording
from secbridge.pipeline.adopting import Adopting
from secbridge.pipeline.claiming import Claiming
from secbridge.pipeline.clockwork import EACH_MINUTE, HOURLY, Chore, Tidying
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
from secbridge.pipeline.speaking import Speaking
from secbridge.pipeline.steps import Steps
from secbridge.pipeline.troubles import Troubles
from secbridge.pipeline.watching import Watching
from secbridge.ports import Clock, KeyFinder, Shelter, Tracker
from secbridge.rules.budgets import Budgets
from secbridge.settings import LOCAL_TRACKER, Settings
from secbridge.settings.tables import FollowUp
from secbridge.store import Store
from secbridge.trackers import registry
from secbridge.trackers.local import LocalTracker


class SystemClock:
    """The present, from the system."""

    def now(self) -> datetime:
        """Return the present in UTC."""
        return datetime.now(UTC)


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
        role_keys=role_keys(settings.aliases()),
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
        keys = role_keys(neighbours)
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


def role_keys(aliases: Sequence[Alias]) -> tuple[str, ...]:
    """Return the role keys of all these aliases, each once."""
    return tuple(dict.fromkeys(key for alias in aliases for key in alias.role_keys))


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
