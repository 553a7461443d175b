"""In which shape does GitHub answer?  Users, repositories, issues and the rest, with all they have.

Most fields of these answers are addresses that nobody here reads; they are there because GitHub's
specification requires them, and the fake's answers are held against it.
"""

from __future__ import annotations

from typing import Any

from tests.support.fake_server import present

Json = dict[str, Any]


def now() -> str:
    """Return the time as GitHub writes it."""
    return present().strftime("%Y-%m-%dT%H:%M:%SZ")


def user(base: str, login: str, number: int) -> Json:
    """Return a user; one whose name ends with [bot] is an App's."""
    api = f"{base}/api/v3/users/{login.replace('[', '%5B').replace(']', '%5D')}"
    kinds = (
        "followers following gists starred subscriptions organizations repos events received_events"
    )
    return {
        "login": login,
        "id": number,
        "node_id": f"U_{number}",
        "avatar_url": f"{base}/avatars/{number}",
        "gravatar_id": "",
        "url": api,
        "html_url": f"{base}/users/{number}",
        **{f"{kind}_url": f"{api}/{kind}" for kind in kinds.split()},
        "type": "Bot" if login.endswith("[bot]") else "User",
        "site_admin": False,
    }


def me(person: Json) -> Json:
    """Return a user as the user's own token shows it."""
    texts = ("blog", "company", "email", "hireable", "location", "name", "bio")
    counts = (
        "collaborators disk_usage followers following owned_private_repos private_gists "
        "public_gists public_repos total_private_repos"
    )
    return {
        **person,
        **dict.fromkeys(texts),
        "blog": "",
        **dict.fromkeys(counts.split(), 0),
        "two_factor_authentication": True,
        "user_view_type": "private",
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
    }


def repository(base: str, name: str, number: int, given: Json) -> Json:
    """Return a repository; ``given`` are the fields that differ from test to test."""
    api, page = f"{base}/api/v3/repos/{name}", f"{base}/{name}"
    lists = (
        "archive assignees blobs branches collaborators comments commits compare contents "
        "contributors deployments downloads events forks git_commits git_refs git_tags hooks "
        "issue_comment issue_events issues keys labels languages merges milestones notifications "
        "pulls releases stargazers statuses subscribers subscription tags teams trees"
    )
    counts = (
        "forks forks_count open_issues open_issues_count size stargazers_count watchers "
        "watchers_count network_count"
    )
    flags = "fork has_projects has_wiki has_discussions disabled"
    owner = user(base, name.partition("/")[0], 900)
    return {
        "id": number,
        "node_id": f"R_{number}",
        "name": name.partition("/")[2],
        "full_name": name,
        "owner": {**owner, "type": "Organization"},
        "description": None,
        "url": api,
        "html_url": page,
        "clone_url": f"{page}.git",
        "git_url": f"{page}.git",
        "ssh_url": f"{page}.git",
        "svn_url": page,
        "mirror_url": None,
        "homepage": None,
        "language": None,
        "license": None,
        "default_branch": "main",
        **{f"{kind}_url": f"{api}/{kind}" for kind in lists.split()},
        **dict.fromkeys(counts.split(), 0),
        **dict.fromkeys(flags.split(), False),
        "pushed_at": "2020-01-01T00:00:00Z",
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
        **given,
    }


def issue(base: str, kept: Json) -> Json:
    """Return an issue; ``kept`` is what the fake remembers of it, people and all."""
    api = f"{base}/api/v3/repos/{kept['repository']}"
    path = f"{api}/issues/{kept['number']}"
    hidden = {"repository", "writes"}
    return {
        **{name: value for name, value in kept.items() if name not in hidden},
        "node_id": f"I_{kept['id']}",
        "url": path,
        "repository_url": api,
        "labels_url": f"{path}/labels{{/name}}",
        "comments_url": f"{path}/comments",
        "events_url": f"{path}/events",
        "html_url": f"{base}/{kept['repository']}/issues/{kept['number']}",
        "assignee": kept["assignees"][0] if kept["assignees"] else None,
        "locked": False,
        "closed_at": None if kept["state"] == "open" else kept["updated_at"],
        "author_association": "COLLABORATOR",
    }


def label(base: str, repository: str, number: int, name: str) -> Json:
    """Return a label."""
    return {
        "id": number,
        "node_id": f"LA_{number}",
        "url": f"{base}/api/v3/repos/{repository}/labels/{number}",
        "name": name,
        "description": None,
        "color": "ededed",
        "default": False,
    }


def milestone(base: str, repository: str, kept: Json, creator: Json) -> Json:
    """Return a milestone."""
    path = f"{base}/api/v3/repos/{repository}/milestones/{kept['number']}"
    return {
        "url": path,
        "html_url": f"{base}/{repository}/milestone/{kept['number']}",
        "labels_url": f"{path}/labels",
        "id": 5000 + kept["number"],
        "node_id": f"MI_{kept['number']}",
        "number": kept["number"],
        "title": kept["title"],
        "description": None,
        "creator": creator,
        "open_issues": 0,
        "closed_issues": 0,
        "state": "open",
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
        "due_on": kept["due_on"],
        "closed_at": None,
    }


def comment(base: str, kept: Json) -> Json:
    """Return a comment on an issue."""
    api = f"{base}/api/v3/repos/{kept['repository']}/issues"
    hidden = {"repository", "issue"}
    return {
        **{name: value for name, value in kept.items() if name not in hidden},
        "node_id": f"IC_{kept['id']}",
        "url": f"{api}/comments/{kept['id']}",
        "html_url": f"{base}/{kept['repository']}/issues/{kept['issue']}#c-{kept['id']}",
        "issue_url": f"{api}/{kept['issue']}",
        "author_association": "COLLABORATOR",
    }


def advisory(base: str, kept: Json) -> Json:
    """Return a security advisory."""
    ghsa = kept["ghsa_id"]
    vector = kept["cvss"]
    hidden = {"repository", "cvss"}
    return {
        **{name: value for name, value in kept.items() if name not in hidden},
        "cve_id": None,
        "url": f"{base}/api/v3/repos/{kept['repository']}/security-advisories/{ghsa}",
        "html_url": f"{base}/{kept['repository']}/security/advisories/{ghsa}",
        "publisher": None,
        "identifiers": [{"type": "GHSA", "value": ghsa}],
        "withdrawn_at": None,
        "submission": None,
        "cvss": {"vector_string": vector, "score": None} if vector else None,
        "cwes": None,
        "cwe_ids": None,
        "private_fork": None,
    }


def team(base: str, slug: str) -> Json:
    """Return a team of an organisation."""
    api = f"{base}/api/v3/teams/{slug}"
    return {
        "id": 700,
        "node_id": "T_700",
        "url": api,
        "members_url": f"{api}/members",
        "repositories_url": f"{api}/repos",
        "html_url": f"{base}/orgs/octo/teams/{slug}",
        "name": slug,
        "slug": slug,
        "description": None,
        "privacy": "closed",
        "permission": "push",
        "type": "organization",
        "organization_id": 900,
        "parent": None,
    }


def file(base: str, repository: str, path: str, content: str) -> Json:
    """Return a file of a repository; ``content`` is its Base64."""
    api = f"{base}/api/v3/repos/{repository}/contents/{path}"
    page = f"{base}/{repository}/blob/main/{path}"
    return {
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": f"{abs(hash(path)):040x}"[:40],
        "size": len(content) * 3 // 4,
        "url": api,
        "html_url": page,
        "git_url": api,
        "download_url": f"{base}/{repository}/raw/{path}",
        "type": "file",
        "_links": {"self": api, "git": api, "html": page},
    }
