"""Where do we listen?  TCP, a unix socket, or a socket that systemd opened for us."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_SOCKET_MODE = 0o660
_SMTP_PORT = 25


class MailProtocol(StrEnum):
    """What is spoken at an endpoint: SMTP (RFC 5321) or LMTP (RFC 2033)."""

    SMTP = "smtp"
    LMTP = "lmtp"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to listen: ``host`` with ``port`` (0: any), ``path``, or an inherited ``fd``."""

    protocol: MailProtocol
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int | None = None

    def __post_init__(self) -> None:
        if (bool(self.host), bool(self.path), self.fd is not None).count(True) != 1:
            raise ValueError("an endpoint is a host with a port, or a path, or a descriptor")
        if self.protocol is MailProtocol.LMTP and self.host and self.port == _SMTP_PORT:
            raise ValueError("LMTP must not be spoken on port 25 (RFC 2033 section 5)")

    def __str__(self) -> str:
        if self.path:
            return f"{self.protocol}+unix:{self.path}"
        if self.fd is not None:
            return f"{self.protocol}+fd:{self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}://{host}:{self.port}"


def inherited_socket(fd: int) -> socket.socket:
    """Return the listening stream socket with this descriptor.  Raises OSError."""
    found = socket.socket(fileno=fd)
    if found.type != socket.SOCK_STREAM or not _is_listening(found):
        found.detach()
        raise OSError(errno.EINVAL, "the inherited descriptor is no listening stream socket")
    found.setblocking(False)
    return found


def _is_listening(found: socket.socket) -> bool:
    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def bind_unix(path: str) -> socket.socket:
    """Return a socket bound to ``path``, mode 0660 from its first moment.

    A socket that a dead process left there is removed.  Raises OSError: EEXIST for anything that
    is no socket, EADDRINUSE where somebody listens.
    """
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # On Linux the file is born with this mode, less the umask; then it gets the whole of it.
        os.fchmod(bound.fileno(), _SOCKET_MODE)
        bound.bind(path)
        Path(path).chmod(_SOCKET_MODE)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound


def identity(path: str) -> tuple[int, int] | None:
    """Return which file stands at ``path``, so that we remove our own socket and no later one."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def remove_unix(path: str, ours: tuple[int, int] | None) -> None:
    """Remove our socket, unless another file stands there by now."""
    if ours is not None and identity(path) == ours:
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()


def _remove_stale(path: str) -> None:
    """Remove a socket at which nobody listens; leave everything else alone."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "something that is no socket stands here", path)
    if _somebody_listens(path):
        raise OSError(errno.EADDRINUSE, "somebody listens on this socket already", path)
    Path(path).unlink()


def _somebody_listens(path: str) -> bool:
    """Knock once; only a refused connection proves that nobody is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.setblocking(False)
        try:
            knock.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True
    return True
