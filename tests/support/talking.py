"""A team that talks to its office: people write on issues, change them, and read what is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.answering import part_of, text_of
from tests.support.keys import Keys, Ring
from tests.support.messages import an_alias
from tests.support.office import Office, an_office, letter, outer

from secbridge.model.alias import Alias, Member
from secbridge.model.case import Case
from secbridge.model.issue import IssueChange
from secbridge.pipeline.conversation import Conversation, Habits
from secbridge.ports import LocalIssue
from secbridge.trackers.local import open_issue, write_comment

PLACE = ("local", "security")

TEAM = (
    Member("alice@example.org", account="alice", name="Alice Example"),
    Member("bob@example.org", account="bob", name="Bob Example"),
)


@dataclass
class Talk:
    """An office whose conversation listens when the test says so."""

    office: Office
    conversation: Conversation
    keys: Keys
    read: dict[bytes, str] = field(default_factory=dict)

    async def report(self, name: str = "one", *, clear: bool = False) -> Case:
        """Let a report come in, and return its case.  ``name`` makes its Message-ID."""
        raw = letter(self.keys, "It breaks.", name=name, attach=[self.keys.reporter_cert])
        if clear:
            head = "From: reporter@example.net\nTo: security@example.org\nSubject: It breaks\n"
            raw = f"{head}Message-ID: <{name}@example.net>\n\nIt breaks.\n".encode()
            raw = raw.replace(b"\n", b"\r\n")
        return await self.office.case(await self.office.receive(raw))

    async def write(self, text: str, *, issue: int = 1, by: str = "alice") -> str:
        """Write a comment as a person of the team, and return the key under which it is heard."""
        house = self.office.house
        comment = await write_comment(
            house.store, self.office.sealer, issue, author=by, text=text, clock=house.clock
        )
        return f"comment-{comment.id}"

    async def say(self, text: str, *, issue: int = 1, by: str = "alice") -> str:
        """Write a comment, let it be heard, and return what stands last on the issue then."""
        await self.write(text, issue=issue, by=by)
        await self.listen()
        (*_, last) = await self.office.store.comments(issue)
        return (await self.office.sealer.unseal(last.sealed_body)).content.decode()

    async def change(self, change: IssueChange, *, issue: int = 1) -> None:
        """Change an issue as a person of the team, and let it be heard."""
        now = self.office.house.clock.now()
        await self.office.store.change_issue(issue, change, now, by="alice")
        await self.listen()

    async def listen(self) -> None:
        """Hear what is new, and let what it brought about be done."""
        await self.conversation.listen(PLACE)
        await self.office.work()

    async def comments(self, issue: int = 1) -> list[str]:
        """Return what is written on an issue, oldest first."""
        opened = await open_issue(self.office.store, self.office.sealer, issue)
        assert opened is not None
        return [comment.text for comment in opened.comments]

    async def issue(self, number: int = 1) -> LocalIssue:
        """Return an issue's row."""
        row = await self.office.store.read_issue(number)
        assert row is not None
        return row

    async def case(self, case: Case) -> Case:
        """Return a case as it stands now."""
        found = await self.office.store.get_case(case.id)
        assert found is not None
        return found

    def letters(self) -> list[str]:
        """Return the texts of the encrypted mails that the reporter got, oldest first."""
        mails = [outer(taken.content) for taken in self.office.sent()]
        sealed = [part_of(mail, 1) for mail in mails if "encrypted" in mail.get_content_type()]
        return [self._opened(each) for each in sealed]

    def _opened(self, sealed: bytes) -> str:
        if sealed not in self.read:
            self.read[sealed] = text_of(outer(self.keys.reporter.decrypt(sealed)))
        return self.read[sealed]


@asynccontextmanager
async def a_talk(
    keys: Keys,
    ring: Ring,
    folder: Path,
    *,
    alias: Alias | None = None,
    habits: Habits | None = None,
    **given: Any,
) -> AsyncIterator[Talk]:
    """Open an office that began to listen before anything was said.

    ``given`` goes to ``Office.conversation``.
    """
    alias = alias or an_alias(members=TEAM, labels=("Security",))
    async with an_office(keys, ring, folder, alias=alias) as office:
        talk = Talk(office, office.conversation(habits=habits, **given), keys)
        await talk.listen()
        yield talk


async def an_issue_of_people(talk: Talk, *labels: str) -> int:
    """Open an issue that no mail brought, and return its number."""
    house = talk.office.house
    row = await house.store.create_issue(
        project="security",
        marker=str(uuid4()),
        title="Found by us",
        sealed_body=await talk.office.sealer.seal(b"We found it ourselves."),
        labels=labels,
        assignees=(),
        due=None,
        now=house.clock.now(),
    )
    return row.number
