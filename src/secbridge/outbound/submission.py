"""How does a finished mail reach the world?  Through one relay, one recipient a transaction.

This is the one module that knows aiosmtplib.  What the relay says becomes a status or one of our
errors: the code and the enhanced status travel on, the relay's text never does, because relays
quote addresses in it.  A partial refusal cannot happen with one recipient; a lost answer after the
data means that the mail may go twice, under one Message-ID.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPException,
    SMTPResponse,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from secbridge.errors import Deferral, Refusal
from secbridge.model.issue import Finding, Severity
from secbridge.model.plaintext import Secret
from secbridge.rules.loops import is_plain_address

_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?=\s|$)")
_OUR_FAULT = frozenset({500, 501, 502, 503, 504, 530, 534, 535, 538})
"""Permanent codes that speak of how we talk or log in, never of the mail (RFC 5321, RFC 4954)."""


class RelayTls(StrEnum):
    """How the way to the relay is protected; there is no opportunistic mode."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class SmtpSubmission:
    """Hands mails to one relay over a few connections that are kept open between them.

    ``socket_path`` takes the place of host and port.  ``tls`` is a value of ``RelayTls``.
    ``timeout`` is for each step, in seconds; a connection that was idle for ``idle`` seconds is not
    used again.  ``hostname`` is our name in EHLO.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 25,
        socket_path: Path | str | None = None,
        tls: str = RelayTls.NONE,
        ca_file: Path | str | None = None,
        username: str | None = None,
        password: Secret | None = None,
        hostname: str = "localhost",
        timeout: float = 60.0,
        idle: float = 30.0,
        connections: int = 2,
    ) -> None:
        self._tls = RelayTls(tls)
        self._ca_file = ca_file
        self._place: dict[str, Any] = {"hostname": host, "port": port}
        if socket_path is not None:
            self._place = {"socket_path": str(socket_path)}
        self._username = username
        self._password = password
        self._hostname = hostname
        self._timeout = timeout
        self._idle = idle
        self._slots = asyncio.Semaphore(connections)
        self._free: list[tuple[float, SMTP]] = []
        self._context: ssl.SSLContext | None = None

    async def submit(self, reverse_path: str, recipient: str, content: bytes) -> str:
        """Hand over and return ``code enhanced`` (``ports.Submission``)."""
        if not all(is_plain_address(address) for address in (reverse_path, recipient)):
            raise Refusal("submission-address", "An address is not plain SMTP.", status="5.1.3")
        async with self._connection() as client:
            try:
                text = await _transaction(client, reverse_path, recipient, content)
            except SMTPResponseException as exc:
                raise _verdict(exc) from None
            except (SMTPException, OSError) as exc:
                raise _away(exc) from None
        return f"250 {_enhanced(text, 250)}"

    async def check(self) -> Sequence[Finding]:
        """Connect, greet, log in, and say what is wrong (``ports.Submission``)."""
        try:
            async with self._connection() as client:
                await client.noop()
        except Deferral as exc:
            return [Finding("relay", Severity.ERROR, exc.sentence, _mend(exc.code), "submission")]
        except (SMTPException, OSError) as exc:
            away = _away(exc)
            return [Finding("relay", Severity.ERROR, away.sentence, _mend(away.code), "submission")]
        return [Finding("relay", Severity.OK, "The mail relay takes our mail.")]

    async def aclose(self) -> None:
        """Close the connections that are open and idle."""
        while self._free:
            _, client = self._free.pop()
            await _quit(client)

    # ── Connections ───────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[SMTP]:
        """Lend a connection; one that failed or that the relay closed is not kept."""
        async with self._slots:
            client = await self._kept() or await self._connected()
            try:
                yield client
            except Refusal:
                self._keep(client)
                raise
            except BaseException:
                client.close()
                raise
            self._keep(client)

    def _keep(self, client: SMTP) -> None:
        if client.is_connected:
            self._free.append((asyncio.get_running_loop().time(), client))

    async def _kept(self) -> SMTP | None:
        """Return the connection that was used last, if the relay still answers on it."""
        now = asyncio.get_running_loop().time()
        while self._free:
            since, client = self._free.pop()
            if client.is_connected and now - since < self._idle:
                return client
            await _quit(client)
        return None

    async def _connected(self) -> SMTP:
        client = SMTP(
            **self._place,
            local_hostname=self._hostname,
            timeout=self._timeout,
            use_tls=self._tls is RelayTls.IMPLICIT,
            start_tls=False,  # _greet does it, and says so where the relay has none
            tls_context=self._tls_context(),
        )
        try:
            await client.connect()
            await self._greet(client)
        except SMTPResponseException as exc:
            client.close()
            raise _greeting(exc) from None
        except (SMTPException, OSError, ValueError) as exc:
            client.close()
            raise _away(exc) from None
        except BaseException:
            client.close()
            raise
        return client

    async def _greet(self, client: SMTP) -> None:
        """Say who we are, and protect the way before anything else is said."""
        await client.ehlo()
        if self._tls is RelayTls.STARTTLS:
            if not client.supports_extension("starttls"):
                raise _fault("relay-without-starttls", "The mail relay does not offer STARTTLS.")
            await client.starttls()
            await client.ehlo()
        if self._username is not None and self._password is not None:
            if not client.supports_extension("auth"):
                raise _fault("relay-login", "The mail relay offers no login.")
            await client.login(self._username, self._password.reveal())

    def _tls_context(self) -> ssl.SSLContext | None:
        """Return the context that checks the relay's certificate and name; read once."""
        if self._tls is RelayTls.NONE:
            return None
        if self._context is None:
            try:
                self._context = ssl.create_default_context(cafile=self._ca_file)
            except OSError:
                raise _fault(
                    "relay-ca-file", "The file with the relay's CA cannot be read."
                ) from None
        return self._context


