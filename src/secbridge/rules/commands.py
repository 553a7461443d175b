"""What does a person of the team ask of us in a comment?  Only an explicit mark is a command.

A comment whose first line begins with the mark (``sb:`` by default) is for secbridge; every other
one is the team's own conversation and is never looked at again.  Three words of the first line at
most name the command, the rest of it is its argument, and what follows is its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MARK = "sb:"

LONGEST_LINE = 1000
"""Characters of the first line that are looked at."""


class CommandName(StrEnum):
    """Everything that can be asked, in the words that are typed."""

    KEY_ACCEPT = "key accept"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Usage:
    """How a command is typed (behind the mark), and what it does."""

    form: str
    effect: str
    needs_argument: bool = False


USAGES: dict[CommandName, Usage] = {
    CommandName.KEY_ACCEPT: Usage(
        "key accept FINGERPRINT",
        "answer the reporter with this key from now on; what was held goes out",
        needs_argument=True,
    ),
    CommandName.HELP: Usage("help", "list these commands"),
}


@dataclass(frozen=True, slots=True, repr=False)
class Command:
    """A command with its argument (one line, maybe empty) and the text below it."""

    name: CommandName
    argument: str = ""
    text: str = ""

    def __repr__(self) -> str:
        return f"Command({self.name})"


class MistakeKind(StrEnum):
    """Why a marked comment is no command."""

    UNKNOWN = "unknown-command"
    NO_ARGUMENT = "argument-missing"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A marked comment that we do not understand; ``name``: the command that it may have meant."""

    kind: MistakeKind
    name: CommandName | None = None


def parse(text: str, *, mark: str = MARK) -> Command | Mistake | None:
    """Return the command of a comment, what is wrong with it, or None where nothing is asked.

    Blanks before the mark, its case, and Markdown's code spans around what is typed do not matter.
    """
    first, _, rest = text.replace("\r\n", "\n").partition("\n")
    line = first[:LONGEST_LINE].strip().strip("`").strip()
    if not line.lower().startswith(mark.lower()):
        return None
    words = line[len(mark) :].split()
    for length in (2, 1):
        if name := _NAMES.get(" ".join(words[:length]).lower()):
            argument = " ".join(words[length:]).strip("`")
            if USAGES[name].needs_argument and not argument:
                return Mistake(MistakeKind.NO_ARGUMENT, name)
            return Command(name, argument, rest.strip("\n"))
    return Command(CommandName.HELP) if not words else Mistake(MistakeKind.UNKNOWN)


_NAMES = {name.value: name for name in CommandName}
