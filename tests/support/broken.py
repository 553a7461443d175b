"""How can a tracker be set up wrongly?  Each way with what must be said of it, for every kind.

A ``Yard`` is a fake tracker with the configuration of an installation that files there, and the
ways to break and to mend it from outside.  Another kind joins by a yard of its own in ``YARDS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.fake_github import BOT as GITHUB_BOT
from tests.support.fake_github import FakeGitHub
from tests.support.fake_gitlab import FakeGitLab
from tests.support.fake_jira import BOT as JIRA_BOT
from tests.support.fake_jira import RIGHTS, FakeJira
from tests.support.fake_server import Handle
from tests.support.keys import Ring
from tests.support.running import write_config

Settings = Mapping[str, object]
"""What to set in the fake's world."""


@dataclass(frozen=True)
class Breakage:
    """One way to be wrong, and what is said of it.

    ``setting``: the option that is named.  ``says``: what stands in the finding.  ``waits``:
    nothing is filed until it is mended.  ``broken`` and ``mended`` are set in the fake; without
    them the way is one of those that every kind has.
    """

    setting: str
    says: str
    waits: bool = True
    broken: Settings | None = None
    mended: Settings | None = None


TOKEN = "trackers.main.token_credential"


@dataclass
class Yard:
    """A tracker of some kind that is broken and mended from outside.

    ``table``: its options beside kind and token.  ``label``: one that it does not take.
    """

    kind: str
    fake: Handle
    project: str
    token: str
    table: str
    text_of: Callable[[Any], str]
    breakages: Mapping[str, Breakage]
    label: str = ""

    def fresh(self) -> None:
        """Forget everything that was there."""
        self.fake.reset()

    def config(self, folder: Path, ring: Ring, role_key: str) -> Path:
        """Write the configuration of a new installation that files here."""
        folder.mkdir()
        token = folder / "token"
        token.write_text(self.token)
        token.chmod(0o600)
        table = f'kind = "{self.kind}"\ntoken_file = "{token}"\ntimeout = "8s"\nsettle = "0s"'
        return write_config(
            folder,
            role_home=ring.home,
            role_key=role_key,
            relay_port=1,
            more=f"[trackers.main]\n{table}\n{self.table}",
            alias=f'tracker = "main"\nproject = "{self.project}"\n',
        )

    def break_it(self, config: Path, how: str) -> None:
        """Make it wrong in one of the ways of ``breakages``."""
        self._turn(config, how, to=0)

    def mend(self, config: Path, how: str) -> None:
        """Make it right again."""
        self._turn(config, how, to=1)

    def _turn(self, config: Path, how: str, *, to: int) -> None:
        match how:
            case "wrong token":
                (config.parent / "token").write_text(("wrong-0123456789", self.token)[to])
            case "revoked token":
                self.fake.settings(token=("another-0123456789", self.token)[to])
            case "misspelt project":
                names = (f'project = "{self.project}X"', f'project = "{self.project}"')
                config.write_text(config.read_text().replace(names[1 - to], names[to]))
            case "unknown label":
                labels = f'labels = ["{self.label}"]\n'
                text = config.read_text().replace(labels, "")
                config.write_text(text if to else text + labels)
            case _:
                breakage = self.breakages[how]
                self.fake.settings(**dict((breakage.mended if to else breakage.broken) or {}))

    def lose_the_answer(self) -> None:
        """Do what the next create asks for, and do not answer."""
        self.fake.fault("drop-after", on="create-issue")

    def texts(self) -> list[str]:
        """Return the texts of all issues that are there."""
        return [self.text_of(issue) for issue in self.fake.state()["issues"]]


REFUSED = Breakage(TOKEN, "refuses the token")


@contextmanager
def _gitlab() -> Iterator[Yard]:
    with FakeGitLab.start() as fake:
        yield Yard(
            "gitlab",
            fake,
            fake.project,
            fake.token,
            f'url = "{fake.url}"',
            lambda issue: str(issue["description"]),
            BREAKAGES["gitlab"],
            label="Security, really",
        )


