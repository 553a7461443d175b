"""Do the documents say what the code does?  Commands, states, standards, settings, links."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from typer.testing import CliRunner

from secbridge.cli import app
from secbridge.model.delivery import State
from secbridge.model.issue import Paragraph
from secbridge.model.reply import NotSaid
from secbridge.rules.commands import MARK, REJECTION_CLASSES, USAGES
from secbridge.rules.drafting import commanding
from secbridge.rules.letters import NOT_SAID
from secbridge.rules.lifecycle import mermaid
from secbridge.settings import load

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
RFC = re.compile(r"RFC[ -]?\d{3,5}(?:(?:, | and |, and )\d{4}\b)*")
STATUSES = {"yes", "partly", "no"}

_COMMAND = re.compile(
    r"(?:#? *ExecStart=)?(?:sudo +(?:-u \w+ +)?(?:[A-Z_]+=\S+ +)*)?(?:/\S+/)?(?:secbridge|sb) +"
    r"([^|;&<>`]+)"
)
_ROW = re.compile(r"^\| *(?:RFC )?(\d+) *\|[^|]*\| *(\w+) *\|", re.MULTILINE)


def _tokens(document: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(document.read_text(encoding="utf-8"))


def _flat(tokens: list[Token]) -> list[Token]:
    return [inner for token in tokens for inner in (token, *_flat(token.children or []))]


def _shell_lines(document: Path) -> list[str]:
    """Return what a reader may copy into a shell: lines of sh blocks, pieces of inline code."""
    found: list[str] = []
    for token in _flat(_tokens(document)):
        if token.type == "code_inline":
            found.append(token.content)
        elif token.type == "fence" and token.info == "sh":
            found += token.content.replace("\\\n", " ").splitlines()
    return found


def _commands() -> list[tuple[str, str]]:
    """Return (file, command line) for every ``secbridge …`` in the documents and the unit file."""
    lines = [(file.name, line) for file in DOCUMENTS for line in _shell_lines(file)]
    for file in (ROOT / "systemd").glob("*.service"):
        lines += [(file.name, line) for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted(
        {(name, match[1].strip()) for name, line in lines if (match := _COMMAND.match(line))}
    )


@cache
def _help(*verbs: str) -> str | None:
    """Return what ``--help`` says of a command, or None when there is no such command."""
    done = CliRunner().invoke(
        app, [*verbs, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    )
    return done.stdout if done.exit_code == 0 else None


def _verbs(words: list[str]) -> list[str]:
    """Return the leading words that name a command: as many as there are groups to go down."""
    verbs: list[str] = []
    while len(verbs) < len(words) and "COMMAND [ARGS]" in (_help(*verbs) or ""):
        if words[len(verbs)].startswith("-"):
            break
        verbs.append(words[len(verbs)])
    return verbs


@pytest.mark.parametrize(("file", "command"), _commands())
def test_every_command_line_in_the_documents_exists(file: str, command: str) -> None:
    """Each ``secbridge …`` that a reader may copy names a command and options that there are."""
    words = shlex.split(command, comments=True)
    verbs = _verbs(words)
    options = {word.partition("=")[0] for word in words if re.match(r"-[a-z-]", word)}
    told = _help(*verbs)

    assert told is not None, f"{file}: there is no `secbridge {' '.join(verbs)}`"
    assert {each for each in options if not re.search(rf"(?<!\S){each}(?![\w-])", told)} == set()


def test_the_design_shows_the_state_table_that_the_code_obeys() -> None:
    """The diagram in docs/design.md is the one that the table draws; `make docs` draws it again."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")

    assert f"```mermaid\n{mermaid()}```" in text


def test_the_operators_guide_explains_every_state() -> None:
    """Whatever `delivery list` shows has its row in docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

    assert [state.value for state in State if f"| `{state.value}` |" not in text] == []


def _rows(document: Path, head: str) -> list[list[str]]:
    """Return the cells of a table's rows, without the code's marks; ``head`` is its first cell."""
    tables: list[list[list[str]]] = []
    for token in _tokens(document):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and tables and token.level > 3:
            tables[-1][-1].append(token.content.replace("`", ""))
    (table,) = [rows for rows in tables if rows[0][0] == head]
    return table[1:]


def test_the_page_for_the_team_lists_every_command_as_the_help_does() -> None:
    """docs/conversation.md has each command with its form and effect, and the classes."""
    page = ROOT / "docs" / "conversation.md"

    expected = [[f"{MARK} {usage.form}", usage.effect] for usage in USAGES.values()]
    assert expected == [row[:2] for row in _rows(page, "command")]
    text = page.read_text(encoding="utf-8")
    assert [name for name in REJECTION_CLASSES if f"`{name}`" not in text] == []


def test_the_page_for_the_team_has_every_reason_why_nothing_was_sent() -> None:
    """What an issue is told then stands in docs/conversation.md, with what to do."""
    expected = []
    for code in NOT_SAID:
        told = commanding.not_said(NotSaid(code), "SB-2026-0001", mark=MARK)[0]
        assert isinstance(told, Paragraph)
        expected.append(told.text.split(": ")[1].rstrip("."))

    rows = _rows(ROOT / "docs" / "conversation.md", "the answer says")
    assert sorted(expected) == sorted(row[0] for row in rows)


def test_every_rfc_in_the_code_is_listed_with_its_status() -> None:
    """A standard that the code names stands in docs/rfcs.md: yes, partly or no."""
    listed = dict(_ROW.findall((ROOT / "docs" / "rfcs.md").read_text(encoding="utf-8")))
    named = {
        number
        for folder in ("src", "config", "systemd")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".toml", ".j2", ".service"}
        for naming in RFC.findall(file.read_text(encoding="utf-8"))
        for number in re.findall(r"\d{3,}", naming)
    }

    assert sorted(named - listed.keys(), key=int) == []
    assert {number: status for number, status in listed.items() if status not in STATUSES} == {}


def test_the_configuration_in_the_readme_can_be_used(tmp_path: Path) -> None:
    """The TOML that a newcomer copies is read without a complaint."""
    (toml,) = [
        token.content
        for token in _tokens(ROOT / "README.md")
        if token.type == "fence" and token.info == "toml"
    ]
    file = tmp_path / "secbridge.toml"
    file.write_text(toml, encoding="utf-8")

    assert [alias.address for alias in load(file).aliases()] == ["security@example.org"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_finds_it(document: Path) -> None:
    """Links and pictures between the documents lead somewhere."""
    links = [
        str(token.attrs.get("href") or token.attrs.get("src"))
        for token in _flat(_tokens(document))
        if token.type in {"link_open", "image"}
    ]
    local = [
        link.partition("#")[0] for link in links if "://" not in link and "mailto:" not in link
    ]

    assert [link for link in local if link and not (document.parent / link).exists()] == []


def test_everything_that_make_can_do_is_in_its_help() -> None:
    """`make help` names each target that a person would call."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    told = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))

    assert {"demo", "test", "check", "bench", "lock", "docs", "clean", "test-deps"} <= told
