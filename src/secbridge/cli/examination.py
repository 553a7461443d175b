"""How is a mail in a file examined just as the daemon would, with no trace left?  On copies.

The key ring is a private copy, put back after each mail, so that each is looked at as though it
were the only one; the store, where there is one, is only read.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from secbridge.cli.boundary import CommandFailed, warn
from secbridge.cli.envelope import Guess, guess, without_mbox_line
from secbridge.cli.inspection import Row, nothing, row
from secbridge.errors import Deferral
from secbridge.model.alias import Alias
from secbridge.model.envelope import Target
from secbridge.model.message import Message
from secbridge.model.part import OpeningLimits
from secbridge.model.plaintext import Secret
from secbridge.openpgp import GnuPG, KeyLimits
from secbridge.openpgp.home import scratch_copy
from secbridge.pipeline.examining import Examiner
from secbridge.pipeline.opener import ProcessOpener
from secbridge.rules.addresses import AliasBook, BadPath, parse_mailbox
from secbridge.rules.routing import route
from secbridge.rules.triage import TriagePolicy, header_fields

if TYPE_CHECKING:  # without a configuration neither settings nor store are loaded
    from secbridge.settings import Settings
    from secbridge.store import Store

EMBEDDED = "local"
"""Where mails would be filed when no configuration says otherwise."""

MOST = 50 << 20
"""The largest mail that is read where no configuration says otherwise (octets)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for, all files alike."""

    settings: Settings | None = None
    gnupghome: Path | None = None
    passphrase_file: Path | None = None
    sender: str | None = None
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of one file: its row, the mail if it was one, a fault of ours if any."""

    row: Row
    message: Message | None = None
    fault: Deferral | None = None


@asynccontextmanager
async def open_bench(request: Request) -> AsyncIterator[Bench]:
    """Set up for any number of mails: one copy of the key ring, one look into the store."""
    async with AsyncExitStack() as stack:
        home = stack.enter_context(_ring_copy(_home(request)))
        if request.gnupghome is not None and not _has_secret_keys(home):
            warn("There is no secret key in that ring, so nothing that is encrypted can be opened.")
        openpgp = _openpgp(request, home)
        stack.push_async_callback(openpgp.aclose)
        opener = _opener(request, openpgp)
        stack.push_async_callback(opener.aclose)
        store = None
        if request.settings is not None and _store_is_there(request.settings):
            from secbridge.cli.rooms import look_into_store

            store = await stack.enter_async_context(look_into_store(request.settings))
        yield Bench(request, opener, Ring(home), store)


def _store_is_there(settings: Settings) -> bool:
    from secbridge.settings.credentials import is_there

    return is_there(settings.daemon.database, setting="daemon.database", file=settings.source)


class Bench:
    """Where mails are examined, one after the other."""

    def __init__(
        self, request: Request, opener: ProcessOpener, ring: Ring, store: Store | None
    ) -> None:
        self._request = request
        self._opener = opener
        self._ring = ring
        self._store = store
        self._most = request.settings.intake.max_size if request.settings else MOST
        self._secret = _secret(request.settings)
        self._aliases = (
            {alias.address: alias for alias in request.settings.aliases()}
            if request.settings
            else {}
        )

    async def look(self, path: Path) -> Looked:
        """Examine the mail in a file.  A file that cannot be read is told by its row."""
        content, error = read_mail(path, most=self._most)
        if error is not None:
            return Looked(nothing(str(path), error))
        try:
            return await self._examine(str(path), without_mbox_line(content))
        except Deferral as exc:
            return Looked(nothing(str(path), exc.code), fault=exc)
        finally:
            self._ring.put_back()

    async def _examine(self, file: str, content: bytes) -> Looked:
        envelope = guess(content, sender=self._request.sender, recipients=self._request.recipients)
        alias, target = await self._target(envelope)
        examined = await self._examiner(envelope).examine(
            content,
            alias=alias or _nobody(target),
            reverse_path=envelope.reverse_path,
            target=target,
        )
        chosen = route(alias, examined.verdict, datetime.now(UTC)) if alias else None
        return Looked(row(file, examined, chosen), examined.message)

    def _examiner(self, envelope: Guess) -> Examiner:
        return Examiner(
            self._opener, policy=self._policy(envelope), cases=self._store, secret=self._secret
        )

    def _policy(self, envelope: Guess) -> TriagePolicy:
        """Return the configured policy; without one every recipient counts as an alias."""
        settings = self._request.settings
        if settings is not None:
            return settings.triage_policy()
        return TriagePolicy(aliases=frozenset(envelope.possible_aliases))

    async def _target(self, envelope: Guess) -> tuple[Alias | None, Target]:
        """Return the alias that the mail came for, and by which of its addresses.

        Of several aliases the first named one counts: the daemon would make a delivery for each.
        A header need not name any recipient; then a single alias is the one.
        """
        if self._request.settings is None:
            return self._assumed(envelope)
        book = AliasBook(self._aliases, self._request.settings.postmaster)
        for recipient in envelope.recipients:
            target = _match(book, recipient)
            if target is not None and await self._is_ours(target):
                return self._aliases[target.alias], target
        if len(self._aliases) == 1 and not envelope.recipients:
            (only,) = self._aliases.values()
            return only, Target(only.address, only.address)
        return None, Target("", "")

    def _assumed(self, envelope: Guess) -> tuple[Alias | None, Target]:
        for address in envelope.possible_aliases:
            alias = Alias(address, (), EMBEDDED, address.rpartition("@")[0])
            return alias, Target(address, address)
        return None, Target("", "")

    async def _is_ours(self, target: Target) -> bool:
        """Return whether the intake would take it: the tag of a case only if there is that case."""
        if target.token is None:
            return True
        return self._store is not None and await self._store.knows_token(target.alias, target.token)


