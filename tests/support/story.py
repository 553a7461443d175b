"""In which house does the story happen?  Real rooms that die and stand up again, under one clock.

``Town`` opens the daemon's own rooms over a real configuration, with real gpg, a real store, a real
relay and a tracker's fake, and does by hand what the daemon's loops do: so nothing happens that the
story did not ask for, and every death comes at a place that has a name.  A death is an exception
that nobody catches, raised before or after something that lasts (``mortal.LASTING``).  The files
are set aside at that instant, and the next house stands on them, as after a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, assert_never

import pytest
from structlog.testing import capture_logs
from tests.support.keys import ROLE, Keys, Ring
from tests.support.mortal import LASTING, named
from tests.support.relay import Relay
from tests.support.running import write_config
from tests.support.stores import StillClock
from tests.support.story_sites import Site

from secbridge import house as building
from secbridge.errors import Deferral
from secbridge.house import House
from secbridge.model.envelope import Envelope
from secbridge.outbound import TemplateWording
from secbridge.pipeline.clockwork import strike
from secbridge.pipeline.conversation import Conversation
from secbridge.pipeline.opening import InProcessOpener
from secbridge.pipeline.sending import Sender
from secbridge.pipeline.waiting import RetryPolicy
from secbridge.pipeline.worker import Worker, WorkerLimits
from secbridge.rules.addresses import AliasBook, parse_mailbox
from secbridge.settings import Settings, load
from secbridge.store import Store
from secbridge.trackers import registry

BEGIN = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
"""When the story begins: a Friday."""

BETWEEN = timedelta(minutes=3)
"""How much time passes from one event to the next."""

SOON = timedelta(minutes=30)
"""What is due within this time is waited for; a held answer's next look for a key is not."""

ROUNDS = 60
"""How often a house may be asked to go on before one event, and what follows from it, is over."""

SECRET = "0123456789abcdef" * 4
"""The installation secret, so that our Message-IDs are the same in every run."""


ALSO_LASTING: list[tuple[type, str]] = [
    (Store, "hear"),
    (Store, "record_contact"),
    (Store, "outgoing_refused"),
]
"""What lasts beside the first things of a mail's life."""


class Death(BaseException):
    """The power goes, here."""


# ── Deaths ───────────────────────────────────────────────────────────────────────────────────────


class Plan(Enum):
    """When the houses of a run die.

    ``EACH_REQUEST``: between any two events, and once before and after each kind of request that
    changes something in the tracker.  ``EACH_KIND``: the same with everything that lasts.
    ``EACH_POINT``: between any two events, and in each of them wherever it is possible.
    """

    NEVER = "never"
    EACH_REQUEST = "each request"
    EACH_KIND = "each kind"
    EACH_POINT = "each point"


@dataclass
class Fate:
    """Decides at each point whether the house dies there.

    A point is ``before`` or ``after`` with the name of what lasts, and how often that came since
    the event began or the house was built.  Only while ``armed`` somebody dies; once dead, nothing
    lasts any more.
    """

    plan: Plan = Plan.NEVER
    armed: bool = False
    dead: bool = False
    deaths: list[str] = field(default_factory=list)
    _event: str = ""
    _died_at: set[tuple[str, str]] = field(default_factory=set)
    _seen: Counter[str] = field(default_factory=Counter)

    def reach(self, when: str, what: str) -> None:
        """Die here, if it is to be."""
        if self.dead:
            raise Death
        if not self.armed:
            return
        name = f"{when} {what}"
        self._seen[name] += 1
        point = self._point(name)
        if point is not None and point not in self._died_at:
            self._died_at.add(point)
            self.deaths.append(f"{self._event}: {name} #{self._seen[name]}")
            self.dead = True
            raise Death(name)

    def _point(self, name: str) -> tuple[str, str] | None:
        match self.plan:
            case Plan.NEVER:
                return None
            case Plan.EACH_REQUEST:
                is_request = name.split(" ")[1] in {"post", "put", "patch"} and name.count(" ") > 1
                return ("", name) if is_request else None
            case Plan.EACH_KIND:
                return "", name
            case Plan.EACH_POINT:
                return self._event, f"{name} #{self._seen[name]}"
            case _:
                assert_never(self.plan)

    def begin(self, event: str) -> None:
        """Let an event begin."""
        self._event = event
        self._seen.clear()

    def live_again(self) -> None:
        """Begin the life of the next house."""
        self.dead = False
        self._seen.clear()


