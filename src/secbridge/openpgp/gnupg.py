"""How does the pipeline reach OpenPGP without waiting in its loop?  By GnuPG, in a few threads.

``GnuPG`` is the port ``OpenPGP``: each call runs in a thread of its own pool and is one or a few
gpg processes; cancelling the call kills the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from secbridge.errors import Deferral
from secbridge.model.issue import Finding
from secbridge.model.message import SignatureFact
from secbridge.model.plaintext import Plaintext, Secret
from secbridge.openpgp.checkup import Checkup, cannot_look
from secbridge.openpgp.faults import Fault, fault
from secbridge.openpgp.hardened import HardenedGPG
from secbridge.openpgp.home import check_home
from secbridge.openpgp.keyring import Keyring
from secbridge.openpgp.making import Maker
from secbridge.openpgp.opening import Opener
from secbridge.openpgp.process import Job, WorkCancelledError
from secbridge.openpgp.strength import KeyLimits
from secbridge.ports import CannotOpen, Certificate, Decrypted, DetachedSignature, Verified

T = TypeVar("T")

_SEAL_OVERHEAD = 64 * 1024
_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class _Rooms:
    """What works with the ring, once gpg was found."""

    gpg: HardenedGPG
    keyring: Keyring
    opener: Opener
    maker: Maker
    checkup: Checkup


class GnuPG:
    """One GNUPGHOME with the role keys, as the port ``OpenPGP`` (ports.py) promises it.

    ``home`` must exist, be ours and closed to others, and have a short path (the agent's socket
    lives in it).  ``role_keys`` are primary fingerprints; none means every key in the ring with a
    secret part.  ``own_keys`` are those of the members; ``limits`` says how strong keys must be.
    ``timeout`` in seconds for one run of gpg.  ``concurrency`` is how many run at once.  With
    ``standby`` another one waits for the next ciphertext as soon as one was opened.

    The constructor does nothing; what is wrong is told by the first call, as a Deferral.
    """

    def __init__(
        self,
        home: Path,
        *,
        role_keys: Sequence[str] = (),
        own_keys: Sequence[str] = (),
        limits: KeyLimits = _LIMITS,
        binary: str = "gpg",
        timeout: float = 60.0,
        passphrase: Secret | None = None,
        concurrency: int = 3,
        standby: bool = False,
    ) -> None:
        self._home = home
        self._role_keys = tuple(role_keys)
        self._own_keys = tuple(own_keys)
        self._limits = limits
        self._binary = binary
        self._timeout = timeout
        self._passphrase = passphrase
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="gpg")
        self._standby = standby
        self._opening = threading.Lock()
        self._opened: _Rooms | None = None
        self._jobs: set[Job] = set()

    def __repr__(self) -> str:
        return f"GnuPG({len(self._role_keys)} role keys)"

    async def decrypt(
        self, ciphertext: bytes | memoryview, *, limit: int
    ) -> Decrypted | CannotOpen:
        """Open exactly one OpenPGP message, armored or binary."""
        try:
            return await self._do(lambda rooms: rooms.opener.decrypt(ciphertext, limit))
        finally:
            self._prepare()

    async def verify_detached(self, signature: bytes, content: bytes) -> tuple[SignatureFact, ...]:
        """Judge a detached signature over these very bytes; empty when it is no signature."""
        return await self._do(lambda rooms: rooms.opener.verify_detached(signature, content))

    async def verify_opaque(self, message: bytes, *, limit: int) -> Verified | CannotOpen:
        """Judge a clear-signed text or a signed message, and return what it covers."""
        return await self._do(lambda rooms: rooms.opener.verify_opaque(message, limit))

    async def encrypt_and_sign(
        self, content: bytes, *, recipients: Sequence[str], signer: str
    ) -> bytes:
        """Return one armored message (LF) to exactly these fingerprints.  Raises CannotEncrypt."""
        return await self._do(lambda it: it.maker.encrypt_and_sign(content, recipients, signer))

    async def sign_detached(self, content: bytes, *, signer: str) -> DetachedSignature:
        """Sign these very bytes with a role key."""
        return await self._do(lambda rooms: rooms.maker.sign_detached(content, signer))

    async def seal(self, content: bytes, *, recipients: Sequence[str]) -> bytes:
        """Encrypt for storage, binary, without a signature.  Raises CannotEncrypt."""
        return await self._do(lambda rooms: rooms.maker.seal(content, recipients))

    async def unseal(self, sealed: bytes) -> Plaintext:
        """Open what ``seal`` made; failing to is a fault of ours."""
        opened = await self.decrypt(sealed, limit=len(sealed) + _SEAL_OVERHEAD)
        if isinstance(opened, CannotOpen):
            raise fault(Fault.SEALED)
        return opened.plaintext

    async def import_certificate(
        self, content: bytes, *, address: str, by_person: bool = False
    ) -> Certificate | None:
        """Inspect the certificates in ``content``, keep the one that names ``address``, return it.

        Nothing but the user IDs equal to ``address`` and the owner's own signatures reaches the
        ring; a role key is never touched.  Content in which no certificate can be read at all
        gives one without a fingerprint that says why.
        """
        return await self._do(
            lambda rooms: rooms.keyring.take(content, address, by_person=by_person)
        )

    async def certificate(self, fingerprint: str) -> Certificate | None:
        """Return what the ring knows of a certificate, or None."""
        return await self._recall(lambda rooms: rooms.keyring.judged(fingerprint))

    async def certificates_for(
        self, address: str, *, strangers: bool = False
    ) -> Sequence[Certificate]:
        """Return the certificates with this address as a valid user ID, usable ones first."""

        def found(rooms: _Rooms) -> Sequence[Certificate]:
            keyring = rooms.keyring
            named = keyring.named(address) if strangers else keyring.ours(address)
            judged = [keyring.judge(one) for one in named]
            return tuple(sorted(judged, key=lambda one: one.problem is not None))

        return await self._recall(found)

    async def export(self, fingerprint: str, *, minimal: bool = True) -> bytes:
        """Return a public certificate, binary.  Raises CannotEncrypt when there is none."""
        return await self._recall(lambda rooms: rooms.keyring.export(fingerprint, minimal=minimal))

    async def self_test(self, fingerprint: str) -> Sequence[Finding]:
        """Decrypt and sign for real with a role key, and say what is wrong with it."""
        try:
            return await self._do(lambda rooms: rooms.checkup.findings(fingerprint))
        except Deferral as exc:
            return (cannot_look(fingerprint, exc),)

    async def forget_certificate(self, fingerprint: str) -> bool:
        """Delete a public certificate from the ring; never one of ours."""
        return await self._do(lambda rooms: rooms.keyring.forget(fingerprint))

    async def aclose(self) -> None:
        """Kill what runs and give the threads back; the agent is left to whoever owns the home."""
        for job in tuple(self._jobs):
            job.kill()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._opened is not None:
            await asyncio.to_thread(self._opened.gpg.close)

    def _prepare(self) -> None:
        """Let a gpg start for the next ciphertext while nobody waits for it."""
        rooms = self._opened
        if self._standby and rooms is not None:
            with suppress(RuntimeError):  # the pool is closed
                self._pool.submit(rooms.gpg.stand_by)

    async def _recall(self, work: Callable[[_Rooms], T]) -> T:
        """Run ``work`` here and now if the ring remembers the answer, else as ``_do``."""
        if self._opened is not None:
            with suppress(WorkCancelledError):  # it needs a gpg
                return Job.none().do(lambda: work(self._rooms()))
        return await self._do(work)

    async def _do(self, work: Callable[[_Rooms], T]) -> T:
        """Run ``work`` in the pool; being cancelled kills the gpg that runs for it."""
        job = Job()
        self._jobs.add(job)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._pool, lambda: job.do(lambda: work(self._rooms()))
            )
        except asyncio.CancelledError:
            job.kill()
            raise
        except WorkCancelledError:
            raise fault(Fault.KILLED) from None
        finally:
            self._jobs.discard(job)

    def _rooms(self) -> _Rooms:
        check_home(self._home)
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> _Rooms:
        gpg = HardenedGPG(self._home, self._binary, self._timeout, self._passphrase)
        keyring = Keyring(
            gpg, self._home, self._role_keys, own_keys=self._own_keys, limits=self._limits
        )
        opener, maker = Opener(gpg, keyring), Maker(gpg, keyring)
        return _Rooms(gpg, keyring, opener, maker, Checkup(self._home, keyring, opener, maker))
