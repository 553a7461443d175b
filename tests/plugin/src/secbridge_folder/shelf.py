"""How does an issue lie on the disk?  As a folder that appears whole, with files that do, too.

The only module that touches the disk.  Its calls block, so they run in a thread with a limit, and
every OSError ends here: its text would name files.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from secbridge.errors import Deferral, OutcomeUnknown, PermanentFault, TransientFault

Answer = TypeVar("Answer")

OTHERS = 0o007
FOLDER_MODE, FILE_MODE = 0o2770, 0o660
NUMBER = re.compile(r"\d{4,9}")
OUR_COMMENT = re.compile(r"secbridge-([0-9a-f-]{36})\.md")


@dataclass(frozen=True, slots=True)
class Record:
    """What ``issue.json`` says; ``marker`` is empty in an issue that a person made."""

    title: str = ""
    marker: str = ""
    labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    due: str = ""
    open: bool = True

    @classmethod
    def read(cls, text: str) -> Record:
        """Return the record of a JSON text; a value of another type is as good as none."""
        try:
            given = json.loads(text)
        except ValueError:
            given = {}
        given = given if isinstance(given, dict) else {}
        return cls(
            title=_text(given, "title"),
            marker=_text(given, "marker"),
            labels=_texts(given, "labels"),
            assignees=_texts(given, "assignees"),
            due=_text(given, "due"),
            open=given.get("open") is not False,
        )

    def written(self) -> str:
        """Return the record as people edit it."""
        names = ("title", "marker", "labels", "assignees", "due", "open")
        given = {name: getattr(self, name) for name in names}
        return json.dumps(given, indent=2, ensure_ascii=False) + "\n"


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    return value if isinstance(value, str) else ""


def _texts(given: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = given.get(name)
    return tuple(str(one) for one in value) if isinstance(value, list) else ()


@dataclass(frozen=True, slots=True, repr=False)
class Remark:
    """A comment: the name of its file, its text, and the account that owns it."""

    name: str
    text: str
    owner: int

    def __repr__(self) -> str:
        return f"Remark({self.name})"


@dataclass(frozen=True, slots=True, repr=False)
class Folder:
    """An issue as it lies there.  ``closed``: nobody but owner and group gets in."""

    number: str
    record: Record
    text: str
    closed: bool
    ours: bool
    remarks: tuple[Remark, ...] = field(default=())

    def __repr__(self) -> str:
        return f"Folder({self.number})"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The folder of one project.  ``timeout`` in seconds, for each call."""

    name: str
    path: Path
    timeout: float

    async def do(self, call: Callable[[], Answer], *, writes: bool = False) -> Answer:
        """Run a call in a thread.  Raises Deferral, and nothing else."""
        try:
            return await asyncio.wait_for(asyncio.to_thread(call), self.timeout)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise self._mapped(error, writes=writes) from None

    def _mapped(self, error: Exception, *, writes: bool) -> Deferral:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return self.missing()
        if isinstance(error, PermissionError):
            mend = "Give the account of secbridge the rights to read and write there."
            return self._permanent("folder-forbidden", "The folder cannot be used.", mend)
        if writes:
            return OutcomeUnknown("folder-failed", "The disk did not say whether it was written.")
        return TransientFault("folder-failed", "The folder cannot be read now.")

    def missing(self) -> PermanentFault:
        """Return that there is no such folder, project or issue."""
        mend = "Make the folder, or put the issue back where it was."
        return self._permanent("folder-missing", "There is no such folder.", mend)

    def _permanent(self, code: str, sentence: str, mend: str) -> PermanentFault:
        return PermanentFault(code, sentence, setting=f"trackers.{self.name}.root", mend=mend)

    # ── Reading ───────────────────────────────────────────────────────────────────────────────────

    def numbers(self) -> list[str]:
        """Return the numbers of all issues, oldest first."""
        found = [entry.name for entry in self.path.iterdir() if NUMBER.fullmatch(entry.name)]
        return sorted(found, key=int)

    def folders(self) -> Iterator[Folder]:
        """Return all issues, oldest first; one that goes away meanwhile is left out."""
        for number in self.numbers():
            try:
                yield self.read(number)
            except FileNotFoundError:
                continue

    def read(self, number: str) -> Folder:
        """Return an issue with its comments, oldest first."""
        place = self.place(number)
        return Folder(
            number=number,
            record=Record.read((place / "issue.json").read_text("utf-8")),
            text=(place / "issue.md").read_text("utf-8"),
            closed=not (_mode(self.path) | _mode(place)) & OTHERS,
            ours=place.stat().st_uid == os.geteuid(),
            remarks=tuple(self._remarks(place)),
        )

    def place(self, number: str) -> Path:
        """Return the folder of an issue.  Raises FileNotFoundError for what is no number."""
        if not NUMBER.fullmatch(number):
            raise FileNotFoundError
        return self.path / number

    def _remarks(self, place: Path) -> Iterator[Remark]:
        files = [file for file in (place / "comments").glob("[!.]*.md") if file.is_file()]
        for file in sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name)):
            text = file.read_text("utf-8", errors="replace")
            yield Remark(file.name, text, file.stat().st_uid)

    # ── Writing ───────────────────────────────────────────────────────────────────────────────────

    def create(self, record: Record, text: str) -> str:
        """Put a new issue there at once, under the next free number, and return that."""
        made = self.path / f".new-{uuid4()}"
        made.mkdir(mode=0o700)
        try:
            for part in ("comments", "files"):
                (made / part).mkdir()
                (made / part).chmod(FOLDER_MODE)
            self._write(made / "issue.json", record.written().encode())
            self._write(made / "issue.md", text.encode())
            made.chmod(FOLDER_MODE)
            return self._named(made)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise

    def _named(self, made: Path) -> str:
        while True:
            number = f"{int((self.numbers() or ['0'])[-1]) + 1:04}"
            try:
                made.rename(self.path / number)
            except OSError:
                if not (self.path / number).exists():
                    raise
            else:
                _sync(self.path)
                return number

    def tell(self, number: str, text: str) -> None:
        """Replace the text of an issue."""
        self._write(self.place(number) / "issue.md", text.encode())

    def change(self, number: str, **values: object) -> None:
        """Change fields of the record as it is now."""
        record = replace(self.read(number).record, **values)  # type: ignore[arg-type]  # its fields
        self._write(self.place(number) / "issue.json", record.written().encode())

    def close_to_others(self, number: str) -> None:
        """Let nobody but owner and group into the folder of an issue."""
        self.place(number).chmod(FOLDER_MODE)

    def comment(self, number: str, marker: str, text: str) -> None:
        """Write our comment, new or in the place of what it said."""
        self._write(self.place(number) / "comments" / f"secbridge-{marker}.md", text.encode())

    def put(self, number: str, name: str, content: bytes) -> None:
        """Write a file beside an issue, unless it is there."""
        file = self.place(number) / "files" / name
        if not file.exists():
            self._write(file, content)

    def _write(self, file: Path, content: bytes) -> None:
        """Write a file whole, so that nobody sees half of it, also after a power cut."""
        made = file.with_name(f".new-{uuid4()}")
        with made.open("xb") as stream:
            os.fchmod(stream.fileno(), FILE_MODE)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        made.replace(file)
        _sync(file.parent)


def account(owner: int) -> str:
    """Return the name of an account, or its number where it has none."""
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def _mode(path: Path) -> int:
    return path.stat(follow_symlinks=False).st_mode


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
