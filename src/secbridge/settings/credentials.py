"""Where does a secret come from?  A systemd credential or a file that others cannot read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from secbridge.errors import ConfigError
from secbridge.model.plaintext import Secret

MAX_SECRET = 64 * 1024
"""A secret larger than this is some other file (octets)."""


def read_secret(path: Path, *, setting: str, file: str = "the configuration") -> Secret:
    """Return the secret in a file, without its final line end.  Raises ConfigError, never the text.

    A file that everybody may read is refused: then it is no secret any more.
    """
    try:
        mode = path.stat().st_mode
        content = path.read_bytes() if path.stat().st_size <= MAX_SECRET else b""
    except OSError as exc:
        # What is no file may be the secret itself, written into the wrong option.
        named = f"its file {path}" if isinstance(exc, PermissionError) else "the file that it names"
        raise ConfigError(
            file,
            setting,
            f"{named} cannot be read ({exc.strerror})",
            "make it readable for the user that runs secbridge, and for nobody else",
        ) from None
    if mode & 0o007:
        raise ConfigError(
            file,
            setting,
            f"its file {path} can be read by everybody on this machine",
            f"chmod 600 {path}, and change the secret if others may have seen it",
        )
    text = content.rstrip(b"\r\n")
    if not text or b"\0" in text or not _is_utf8(text):
        raise ConfigError(
            file, setting, f"its file {path} holds no secret", "write the secret into it as text"
        )
    return Secret(text.decode())


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def credential_path(name: str, *, setting: str, file: str) -> Path:
    """Return the file of a systemd credential (systemd.exec(5), LoadCredential=)."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder or not os.path.isfile(path := Path(folder) / name):  # noqa: PTH113 - False where we may not look
        raise ConfigError(
            file,
            setting,
            "names a systemd credential that this process was not given",
            "add LoadCredential= (or LoadCredentialEncrypted=) with this name to the unit, "
            "or use the _file option",
        )
    return path


def is_there(path: Path, *, setting: str, file: str) -> bool:
    """Say whether a file exists.  Raises ConfigError where this user may not look for it."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise ConfigError(
            file,
            setting,
            f"names a place that this user cannot look into ({exc.strerror})",
            "run this as the user that runs secbridge (sudo -u secbridge ...)",
        ) from None
    return True


def write_once(path: Path, text: str, *, file: str) -> None:
    """Publish a new file with mode 0600 whole or not at all; a file that is there stays."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".secret-", dir=path.parent)
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(name, path)
        except FileExistsError:
            pass  # a neighbour process was first, and its secret is the one
        finally:
            Path(name).unlink()
    except OSError as exc:
        raise ConfigError(
            file,
            "daemon.state_dir",
            f"the installation's secret cannot be written there ({exc.strerror})",
            "make the folder writable for the user that runs secbridge",
        ) from None