async def _transaction(client: SMTP, reverse_path: str, recipient: str, content: bytes) -> str:
    """Hand one mail to one recipient and return what the relay said (RFC 5321 section 3.3).

    The library's ``sendmail`` reads each address twice as if it stood in a header; these are plain.
    What the relay refused is forgotten by RSET, so that the connection may be used again.
    """
    begin = [b"MAIL", f"FROM:<{reverse_path}>".encode("ascii")]
    if client.supports_extension("size"):
        begin.append(b"SIZE=%d" % len(content))  # RFC 1870
    try:
        _insist(await client.execute_command(*begin), 250)
        to = f"TO:<{recipient}>".encode("ascii")
        _insist(await client.execute_command(b"RCPT", to), 250, 251)
        return (await client.data(content)).message
    except SMTPResponseException:
        with suppress(ConnectionError, SMTPResponseException):
            await client.rset()
        raise


def _insist(said: SMTPResponse, *codes: int) -> None:
    if said.code not in codes:
        raise SMTPResponseException(said.code, said.message)


async def _quit(client: SMTP) -> None:
    """Say goodbye; whatever the relay answers, the connection is closed."""
    try:
        if client.is_connected:
            await client.quit(timeout=2)
    except (SMTPException, OSError):
        pass  # it is gone already, which is what we want
    finally:
        client.close()


# ── Outcomes ─────────────────────────────────────────────────────────────────────────────────────


def _verdict(exc: SMTPResponseException) -> Deferral | Refusal:
    """Return what an answer of the relay within a transaction means for the mail."""
    status = _enhanced(exc.message, exc.code)
    said = f"{exc.code} {status}"
    if exc.code in _OUR_FAULT:
        return _fault("relay-refuses-us", f"The mail relay refuses our session with {said}.")
    if exc.code >= 500:
        return Refusal(
            "relay-refused", f"The mail relay refused the mail with {said}.", status=status
        )
    if exc.code < 400:
        return _strange()
    return Deferral("relay-deferred", f"The mail relay asks to wait, with {said}.", status=status)


def _greeting(exc: SMTPResponseException) -> Deferral:
    """Return what an answer before any transaction means: nothing was said of a mail yet."""
    said = f"{exc.code} {_enhanced(exc.message, exc.code)}"
    if isinstance(exc, SMTPAuthenticationError):
        return _fault("relay-login", f"The mail relay refuses our login with {said}.")
    if exc.code >= 500:
        return _fault("relay-refuses-us", f"The mail relay refuses our session with {said}.")
    if exc.code < 400:
        return _strange()
    return Deferral("relay-busy", f"The mail relay does not take us now: {said}.")


def _away(exc: Exception) -> Deferral:
    """Return what a failure without an answer means."""
    if isinstance(exc, ssl.SSLError) or isinstance(exc.__cause__, ssl.SSLError):
        return _fault("relay-tls", "The mail relay's TLS certificate could not be verified.")
    if isinstance(exc, SMTPTimeoutError | TimeoutError):
        return Deferral("relay-timeout", "The mail relay did not answer in time.", status="4.4.1")
    if isinstance(exc, SMTPServerDisconnected):
        return Deferral("relay-lost", "The mail relay closed the connection.", status="4.4.2")
    if isinstance(exc, OSError):
        return Deferral("relay-away", "The mail relay cannot be reached.", status="4.4.1")
    return _strange()


def _strange() -> Deferral:
    return Deferral("relay-strange", "The mail relay gave no sensible answer.", alarm=True)


def _fault(code: str, sentence: str) -> Deferral:
    return Deferral(code, sentence, alarm=True)


def _enhanced(text: str, code: int) -> str:
    """Return the enhanced status that leads the text, if it fits the code (RFC 2034)."""
    found = _ENHANCED.match(text)
    return found[0] if found and found[1] == str(code)[0] else f"{str(code)[0]}.0.0"


def _mend(code: str) -> str:
    """Return what an operator can do."""
    return {
        "relay-login": "Correct submission.username and its password.",
        "relay-refuses-us": "Let the relay take mail from this machine, or give us a login.",
        "relay-without-starttls": "Offer STARTTLS there, or set submission.tls to what it has.",
        "relay-tls": "Name its CA in submission.ca_file, and the host as its certificate does.",
        "relay-ca-file": "Correct submission.ca_file.",
    }.get(code, "See that the relay runs, and correct submission.host and submission.port.")
