"""How does a finished mail reach the world?  Against a real relay on loopback."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.support.listening import client_context, server_context
from tests.support.ports import reserved_port
from tests.support.relay import CANARY, Relay, a_relay

from secbridge.errors import Deferral, MessageError, Refusal
from secbridge.model.issue import Severity
from secbridge.model.plaintext import Secret
from secbridge.outbound import SmtpSubmission

FROM = "security+sb-tok-1@example.org"
TO = "reporter@example.net"
MAIL = b"Subject: x\r\n\r\nHello\r\n.\r\n.dot\r\n"


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """Return a relay that takes everything."""
    async with a_relay() as running:
        yield running


@pytest.fixture
async def submission(relay: Relay) -> AsyncIterator[SmtpSubmission]:
    """Return a way to that relay."""
    way = SmtpSubmission(port=relay.port, timeout=20)
    yield way
    await way.aclose()


@pytest.fixture
def tls() -> ssl.SSLContext:
    """Return a relay's TLS context, for localhost."""
    return server_context()


@pytest.fixture
def ca_file(tls: ssl.SSLContext, tmp_path: Path) -> Path:
    """Return the file with the CA of that relay."""
    del tls
    (certificate,) = client_context().get_ca_certs(binary_form=True)
    path = tmp_path / "ca.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(certificate), encoding="ascii")
    return path


@asynccontextmanager
async def a_stranger(greeting: str | None) -> AsyncIterator[int]:
    """Listen, say one thing ("" hangs up at once, None says nothing), and wait for the goodbye."""
    heard = asyncio.Event()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greeting:
            writer.write(greeting.encode() + b"\r\n")
        if greeting != "":
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        heard.set()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await heard.wait()


async def outcome(way: SmtpSubmission) -> MessageError:
    """Return the error with which a mail did not go; it holds nothing of the relay's text."""
    with pytest.raises(MessageError) as caught:
        await way.submit(FROM, TO, MAIL)
    error = caught.value
    assert CANARY not in f"{error} {error.args} {error.sentence} {error.code}"
    assert error.__suppress_context__ or error.__context__ is None
    return error


async def test_a_mail_goes_as_it_is_to_one_recipient(
    relay: Relay, submission: SmtpSubmission
) -> None:
    """The relay has the same octets, our envelope sender, one recipient; the status is its code."""
    assert await submission.submit(FROM, TO, MAIL) == "250 2.6.0"
    (taken,) = relay.taken
    assert (taken.reverse_path, taken.recipients, taken.content) == (FROM, (TO,), MAIL)


async def test_a_connection_is_used_again(relay: Relay, submission: SmtpSubmission) -> None:
    """Two mails one after the other need one greeting."""
    await submission.submit(FROM, TO, MAIL)
    await submission.submit(FROM, "security@example.org", MAIL)
    assert relay.connections == 1
    assert len(relay.taken) == 2


async def test_mails_at_the_same_time_have_their_own_transactions(
    relay: Relay, submission: SmtpSubmission
) -> None:
    """No more connections than allowed, one recipient each."""
    await asyncio.gather(*(submission.submit(FROM, f"r{n}@example.net", MAIL) for n in range(9)))
    assert {(f"r{n}@example.net",) for n in range(9)} == {t.recipients for t in relay.taken}
    assert relay.connections <= 2


async def test_a_connection_that_was_idle_too_long_is_not_trusted(relay: Relay) -> None:
    """Relays close idle connections, and the answer to the next mail would be lost."""
    way = SmtpSubmission(port=relay.port, idle=0)
    await way.submit(FROM, TO, MAIL)
    await way.submit(FROM, TO, MAIL)
    assert relay.connections == 2
    await way.aclose()


async def test_a_closed_connection_is_replaced(relay: Relay, submission: SmtpSubmission) -> None:
    """After a break the next mail makes a new connection."""
    await submission.submit(FROM, TO, MAIL)
    relay.on["MAIL"] = "drop"
    assert isinstance(await outcome(submission), Deferral)
    relay.on.clear()
    await submission.submit(FROM, TO, MAIL)
    assert relay.connections == 2
    assert len(relay.taken) == 2


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_a_passing_failure_is_a_deferral_with_the_relays_status(
    relay: Relay, submission: SmtpSubmission, verb: str
) -> None:
    """4yz at any verb: the mail waits and goes again."""
    relay.on[verb] = f"451 4.7.1 come back later {CANARY}"
    error = await outcome(submission)
    assert isinstance(error, Deferral)
    assert (error.code, error.status, error.alarm) == ("relay-deferred", "4.7.1", False)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_a_permanent_failure_is_a_refusal_with_the_relays_status(
    relay: Relay, submission: SmtpSubmission, verb: str
) -> None:
    """5yz at any verb: the same mail would fail the same way again."""
    relay.on[verb] = f"550 5.1.1 no such user {CANARY}"
    error = await outcome(submission)
    assert isinstance(error, Refusal)
    assert (error.code, error.status) == ("relay-refused", "5.1.1")
    assert error.sentence == "The mail relay refused the mail with 550 5.1.1."


