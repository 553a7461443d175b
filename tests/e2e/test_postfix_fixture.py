"""Does our Postfix do what docs/postfix.md promises?  Asked before secbridge stands behind it."""

from __future__ import annotations

import asyncio
import smtplib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session
from tests.support.postfix import Postfix, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

ALIAS = "security@example.org"
REPORTER = "reporter@example.net"
MEMBER = "alice@example.net"
MAIL = (
    b"From: reporter@example.net\r\nDate: Sun, 22 Nov 2026 08:00:00 +0000\r\n"
    b"Message-ID: <1@example.net>\r\nSubject: hello\r\n\r\nA word.\r\n"
)


@dataclass
class Sink:
    """A tiny LMTP server that keeps what it is given, or answers ``status``."""

    status: str = "250 2.0.0 Taken"
    recipients: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Take one mail for all its recipients."""
        if self.status.startswith("2"):
            self.recipients += envelope.rcpt_tos
            assert isinstance(envelope.content, bytes)
            self.contents.append(envelope.content)
        self.arrived.set()
        return "\r\n".join(self.status for _ in envelope.rcpt_tos)


@asynccontextmanager
async def lmtp_on_tcp(sink: Sink) -> AsyncIterator[str]:
    """Serve a sink on a free port; yields the destination for Postfix."""
    server = await asyncio.get_running_loop().create_server(
        lambda: LMTP(sink, hostname="sink.example.org"), "127.0.0.1", 0
    )
    async with server:
        yield f"inet:127.0.0.1:{server.sockets[0].getsockname()[1]}"


def hand_in(port: int, sender: str, *recipients: str) -> None:
    """Give one mail to Postfix as a client would."""
    with smtplib.SMTP("127.0.0.1", port, timeout=90) as client:
        client.sendmail(sender, recipients, MAIL)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Yield a folder that Postfix's own user may enter, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="sb", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def test_mail_for_the_alias_and_its_tagged_addresses_arrives_by_lmtp() -> None:
    """The alias and a case's own address reach the daemon; both keep their spelling."""
    sink = Sink()
    tagged = "security+sb-k7wq2@example.org"
    async with lmtp_on_tcp(sink) as destination:
        with Postfix(aliases={ALIAS: destination}) as postfix:
            await asyncio.to_thread(hand_in, postfix.smtp_port, REPORTER, ALIAS, tagged)
            await asyncio.to_thread(postfix.wait_until_queue_is_empty)

    assert sorted(sink.recipients) == sorted([ALIAS, tagged])
    assert all(content.endswith(MAIL) for content in sink.contents)


async def test_lmtp_through_a_unix_socket(short_folder: Path) -> None:
    """A socket file does as well as a port."""
    sink = Sink()
    path = short_folder / "lmtp"
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: LMTP(sink, hostname="sink.example.org"), path
    )
    path.chmod(0o666)
    async with server:
        with Postfix(aliases={ALIAS: f"unix:{path}"}) as postfix:
            await asyncio.to_thread(hand_in, postfix.smtp_port, REPORTER, ALIAS)
            await asyncio.to_thread(postfix.wait_until_queue_is_empty)

    assert sink.recipients == [ALIAS]


async def test_a_mail_from_the_smarthost_port_reaches_the_reporters_maildir() -> None:
    """What the daemon submits is delivered to a person's maildir."""
    with Postfix(aliases={ALIAS: "inet:127.0.0.1:9"}, mailboxes=[REPORTER]) as postfix:
        await asyncio.to_thread(hand_in, postfix.submission_port, ALIAS, REPORTER)
        (mail,) = await asyncio.to_thread(postfix.wait_for_mail, REPORTER)

    assert mail.endswith(MAIL.replace(b"\r\n", b"\n"))


async def test_members_get_copies_of_the_alias_and_none_of_a_cases_own_address() -> None:
    """The plain alias is copied to the members; an address with a token stays between two."""
    sink = Sink()
    async with lmtp_on_tcp(sink) as destination:
        with Postfix(
            aliases={ALIAS: destination}, mailboxes=[MEMBER], copies={ALIAS: [MEMBER]}
        ) as postfix:
            for recipient in (ALIAS, "security+sb-k7wq2@example.org"):
                await asyncio.to_thread(hand_in, postfix.smtp_port, REPORTER, recipient)
            await asyncio.to_thread(postfix.wait_until_queue_is_empty)
            copies = postfix.mail(MEMBER)

    assert len(copies) == 1
    assert len(sink.recipients) == 2


async def test_a_recipient_that_nobody_configured_is_refused_at_the_door() -> None:
    """A stranger's address in the alias's domain gets 550 from Postfix itself."""
    with (
        Postfix(aliases={ALIAS: "inet:127.0.0.1:9"}) as postfix,
        pytest.raises(smtplib.SMTPRecipientsRefused) as refused,
    ):
        await asyncio.to_thread(hand_in, postfix.smtp_port, REPORTER, "nobody@example.org")

    assert refused.value.recipients["nobody@example.org"][0] == 550


async def test_a_mail_without_a_route_bounces_to_its_envelope_sender() -> None:
    """A bounce of an answer comes back to the address that names its case."""
    sink = Sink()
    reverse_path = "security+sb-k7wq2-1@example.org"
    async with lmtp_on_tcp(sink) as destination:
        with Postfix(aliases={ALIAS: destination}) as postfix:
            await asyncio.to_thread(
                hand_in, postfix.submission_port, reverse_path, "gone@elsewhere.example"
            )
            await asyncio.to_thread(postfix.wait_until_queue_is_empty)

    assert sink.recipients == [reverse_path]
    assert b"report-type=delivery-status" in sink.contents[0]


async def test_what_the_daemon_defers_waits_in_the_queue_and_comes_again() -> None:
    """While the daemon answers 451 Postfix keeps the mail, and brings it when asked again."""
    sink = Sink(status="451 4.3.0 Later")
    async with lmtp_on_tcp(sink) as destination:
        with Postfix(aliases={ALIAS: destination}) as postfix:
            await asyncio.to_thread(hand_in, postfix.smtp_port, REPORTER, ALIAS)
            await sink.arrived.wait()
            while not (waiting := await asyncio.to_thread(postfix.queue)):
                continue  # one look can miss a mail that moves within the queue
            sink.status = "250 2.0.0 Taken"
            postfix.flush()
            await asyncio.to_thread(postfix.wait_until_queue_is_empty)

    assert len(waiting) == 1
    assert sink.recipients == [ALIAS]


async def test_nothing_is_left_behind() -> None:
    """After a stop neither files nor a listening port remain."""
    postfix = Postfix(aliases={ALIAS: "inet:127.0.0.1:9"}).start()
    home, port = postfix.home, postfix.smtp_port
    postfix.stop()

    assert not home.exists()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