def _match(book: AliasBook, recipient: str) -> Target | None:
    try:
        return book.match(parse_mailbox(recipient))
    except BadPath:
        return None


def _nobody(target: Target) -> Alias:
    """Stand in where a mail came for no alias of ours: it would have been refused."""
    return Alias(target.alias, (), EMBEDDED, "")


def _secret(settings: Settings | None) -> bytes | None:
    """Return the secret that proves our own mail, if there is one by now; none is made here."""
    found = settings.installation_secret(create=False) if settings else None
    return found.reveal().encode() if found else None


# ── Files ────────────────────────────────────────────────────────────────────────────────────────


def read_mail(path: Path, *, most: int) -> tuple[bytes, str | None]:
    """Return (content, None), or nothing and a code for why there is none."""
    if str(path) == "-":
        content = sys.stdin.buffer.read(most + 1)
        return (content, None) if len(content) <= most else (b"", "too-large")
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return b"", "not-a-file"
        if found.st_size > most:
            return b"", "too-large"
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        return b"", "no-such-file"
    except (OSError, ValueError):
        return b"", "unreadable"
    return (content, None) if len(content) <= most else (b"", "too-large")


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────


def _home(request: Request) -> Path | None:
    if request.gnupghome is not None:
        return request.gnupghome
    return request.settings.gnupg_home if request.settings else None


@contextmanager
def _ring_copy(home: Path | None) -> Iterator[Path]:
    """Give a private copy of a key ring, or an empty one where none was named."""
    with TemporaryDirectory(prefix="sb") as empty, scratch_copy(home or Path(empty)) as copy:
        yield copy


def _has_secret_keys(home: Path) -> bool:
    """Return whether a ring holds any, in the place of today or in that of GnuPG 1."""
    return (home / "secring.gpg").exists() or any((home / "private-keys-v1.d").glob("*.key"))


def _openpgp(request: Request, home: Path) -> GnuPG:
    settings = request.settings
    if settings is None:
        return GnuPG(home, role_keys=(), passphrase=_passphrase(request))
    chosen = settings.openpgp
    own_ring = request.gnupghome is None
    keys = {key for alias in settings.aliases() for key in alias.role_keys}
    return GnuPG(
        home,
        binary=chosen.gpg,
        role_keys=tuple(sorted(keys)) if own_ring else (),
        limits=KeyLimits(**dict(settings.keys)),
        timeout=chosen.timeout.total_seconds(),
        passphrase=_passphrase(request),
        concurrency=chosen.processes,
    )


def _opener(request: Request, openpgp: GnuPG) -> ProcessOpener:
    """Return the process that opens one mail after the other, bounded as in the daemon."""
    settings = request.settings
    if settings is None:
        limits = replace(OpeningLimits(), more_fields=header_fields(TriagePolicy()))
        return ProcessOpener(openpgp, limits=limits, processes=1)
    return ProcessOpener(
        openpgp,
        limits=settings.opening_limits(),
        processes=1,
        max_time=settings.opening.max_time,
        max_memory=settings.opening.max_memory,
    )


def _passphrase(request: Request) -> Secret | None:
    """Return the passphrase for the ring: the file of the command line, else the configured one.

    The mode of the file is not asked for: here it is often a pipe of the shell, or throw-away.
    """
    if request.passphrase_file is None:
        if request.settings is None or request.gnupghome is not None:
            return None
        return request.settings.find_secret("openpgp.passphrase")
    try:
        text = request.passphrase_file.read_bytes().rstrip(b"\r\n").decode()
    except OSError as exc:
        raise CommandFailed(
            f"The passphrase file cannot be read: {exc.strerror}. Name another --passphrase-file."
        ) from None
    except UnicodeDecodeError:
        raise CommandFailed("The passphrase file is no UTF-8 text.") from None
    return Secret(text)


class Ring:
    """The public part of a scratch ring, which looking at a mail may add certificates to."""

    _FILES = ("pubring.kbx", "pubring.gpg")

    def __init__(self, home: Path) -> None:
        self._home = home
        self._kept: Mapping[str, bytes | None] = {name: self._read(name) for name in self._FILES}

    def put_back(self) -> None:
        """Make the ring what it was, so that no mail's certificates speak for the next one."""
        for name, content in self._kept.items():
            if self._read(name) == content:
                continue
            if content is None:
                (self._home / name).unlink()
            else:
                (self._home / name).write_bytes(content)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._home / name).read_bytes()
        except FileNotFoundError:
            return None