@contextmanager
def _github() -> Iterator[Yard]:
    with FakeGitHub.start() as fake:
        yield Yard(
            "github",
            fake,
            fake.project,
            fake.token,
            f'url = "{fake.api}"',
            lambda issue: str(issue["body"]),
            BREAKAGES["github"],
        )


@contextmanager
def _jira(deployment: str) -> Iterator[Yard]:
    with FakeJira.start() as fake:
        yield Yard(
            "jira",
            fake,
            fake.project,
            fake.token,
            f'url = "{fake.url}"\nsecurity_level = "Team"\n{deployment}',
            lambda issue: str(issue["fields"]["description"]),
            BREAKAGES["jira"],
            label="Security really",
        )


YARDS: Mapping[str, Callable[[], AbstractContextManager[Yard]]] = {
    "gitlab": _gitlab,
    "github": _github,
    "jira": partial(_jira, 'deployment = "cloud"\nuser = "bot@example.org"'),
}
"""How the yard of each kind is opened."""

BREAKAGES: Mapping[str, Mapping[str, Breakage]] = {
    "gitlab": {
        "wrong token": REFUSED,
        "revoked token": REFUSED,
        "missing right": Breakage(
            TOKEN, "role Reporter", broken={"access_level": 10}, mended={"access_level": 20}
        ),
        "missing project": Breakage(
            "alias.project",
            "knows no such project",
            broken={"project": "group/renamed"},
            mended={"project": "group/security"},
        ),
        "misspelt project": Breakage("alias.project", "knows no such project"),
        "archived project": Breakage(
            "alias.project", "archived", broken={"archived": True}, mended={"archived": False}
        ),
        "issues switched off": Breakage(
            "alias.project",
            "no issues",
            broken={"issues_enabled": False},
            mended={"issues_enabled": True},
        ),
        "unknown label": Breakage("alias.labels", "comma"),
        "unknown assignee": Breakage(
            "alias.assignees",
            "alex is not known",
            waits=False,
            broken={"users": {42: "secbridge-bot"}},
        ),
    },
    "github": {
        "wrong token": REFUSED,
        "revoked token": REFUSED,
        "missing right": Breakage(
            TOKEN, "may not write", broken={"push": False}, mended={"push": True}
        ),
        "misspelt project": Breakage("alias.project", "knows no such repository"),
        "public project": Breakage(
            "alias.project",
            "not private",
            broken={"visibility": "public"},
            mended={"visibility": "private"},
        ),
        "archived project": Breakage(
            "alias.project", "archived", broken={"archived": True}, mended={"archived": False}
        ),
        "issues switched off": Breakage(
            "alias.project",
            "no issues",
            broken={"has_issues": False},
            mended={"has_issues": True},
        ),
        "unknown assignee": Breakage(
            "alias.assignees",
            "cannot be assigned to alex",
            waits=False,
            broken={"users": {GITHUB_BOT: 42}, "roles": {GITHUB_BOT: "write"}},
        ),
    },
    "jira": {
        "wrong token": REFUSED,
        "revoked token": REFUSED,
        "missing right": Breakage(
            TOKEN,
            "lacks permissions",
            broken={"rights": [right for right in RIGHTS if right != "SET_ISSUE_SECURITY"]},
            mended={"rights": list(RIGHTS)},
        ),
        "misspelt project": Breakage("alias.project", "knows no such project"),
        "archived project": Breakage(
            "alias.project", "archived", broken={"archived": True}, mended={"archived": False}
        ),
        "missing security level": Breakage(
            "trackers.main.security_level",
            "security level",
            broken={"levels": []},
            mended={"levels": [["10001", "Team"], ["10002", "Management"]]},
        ),
        "unknown label": Breakage("alias.labels", "blank"),
        "unknown assignee": Breakage(
            "alias.assignees",
            "No issue can be assigned to alex",
            waits=False,
            broken={"assignable": [JIRA_BOT]},
        ),
    },
}
"""Every kind with every way in which it can be wrong."""

CASES = [(kind, how) for kind, ways in BREAKAGES.items() for how in ways]
