"""A team that writes to reporters: the rooms that answer, and those in which people have a say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.answering import SECRET, House, a_house, parsed, part_of, text_of
from tests.support.keys import REPORTER, Keys, Ring
from tests.support.messages import NOON, an_alias
from tests.support.stores import REPORT, a_route, opened_case

from secbridge.model.alias import Member
from secbridge.model.case import Case, IssueRef, KeyBinding
from secbridge.model.delivery import Attempted, Filed, Incoming, Judged, Opened, Routed
from secbridge.model.envelope import Envelope, Target
from secbridge.model.message import CertificateSource, Protection
from secbridge.model.reply import OutgoingMail, ReplyKind, Said, Saying
from secbridge.pipeline.claiming import Claiming
from secbridge.pipeline.speaking import Speaking

ISSUE = "https://gitlab.example.org/acme/web/-/issues/7"
"""Where the case's issue is."""

ALICE = Member("alice@example.org", account="alice", name="Alice Liddell")
BOB = Member("bob@example.org", account="bob", name="Bob")


@dataclass
class Team:
    """The rooms, and cases to write in."""

    house: House
    speaking: Speaking
    claiming: Claiming
    opened: int = 0

    async def open_case(
        self,
        *,
        must_encrypt: bool = True,
        key: str | None = "",
        url: str = ISSUE,
        reporter: str | None = "",
        language: str = "",
    ) -> Case:
        """Return a case with an issue; ``key`` is bound to it, "" stands for the reporter's.

        A reporter "" without a key is one who never wrote before.
        """
        store, alias = self.house.store, self.house.alias.address
        self.opened += 1
        if reporter == "":
            reporter = f"reader-{self.opened}@example.net" if key is None else REPORTER
        name = f"<report-{self.opened}@example.net>"
        content = f"Message-ID: {name}\r\n\r\nHello\r\n".encode()
        envelope = Envelope(reporter or "", (alias,), "127.0.0.1", NOON)
        (delivery,) = await store.accept(envelope, content, [Target(alias, alias)])
        moves = (Opened(Protection.ENCRYPTED), Judged(REPORT), Routed(a_route()))
        await store.record(delivery, *moves)
        case = await opened_case(
            store,
            delivery,
            a_route(),
            reporter=reporter,
            must_encrypt=must_encrypt,
            language=language,
        )
        number = str(self.opened)
        issue = IssueRef("local", "security", number, number, url)
        filed = Filed(case.id, issue, Incoming(name, by_reporter=True))
        await store.record(delivery, Attempted("file"), filed)
        fingerprint = self.house.keys.reporter_fpr if key == "" else key
        if fingerprint is not None:
            await self.bind(case, fingerprint)
        return await self.now(case)

    async def bind(self, case: Case, fingerprint: str) -> None:
        """Bind a key to a case."""
        source = CertificateSource.INSIDE
        binding = KeyBinding(REPORTER, fingerprint, source, self.house.clock.now())
        await self.house.store.bind_key(case.id, binding)

    async def now(self, case: Case) -> Case:
        """Return a case as the store has it now."""
        found = await self.house.store.get_case(case.id)
        assert found is not None
        return found

    async def said(self, case: Case, saying: Saying) -> Said:
        """Say something that can be said."""
        said = await self.speaking.say(case, saying)
        assert isinstance(said, Said), said
        return said

    async def mails(self, case: Case) -> list[OutgoingMail]:
        """Return the mails of a case, oldest first."""
        return [row.mail for row in await self.house.store.mails_of_case(case.id)]

    async def letter(self, *, must_encrypt: bool, **given: str) -> OutgoingMail:
        """Return the reporter's copy of a genuine letter in a case of its own."""
        key = "" if must_encrypt else None
        case = await self.open_case(must_encrypt=must_encrypt, key=key)
        await self.said(case, reply(**given))
        return (await self.mails(case))[0]

    def read(self, mail: OutgoingMail, ring: Ring | None = None) -> str:
        """Return the text of a mail as its reader sees it, decrypted where it is encrypted."""
        outer = parsed(mail.content)
        if outer.get_content_type() == "multipart/encrypted":
            ring = ring or self.house.keys.reporter
            return text_of(parsed(ring.decrypt(part_of(outer, 1))))
        return text_of(outer)


def reply(text: str = "Thank you, we can reproduce it.", *, key: str = "comment-1") -> Saying:
    """Return what ``sb: reply`` has said."""
    return Saying(ReplyKind.REPLY, key, "alice", text=text)


@asynccontextmanager
async def a_team(
    keys: Keys,
    ring: Ring,
    folder: Path,
    *,
    members: tuple[Member, ...] = (ALICE, BOB),
    templates: str = "",
    sign_as: str = "team",
) -> AsyncIterator[Team]:
    """Open the rooms over a ring with the role key, which learns the reporter's certificate."""
    ring.take(keys.reporter_cert)
    alias = an_alias(members=members, templates=templates)
    async with a_house(keys, ring, folder, alias) as house:
        rooms = (house.openpgp, house.store, house.store, house.wording)
        aliases = {house.alias.address: house.alias}
        yield Team(
            house,
            Speaking(*rooms, aliases, secret=SECRET, clock=house.clock, sign_as=sign_as),
            Claiming(*rooms, aliases, secret=SECRET, clock=house.clock),
        )