async def test_a_refusal_leaves_the_connection_good_for_the_next_mail(
    relay: Relay, submission: SmtpSubmission
) -> None:
    """The envelope is reset, so the next mail is not mixed with the refused one."""
    relay.on["RCPT"] = "550 5.1.1 no"
    await outcome(submission)
    relay.on.clear()
    await submission.submit(FROM, "other@example.net", MAIL)
    assert [taken.recipients for taken in relay.taken] == [("other@example.net",)]
    assert relay.connections == 1


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (f"554 {CANARY} 5.7.1", "5.0.0"),
        ("554 4.7.1 wrong class", "5.0.0"),
        ("554 5.7.1", "5.7.1"),
        (f"554-5.7.1 several\r\n554 {CANARY}", "5.7.1"),
        ("554 5.7.1111 no", "5.0.0"),
    ],
)
async def test_only_a_well_formed_status_of_the_relay_is_believed(
    relay: Relay, submission: SmtpSubmission, reply: str, status: str
) -> None:
    """RFC 2034: it leads the text and has the class of the code."""
    relay.on["DATA"] = reply
    assert (await outcome(submission)).status == status


@pytest.mark.parametrize("code", [500, 502, 503, 530, 535])
async def test_a_refusal_of_our_session_is_no_verdict_on_the_mail(
    relay: Relay, submission: SmtpSubmission, code: int
) -> None:
    """An asked-for login is mended by an operator; the mail waits, with an alarm."""
    relay.on["MAIL"] = f"{code} 5.7.0 {CANARY}"
    error = await outcome(submission)
    assert isinstance(error, Deferral)
    assert (error.code, error.alarm) == ("relay-refuses-us", True)


async def test_an_answer_lost_after_the_data_is_a_deferral(
    relay: Relay, submission: SmtpSubmission
) -> None:
    """The mail may go twice, under one Message-ID; it is never dropped."""
    relay.on["DATA"] = "drop"
    error = await outcome(submission)
    assert (error.code, error.status) == ("relay-lost", "4.4.2")
    assert len(relay.taken) == 1


async def test_a_relay_that_is_away_is_a_deferral() -> None:
    """Nobody listens there."""
    with reserved_port() as port:
        error = await outcome(SmtpSubmission(port=port))
    assert (error.code, error.status) == ("relay-away", "4.4.1")


async def test_a_relay_that_says_nothing_is_a_deferral() -> None:
    """Every wait has a limit."""
    async with a_stranger(None) as port:
        error = await outcome(SmtpSubmission(port=port, timeout=1))
    assert (error.code, error.status) == ("relay-timeout", "4.4.1")


@pytest.mark.parametrize(
    ("greeting", "code", "alarm"),
    [
        (f"554 5.3.2 {CANARY}", "relay-refuses-us", True),
        (f"421 4.3.2 {CANARY}", "relay-busy", False),
        (f"HTTP/1.1 400 {CANARY}", "relay-strange", True),
        ("", "relay-away", False),
    ],
)
async def test_a_greeting_that_is_none_is_a_deferral(greeting: str, code: str, alarm: bool) -> None:
    """Before a transaction nothing was said of any mail."""
    async with a_stranger(greeting) as port:
        error = await outcome(SmtpSubmission(port=port))
    assert isinstance(error, Deferral)
    assert (error.code, error.alarm) == (code, alarm)


@pytest.mark.parametrize(
    ("sender", "recipient"),
    [(FROM, "a@b.example>\r\nRCPT TO:<c@d.example"), ("x\r\nRSET", TO), (FROM, "ä@b.example")],
)
async def test_an_address_that_smuggles_a_command_is_refused_here(
    relay: Relay, submission: SmtpSubmission, sender: str, recipient: str
) -> None:
    """It never comes to the relay, whatever the rooms before have missed."""
    with pytest.raises(Refusal) as caught:
        await submission.submit(sender, recipient, MAIL)
    assert caught.value.status == "5.1.3"
    assert relay.taken == []


