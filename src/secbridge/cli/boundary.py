"""What does a user see when something goes wrong?  One or two sentences, and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

from secbridge.errors import ConfigError, MessageError, SecbridgeError

FAILED = 2
"""The command was understood and did not succeed."""

BAD_CONFIGURATION = 78
"""EX_CONFIG of sysexits(3); systemd does not restart after it."""

_INTERRUPTED = 130

_MENDS = {
    "store-damaged": "the database is damaged; stop the daemon and put a backup in its place.",
    "store-io": "run this as the user that runs secbridge, and look at the disk of the database.",
    "store-full": "make room on the disk of the database.",
}
"""What an operator does where waiting does not help: the sentences speak to mail relays, too."""


class CommandFailed(SecbridgeError):  # noqa: N818 - it says what happened; the text says what to do
    """A command cannot do what it was asked; the text says what to do next."""


@contextmanager
def told() -> Iterator[None]:
    """Turn every exception into its sentence on stderr and an exit status."""
    try:
        yield
    except ConfigError as exc:
        _say(str(exc), *getattr(exc, "__notes__", ()))
        sys.exit(BAD_CONFIGURATION)
    except MessageError as exc:
        _say(f"{exc.sentence} ({exc.code})", *_mend(exc))
        sys.exit(FAILED)
    except SecbridgeError as exc:
        _say(str(exc))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        _forget_stdout()
        sys.exit(FAILED)
    except Exception as exc:  # noqa: BLE001 - the last net: a user never sees a traceback
        _say(
            f"secbridge met a fault of its own: {type(exc).__name__} at {_place(exc)}.",
            "Nothing that was accepted is lost. Please report this line; it holds no content.",
        )
        sys.exit(FAILED)


def warn(text: str) -> None:
    """Tell something on stderr and go on."""
    _say(text)


def _say(*lines: str) -> None:
    """Write the lines to stderr, the name of the program first; a closed stderr is no new fault."""
    try:
        print("secbridge:", "\n".join(lines), file=sys.stderr)  # noqa: T201 - speaking is its task
    except OSError:
        return


def _mend(exc: MessageError) -> tuple[str, ...]:
    mend = getattr(exc, "mend", "") or _MENDS.get(exc.code, "")
    return (f"Mend: {mend}",) if mend else ()


def _place(exc: BaseException) -> str:
    """Return where in our own code it happened; the text of the exception may hold anything."""
    frames = [one for one in extract_tb(exc.__traceback__) if one.filename != __file__]
    ours = [frame for frame in frames if "secbridge" in Path(frame.filename).parts] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "an unknown place"


def _forget_stdout() -> None:
    """Let the interpreter flush into nothing at its end: who read us has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
