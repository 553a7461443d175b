"""How is a door opened that nobody else holds?  Unix sockets, and those that systemd opened."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

_SOCKET_MODE = 0o660


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
