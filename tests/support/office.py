"""The whole way of a mail in one process: real gpg, real store, real tracker, guard and relay.

``Office.receive`` hands a mail in, ``Office.work`` lets worker and sender do all that is due.  Time
stands still until the test moves it, so nothing happens that the test did not ask for.
"""

from __future__ import annotations

import base64
import email
import email.policy
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.support import mails
from tests.support.answering import SECRET, House, a_house
from tests.support.keys import REPORTER, Keys, Ring
from tests.support.relay import Relay, Taken, a_relay

from secbridge.model.alias import Alias
from secbridge.model.case import Case
from secbridge.model.delivery import Delivery
from secbridge.model.envelope import Envelope, Target
from secbridge.model.plaintext import Secret
from secbridge.model.reply import OutgoingMail
from secbridge.openpgp.strength import KeyLimits
from secbridge.outbound import SmtpSubmission
from secbridge.pipeline.adopting import Adopting
from secbridge.pipeline.claiming import Claiming
from secbridge.pipeline.commanding import Commanding
from secbridge.pipeline.conversation import Conversation, Habits
from secbridge.pipeline.examining import Examiner
from secbridge.pipeline.filing import Filing
from secbridge.pipeline.guarding import Guarding
from secbridge.pipeline.keychanges import KeyChanges
from secbridge.pipeline.opening import InProcessOpener, OpeningLimits
from secbridge.pipeline.sending import Sender
from secbridge.pipeline.speaking import TEAM, Speaking
from secbridge.pipeline.steps import Steps
from secbridge.pipeline.waiting import RetryPolicy
from secbridge.pipeline.worker import Worker, WorkerLimits
from secbridge.ports import Tracker
from secbridge.rules.triage import TriagePolicy
from secbridge.store import Store
from secbridge.trackers import registry
from secbridge.trackers.local import open_issue
from secbridge.trackers.registry import Sealer, TeamSealer, TrackerContext

HELD = timedelta(hours=6)
"""How often a held answer looks for a key by itself."""


@dataclass
class Office:
    """The rooms of one installation with one alias, and what went through them."""

    house: House
    relay: Relay
    worker: Worker
    sender: Sender
    changes: KeyChanges
    sealer: Sealer
    trackers: Mapping[tuple[str, str], Tracker]

    @property
    def store(self) -> Store:
        """Return the store."""
        return self.house.store

    async def receive(self, raw: bytes, *, sender: str = REPORTER, token: str | None = None) -> str:
        """Take a mail, let all be done with it that is due, and return its delivery's id."""
        delivery_id = await self.accept(raw, sender=sender, token=token)
        await self.work()
        return delivery_id

    async def accept(self, raw: bytes, *, sender: str = REPORTER, token: str | None = None) -> str:
        """Take a mail for the alias, or for the address of a case, and return its delivery's id."""
        alias = self.house.alias.address
        local, _, domain = alias.rpartition("@")
        recipient = f"{local}+sb-{token}@{domain}" if token else alias
        envelope = Envelope(sender, (recipient,), "127.0.0.1", self.house.clock.now())
        (delivery_id,) = await self.store.accept(envelope, raw, [Target(recipient, alias, token)])
        return delivery_id

    async def work(self) -> None:
        """Do everything that is due, until nothing is."""
        while await self.worker.work_once() + await self.sender.work_once():
            await self.worker.finish()
            await self.sender.finish()

    async def pass_time(self, step: timedelta) -> None:
        """Let time pass at once, and do what is due then."""
        self.house.clock.time += step
        await self.work()

    async def delivery(self, delivery_id: str) -> Delivery:
        """Return a delivery as it stands."""
        found = await self.store.get(delivery_id)
        assert found is not None
        return found

    async def case(self, delivery_id: str) -> Case:
        """Return the case of a delivery."""
        delivery = await self.delivery(delivery_id)
        assert delivery.case_id is not None
        found = await self.store.get_case(delivery.case_id)
        assert found is not None
        return found

    async def comments(self, delivery_id: str) -> list[str]:
        """Return the comments on the issue of a delivery's case, oldest first."""
        return (await self._issue(delivery_id))[1:]

    async def report(self, delivery_id: str) -> str:
        """Return the text of that issue."""
        return (await self._issue(delivery_id))[0]

    async def _issue(self, delivery_id: str) -> list[str]:
        issue = (await self.case(delivery_id)).issue
        assert issue is not None
        opened = await open_issue(self.store, self.sealer, int(issue.id))
        assert opened is not None
        return [opened.text, *(comment.text for comment in opened.comments)]

    async def outbox(self, delivery_id: str) -> Sequence[OutgoingMail]:
        """Return the mails to the reporter that a delivery caused, oldest first."""
        alias = self.house.alias.address
        rows = await self.store.find_outgoing(delivery_id)
        return [row.mail for row in rows if row.mail.recipient != alias]

    def conversation(
        self,
        *,
        trackers: Mapping[tuple[str, str], Tracker] | None = None,
        habits: Habits | None = None,
        sign_as: str = TEAM,
        adopt: bool = True,
    ) -> Conversation:
        """Return who hears the team, as the daemon makes it; it begins with the first listening."""
        house, store, trackers = self.house, self.store, trackers or self.trackers
        aliases = {house.alias.address: house.alias}
        rooms = (house.openpgp, store, store, house.wording, aliases)
        commanding = Commanding(
            cases=store,
            events=store,
            outbox=store,
            speaking=Speaking(*rooms, secret=SECRET, clock=house.clock, sign_as=sign_as),
            claiming=Claiming(*rooms, secret=SECRET, clock=house.clock),
            changes=self.changes,
            trackers=trackers,
            aliases=aliases,
            secret=SECRET,
            clock=house.clock,
        )
        adopting = Adopting((house.alias,), cases=store, events=store, clock=house.clock)
        return Conversation(
            trackers,
            events=store,
            cases=store,
            places=store,
            commanding=commanding,
            secret=SECRET,
            clock=house.clock,
            adopting=adopting if adopt else None,
            habits=habits,
        )

    def sent(self, recipient: str = REPORTER) -> list[Taken]:
        """Return what the relay took for somebody, oldest first."""
        return [taken for taken in self.relay.taken if taken.recipients == (recipient,)]