@contextlib.contextmanager
def mortal(fate: Fate) -> Iterator[None]:
    """Put a point before and after everything that lasts."""
    with pytest.MonkeyPatch.context() as patching:
        for owner, name in (*LASTING, *ALSO_LASTING):
            patching.setattr(owner, name, _mortal(getattr(owner, name), name, fate))
        yield


def _mortal(
    method: Callable[..., Awaitable[Any]], name: str, fate: Fate
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def lasting(self: Any, *args: Any, **kwargs: Any) -> Any:
        what = named(name, args)
        fate.reach("before", what)
        result = await method(self, *args, **kwargs)
        fate.reach("after", what)
        return result

    return lasting


# ── People and their keys ────────────────────────────────────────────────────────────────────────


@dataclass
class Cast:
    """Who is in the story, with their keys.

    Rita reports, and has another key later; Alex is a member with a key.  What one of them writes
    is the same in every run, so it is encrypted once.
    """

    keys: Keys
    rita: Ring
    rita_key: str
    rita_other_key: str
    team: Ring
    alex_key: str
    _made: dict[str, bytes] = field(default_factory=dict)

    @property
    def rings(self) -> Sequence[Ring]:
        """The rings that can read what secbridge sends."""
        return (self.rita, self.team)

    def once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return what was made under this name, making it the first time."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def names(self) -> dict[str, str]:
        """Return who a fingerprint or the id of a key is."""
        owners = {
            self.keys.role_fpr: "ROLE-KEY", self.rita_key: "RITA-KEY",
            self.rita_other_key: "RITA-OTHER-KEY", self.alex_key: "ALEX-KEY",
        }  # fmt: skip
        return {
            which: owners[primary]
            for ring in (self.keys.role, *self.rings)
            for primary in ring.fingerprints()
            if primary in owners
            for which in (primary, *ring.subkeys(primary))
        }


# ── Mails that come in ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class Incoming:
    """A mail that somebody hands in; ``sender`` "" is the null one."""

    content: bytes
    sender: str
    to: str = ROLE


Act = Callable[["Town"], Awaitable[Incoming | None]]
"""What somebody does: by hand, or by a mail that is to be handed in."""


# ── The town ─────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Rooms:
    """A house that stands, with the hands that work in it."""

    house: House
    worker: Worker
    sender: Sender
    conversation: Conversation
    closing: contextlib.AsyncExitStack


@dataclass
class Town:
    """The world of one run: a tracker with its people, a relay, and one house after the other."""

    cast: Cast
    site: Site
    relay: Relay
    folder: Path
    settings: Settings
    fate: Fate
    clock: StillClock = field(default_factory=lambda: StillClock(BEGIN))
    logs: list[Any] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    deliveries: dict[str, str] = field(default_factory=dict)
    born: dict[str, str] = field(default_factory=dict)
    _rooms: _Rooms | None = None
    _due: list[tuple[str, Incoming]] = field(default_factory=list)

    @property
    def house(self) -> House:
        """The house that stands now."""
        assert self._rooms is not None
        return self._rooms.house

    # ── A house stands, and falls ─────────────────────────────────────────────────────────────────

    async def stand(self) -> None:
        """Build a house on what is there."""
        self.fate.live_again()
        closing = contextlib.AsyncExitStack()
        settings = self.settings
        house = await closing.enter_async_context(building.open_house(settings, clock=self.clock))
        retry = RetryPolicy(settings.retry.first, settings.retry.maximum)
        limits = WorkerLimits(concurrency=1, deaths=settings.retry.quarantine_after)
        worker = Worker(
            building.build_steps(house), house.store, clock=self.clock, limits=limits, retry=retry
        )
        sender = Sender(
            house.store,
            house.guard,
            house.submission,
            clock=self.clock,
            retry=retry,
            concurrency=1,
            deaths=settings.retry.quarantine_after,
        )
        conversation = house.conversation
        self._rooms = _Rooms(house, worker, sender, conversation, closing)

    async def fall(self) -> None:
        """Let the power go: what is on the disk now is all that the next house finds."""
        assert self._rooms is not None
        self.fate.dead = True
        state, aside = self.folder / "state", self.folder / "state.aside"
        shutil.copytree(state, aside)
        await self._rooms.closing.aclose()
        self._rooms = None
        shutil.rmtree(state)
        aside.rename(state)

    # ── What happens ──────────────────────────────────────────────────────────────────────────────

    async def let_happen(self, name: str, act: Act) -> None:
        """Let one event happen, and everything that follows from it."""
        if self.events and self.fate.plan is not Plan.NEVER:
            await self.fall()
            await self.stand()
        self.events.append(name)
        self.fate.begin(name)
        self._pass_time(BETWEEN)
        if (mail := await act(self)) is not None:
            self._due.append((name, mail))
        self.fate.armed = True
        while True:
            try:
                await self._settle()
                break
            except Death:
                await self.fall()
                await self.stand()
        self.fate.armed = False
        self.left += [len(self.events)] * (len(self.relay.taken) - len(self.left))

    async def _settle(self) -> None:
        """Do all that the daemon would do soon."""
        for _ in range(ROUNDS):
            await self._take_mail()
            heard = await self._work_and_listen()
            due = [await self.house.store.next_due(), await self.house.store.next_outgoing_due()]
            next_due = min((at for at in due if at is not None), default=None)
            if next_due is not None and next_due <= self.clock.now() + SOON:
                self._pass_time(max(next_due - self.clock.now(), timedelta(seconds=1)))
            elif heard:
                return
        raise AssertionError(f"no end of {self.events[-1]!r}: {self.logs[-20:]}")

    async def _take_mail(self) -> None:
        """Hand in what nobody has taken yet: a sender who got no 250 tries again."""
        book = AliasBook([ROLE])
        for name, mail in list(self._due):
            target = book.match(parse_mailbox(mail.to))
            assert target is not None, mail.to
            envelope = Envelope(mail.sender, (mail.to,), "127.0.0.1", self.clock.now())
            (delivery,) = await self.house.store.accept(envelope, mail.content, [target])
            self.deliveries[name] = delivery
            self._due.remove((name, mail))

    async def _work_and_listen(self) -> bool:
        """Work, listen, and work at what came of it; return False when to listen once more."""
        assert self._rooms is not None
        await self._work()
        again = False
        for place in self.house.trackers:
            try:
                await self._rooms.conversation.listen(place)
            except Deferral:
                again = True
        for chore in building.chores(self.house):
            if chore.name == "troubles":
                await strike(chore)
        self._see_who_lives()
        await self._work()
        if again:
            self._pass_time(self.settings.conversation.every)
        return not again

    async def _work(self) -> None:
        assert self._rooms is not None
        worker, sender = self._rooms.worker, self._rooms.sender
        while await worker.work_once() + await sender.work_once():
            await worker.finish()
            await sender.finish()
            self._see_who_lives()
        self._see_who_lives()

    def _see_who_lives(self) -> None:
        """Raise Death if a hand died at its work: nobody else notices."""
        if self.fate.dead:
            raise Death

    def _pass_time(self, step: timedelta) -> None:
        self.clock.advance(seconds=step.total_seconds())
        self.site.hold_time(self.clock.now())

    # ── What the people of the story know ─────────────────────────────────────────────────────────

    async def case(self, name: str) -> Any:
        """Return the case that an event's mail belongs to, or that was born under a name."""
        case_id = self.born.get(name)
        if case_id is None:
            delivery = await self.house.store.get(self.deliveries[name])
            assert delivery is not None
            case_id = delivery.case_id
        found = await self.house.store.get_case(case_id or "")
        assert found is not None, name
        return found

    async def number(self, name: str) -> str:
        """Return what people call the issue of an event's mail, or of a person's."""
        if name in self.born:
            return self.born[name]
        issue = (await self.case(name)).issue
        assert issue is not None
        return str(issue.number)

    def sent(self, recipient: str) -> Sequence[Any]:
        """Return what went to somebody, each mail once, oldest first."""
        kept: dict[bytes, Any] = {}
        for taken in self.relay.taken:
            if taken.recipients == (recipient,):
                kept.setdefault(taken.content, taken)
        return list(kept.values())

    async def listen_twice_at_once(self) -> None:
        """Let a webhook and the poll look at the same time."""
        assert self._rooms is not None
        listen = self._rooms.conversation.listen
        for place in self.house.trackers:
            await asyncio.gather(listen(place), listen(place))


@contextlib.asynccontextmanager
async def a_town(
    cast: Cast,
    site: Site,
    relay: Relay,
    folder: Path,
    ring: Ring,
    *,
    fate: Fate | None = None,
    more: str = "",
) -> AsyncIterator[Town]:
    """Build the first house of a run, and take the last one down.

    ``ring`` is the role's, and changes.
    """
    _configure(cast, site, folder, ring, relay.port, more)
    settings = load(folder / "secbridge.toml")
    town = Town(cast, site, relay, folder, settings, fate or Fate())
    site.hold_time(BEGIN)
    with capture_logs() as logs, mortal(town.fate), _quickly_built(settings):
        town.logs = logs
        asyncio.get_running_loop().set_exception_handler(_nobody_mourns)
        await town.stand()
        try:
            yield town
        finally:
            town.fate.dead = False
            if town._rooms is not None:
                await town._rooms.closing.aclose()


def _nobody_mourns(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say nothing of a hand that died with its house."""
    if not isinstance(context.get("exception"), Death):
        loop.default_exception_handler(context)


@contextlib.contextmanager
def _quickly_built(settings: Settings) -> Iterator[None]:
    """Let all houses of a run share what never changes, and take a second to build otherwise.

    Mails are opened right here, without a process of their own.
    """

    class Opener(InProcessOpener):
        async def aclose(self) -> None:
            """Close nothing."""

    wording = TemplateWording(settings.aliases())
    plugins = {name: registry.plugin(name) for name in registry.names()}
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(building, "TemplateWording", lambda _: wording)
        patching.setattr(registry, "plugin", plugins.__getitem__)
        patching.setattr(
            building,
            "build_opener",
            lambda chosen, openpgp: Opener(openpgp, chosen.opening_limits()),
        )
        yield


def _configure(
    cast: Cast, site: Site, folder: Path, ring: Ring, relay_port: int, more: str
) -> None:
    tracker, alias = site.tables(folder)
    ring.take(cast.team.export(cast.alex_key))
    write_config(
        folder,
        role_home=ring.home,
        role_key=cast.keys.role_fpr,
        relay_port=relay_port,
        more=f"""quarantine_after = 1000

[lookup]
network = false

[triage]
authserv_id = "mail.example.org"

[answers]
per_sender = 100
per_case = 100

[conversation]
labels = {{ confirmed = "accept" }}
states = {{ closed = "reply We have closed this case; please write if anything is left." }}

{more}
{tracker}
""",
        alias=alias
        + f"""

[[alias.member]]
address = "alex@example.org"
account = "alex"
fingerprint = "{cast.alex_key}"
name = "Alex Meyer"

[[alias.member]]
address = "kim@example.org"
account = "kim"
name = "Kim Novak"
""",
    )
    secret = folder / "state" / "installation.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