async def test_a_relay_may_listen_on_a_unix_socket() -> None:
    """A relay on the same machine needs no port."""
    with tempfile.TemporaryDirectory(prefix="sb", dir="/tmp") as folder:
        path = Path(folder) / "relay"
        async with a_relay(path=path) as relay:
            way = SmtpSubmission(socket_path=path)
            await way.submit(FROM, TO, MAIL)
            assert [MAIL] == [taken.content for taken in relay.taken]
            await way.aclose()


# ── TLS and login ────────────────────────────────────────────────────────────────────────────────


async def test_starttls_is_used_and_checked(tls: ssl.SSLContext, ca_file: Path) -> None:
    """The relay's certificate is verified against the CA that we were given, and its name too."""
    async with a_relay(tls=tls) as relay:
        way = SmtpSubmission(host="localhost", port=relay.port, tls="starttls", ca_file=ca_file)
        await way.submit(FROM, TO, MAIL)
        assert [taken.tls for taken in relay.taken] == [True]
        await way.aclose()


async def test_tls_from_the_first_octet(tls: ssl.SSLContext, ca_file: Path) -> None:
    """Port 465 (RFC 8314)."""
    async with a_relay(tls=tls, implicit=True) as relay:
        way = SmtpSubmission(host="localhost", port=relay.port, tls="implicit", ca_file=ca_file)
        assert await way.submit(FROM, TO, MAIL) == "250 2.6.0"
        await way.aclose()


async def test_a_relay_without_starttls_gets_no_mail() -> None:
    """There is no downgrade: somebody on the way may have taken STARTTLS out of the greeting."""
    async with a_relay() as relay:
        error = await outcome(SmtpSubmission(port=relay.port, tls="starttls"))
        assert isinstance(error, Deferral)
        assert (error.code, error.alarm) == ("relay-without-starttls", True)
        assert relay.taken == []


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_a_certificate_that_nobody_vouches_for_gets_no_mail(
    tls: ssl.SSLContext, mode: str
) -> None:
    """Without the CA the connection is given up before the envelope."""
    async with a_relay(tls=tls, implicit=mode == "implicit") as relay:
        error = await outcome(SmtpSubmission(host="localhost", port=relay.port, tls=mode))
        assert isinstance(error, Deferral)
        assert (error.code, error.alarm) == ("relay-tls", True)
        assert relay.taken == []


async def test_a_ca_file_that_is_missing_is_an_alarm() -> None:
    """The operator is told which setting to correct."""
    error = await outcome(SmtpSubmission(tls="starttls", ca_file="/nonexistent/ca.pem"))
    assert isinstance(error, Deferral)
    assert (error.code, error.alarm) == ("relay-ca-file", True)


@pytest.mark.parametrize(("password", "code"), [("right", None), ("wrong", "relay-login")])
async def test_a_login_is_made_where_there_is_one(password: str, code: str | None) -> None:
    """A wrong password is an alarm, and no verdict on the mail."""
    async with a_relay(login=True) as relay:
        way = SmtpSubmission(port=relay.port, username="us", password=Secret(password))
        if code is None:
            await way.submit(FROM, TO, MAIL)
        else:
            error = await outcome(way)
            assert isinstance(error, Deferral)
            assert (error.code, error.alarm) == (code, True)
        await way.aclose()


# ── check ────────────────────────────────────────────────────────────────────────────────────────


async def test_check_finds_nothing_wrong_with_a_good_relay(
    relay: Relay, submission: SmtpSubmission
) -> None:
    """It connects, greets and logs in, and sends no mail."""
    (finding,) = await submission.check()
    assert finding.severity is Severity.OK
    assert relay.taken == []


async def test_check_says_what_is_wrong_and_how_to_mend_it() -> None:
    """In words of ours, with the setting."""
    async with a_relay(login=True) as relay:
        way = SmtpSubmission(port=relay.port, username="us", password=Secret("wrong"))
        (finding,) = await way.check()
    assert finding.severity is Severity.ERROR
    assert finding.text == "The mail relay refuses our login with 535 5.7.8."
    assert finding.mend == "Correct submission.username and its password."


async def test_check_of_a_connection_that_broke_is_an_error(
    relay: Relay, submission: SmtpSubmission
) -> None:
    """Also when it broke after the greeting."""
    relay.on["NOOP"] = "drop"
    (finding,) = await submission.check()
    assert finding.severity is Severity.ERROR