@asynccontextmanager
async def an_office(
    keys: Keys,
    ring: Ring,
    folder: Path,
    *,
    alias: Alias | None = None,
    limits: KeyLimits | None = None,
    tracker: Tracker | None = None,
    reopens: bool = True,
    policy: TriagePolicy | None = None,
    **given: Any,
) -> AsyncIterator[Office]:
    """Open the rooms over a ring with the role key; ``given`` goes to ``Answering``.

    Without a ``tracker`` the embedded one has the issues, and only then can they be read here.
    """
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(a_relay())
        house = await stack.enter_async_context(
            a_house(keys, ring, folder, alias, limits=limits, held=HELD, **given)
        )
        submission = _submission(relay)
        stack.push_async_callback(submission.aclose)
        role_keys = house.alias.role_keys
        sealer = Sealer(house.openpgp, role_keys)
        place = (house.alias.tracker, house.alias.project)
        trackers = {place: tracker or _embedded(house, sealer)}
        guarding = Guarding(trackers, house.store, clock=house.clock)
        retry = RetryPolicy(first=timedelta(minutes=1), maximum=timedelta(minutes=5))
        steps = Steps(
            deliveries=house.store,
            cases=house.store,
            events=house.store,
            examiner=Examiner(
                InProcessOpener(house.openpgp, OpeningLimits()),
                policy=policy or TriagePolicy(frozenset({house.alias.address})),
                cases=house.store,
                secret=SECRET,
            ),
            answering=house.answering,
            aliases={house.alias.address: house.alias},
            places=house.store,
            guarding=guarding,
            filing=Filing(guarding, {}),
            reopens=reopens,
        )
        yield Office(
            house,
            relay,
            Worker(steps, house.store, clock=house.clock, limits=WorkerLimits(), retry=retry),
            Sender(house.store, house.guard, submission, clock=house.clock, retry=retry),
            KeyChanges(house.store, house.openpgp),
            sealer,
            trackers,
        )


def _embedded(house: House, sealer: Sealer) -> Tracker:
    context = TrackerContext(
        "local", _no_secret, house.store, sealer, house.clock,
        team=TeamSealer(house.openpgp, house.alias.role_keys, ()),
    )  # fmt: skip
    plugin = registry.plugin("local")
    return plugin.create(context, plugin.settings_model(), house.alias.project)


def _submission(relay: Relay) -> SmtpSubmission:
    return SmtpSubmission(
        host="127.0.0.1",
        port=relay.port,
        tls="none",
        ca_file=None,
        username=None,
        password=None,
        timeout=30,
        hostname="mail.example.org",
    )


def _no_secret(name: str) -> Secret:
    raise AssertionError(f"nobody asked for {name}")


# ── Mails of reporters ───────────────────────────────────────────────────────────────────────────


def outer(content: bytes) -> EmailMessage:
    """Return a mail that the relay took, parsed."""
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def letter(
    keys: Keys,
    text: str,
    *,
    author: str = REPORTER,
    name: str = "one",
    attach: Sequence[bytes] = (),
    sign: tuple[Ring, str] | None = None,
    autocrypt: bytes | None = None,
    to: str | None = None,
    extra: str = "",
) -> bytes:
    """Return a mail that is encrypted to the alias, with certificates inside.

    ``sign``: a ring and the fingerprint of a key in it.  ``to``: another fingerprint than the role
    key's, which must be in the ring.  ``autocrypt``: a certificate for the header.
    """
    files = [mails.file(each, "key.asc", media_type="application/pgp-keys") for each in attach]
    inside = mails.multipart("mixed", [mails.text(text), *files], boundary="inside")
    ring, signer = sign or (keys.reporter, None)
    armored = ring.encrypt(inside, to or keys.role_fpr, sign=signer)
    if autocrypt is not None:
        keydata = base64.b64encode(autocrypt).decode()
        extra += f"Autocrypt: addr={author}; keydata={keydata}\n"
    head = mails.header("", author=author, extra=extra).replace(
        b"<one@example.net>", f"<{name}@example.net>".encode()
    )
    return head + mails.encrypted(armored)
