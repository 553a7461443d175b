"""How do we call gpg?  Through python-gnupg, with its streams replaced by ones that can be trusted.

The library makes the command line and drives imports and exports.  It would read the status lines
from the pipe of standard error, split them on more than the line feed, know no time limit and no
cap: so every process of it runs in ``process`` instead, with a pipe of its own for the status.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import gnupg

from secbridge.model.plaintext import Secret
from secbridge.openpgp import status
from secbridge.openpgp.faults import Fault, fault
from secbridge.openpgp.process import Outcome, Started, finish, start
from secbridge.openpgp.standby import Standby
from secbridge.openpgp.turns import Turns
from secbridge.openpgp.watch import Watch

_OPTIONS = (
    "--no-options", "--no-auto-key-retrieve", "--no-auto-key-import", "--disable-dirmngr",
    "--no-auto-key-locate", "--trust-model", "always", "--keyid-format", "long",
    "--digest-algo", "SHA512", "--compress-algo", "none", "--no-emit-version", "--no-comments",
)  # fmt: skip
_LISTING_LIMIT = 64 * 1024 * 1024
_STATUS_FD = "%status-fd%"
_DECRYPT = "--decrypt"
_LOOKS = frozenset({
    _DECRYPT, "--verify", "--sign", "--detach-sign", "--encrypt", "--export", "--list-keys",
    "--list-secret-keys", "--list-config",
})  # fmt: skip
"""Commands that leave the ring as it is.  Every other one is taken to write it."""


@dataclass(slots=True)
class _Pending:
    """A process that the library believes to have started; it runs when its output is asked for."""

    args: Sequence[str]
    stdin: IO[bytes] | None = None
    returncode: int = 0


class HardenedGPG(gnupg.GPG):  # type: ignore[misc] # the library is not typed
    """One GNUPGHOME behind python-gnupg; every call blocks, and is bounded in time and output.

    The constructor runs gpg once; it and every call raise Deferral for faults of ours.
    """

    def __init__(self, home: Path, binary: str, timeout: float, passphrase: Secret | None) -> None:
        logging.getLogger("gnupg").setLevel(logging.CRITICAL)  # it logs arguments and key data
        self._timeout = timeout
        self._passphrase = passphrase
        self._standby = Standby(Watch(home))
        self._turns = Turns()
        env = {"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath), "HOME": str(home)}
        try:
            found = shutil.which(binary) or binary  # else each run of it searches PATH anew
            super().__init__(found, str(home), options=list(_OPTIONS), env=env, encoding="utf-8")
        except ValueError:
            raise fault(Fault.HOME) from None

    def call(
        self,
        *args: str,
        stdin: bytes | memoryview = b"",
        limit: int = _LISTING_LIMIT,
        batch: bool = True,
        secret: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> Outcome:
        """Run gpg with these arguments and return how it ended.

        ``secret`` hands over the passphrase, by a pipe of its own.  Without ``batch`` gpg goes on
        after a bad signature instead of leaving at once; it can still ask nobody.
        """
        turn = self._turns.writing if _LOOKS.isdisjoint(args) else self._turns.looking
        with turn(self._timeout):
            started = None
            if args == (_DECRYPT,) and batch and secret:
                started = self._standby.take()
            if started is None:
                started = self._start(*args, batch=batch, secret=secret, pass_fds=pass_fds)
            return finish(started, stdin, limit=limit, timeout=self._timeout)

    def stand_by(self) -> None:
        """Start the gpg that opens the next ciphertext, unless one waits already."""
        self._standby.prepare(lambda: self._start(_DECRYPT, secret=True))

    def close(self) -> None:
        """Send away the gpg that waits."""
        self._standby.close()

    def _start(
        self, *args: str, batch: bool = True, secret: bool = False, pass_fds: Sequence[int] = ()
    ) -> Started:
        with self._secret_args(wanted=secret) as (secret_args, secret_fds):
            made = self.make_args([*secret_args, *([] if batch else ["--no-batch"]), *args], False)

            def command(status_fd: int) -> list[str]:
                return [str(status_fd) if part == _STATUS_FD else part for part in made]

            return start(command, env=self.env, pass_fds=(*secret_fds, *pass_fds))

    def make_args(self, args: Sequence[str], passphrase: bool) -> list[str]:
        """Make the command line; the status pipe's number takes its place when it exists."""
        made: list[str] = super().make_args(list(args), False)
        made[made.index("--status-fd") + 1] = _STATUS_FD
        return made

    @contextmanager
    def _secret_args(self, *, wanted: bool) -> Iterator[tuple[list[str], list[int]]]:
        """Give the options that keep pinentry away, and the passphrase's pipe when it is wanted."""
        if not wanted or self._passphrase is None:
            yield ["--pinentry-mode", "error"], []
            return
        read, write = os.pipe()
        try:
            try:
                os.write(write, self._passphrase.reveal().encode()[:4096] + b"\n")
            finally:
                os.close(write)
            yield ["--pinentry-mode", "loopback", "--passphrase-fd", str(read)], [read]
        finally:
            os.close(read)

    # ── What the library calls inside its import, export and start ──

    def _open_subprocess(self, args: Sequence[str], passphrase: bool = False) -> _Pending:
        return _Pending(args)

    def _collect_output(
        self, process: _Pending, result: Any, writer: object = None, stdin: object = None
    ) -> int:
        return self._fill(result, process, b"")

    def _handle_io(
        self,
        args: Sequence[str],
        fileobj_or_path: IO[bytes],
        result: Any,
        passphrase: str | None = None,
        binary: bool = False,
    ) -> Any:
        self._fill(result, _Pending(args), fileobj_or_path.read())
        return result

    def _fill(self, result: Any, process: _Pending, stdin: bytes) -> int:
        outcome = self.call(*process.args, stdin=stdin)
        result.data, result.stderr = outcome.output, ""
        for line in status.parse(outcome.status):
            with suppress(ValueError, IndexError, KeyError):  # its parsers trust field counts
                result.handle_status(line.keyword, " ".join(line.args))
        result.status_lines = status.parse(outcome.status)
        process.returncode = result.returncode = outcome.returncode
        return outcome.returncode
