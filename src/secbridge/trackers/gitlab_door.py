"""How do we speak to a GitLab?  With python-gitlab, one request at a time (see ``door``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from secbridge.errors import TransientFault
from secbridge.model.plaintext import Secret
from secbridge.trackers.door import USER_AGENT, Ask, Door, Json, Refusals
from secbridge.trackers.registry import library

PER_PAGE = 50
MAX_PAGES = 200


_REFUSALS: Refusals = {
    "tracker-token-missing": (
        "The token cannot be read.",
        "token_credential",
        "Give secbridge the credential or file that the setting names.",
    ),
    "tracker-token-refused": (
        "The tracker refuses the token.",
        "token_credential",
        "Give secbridge a valid token of the bot's account, with the scope api.",
    ),
    "tracker-forbidden": (
        "The tracker says that the bot's account may not do this.",
        "token_credential",
        "Give the account the role Reporter in the project, and its token the scope api.",
    ),
    "tracker-not-found": (
        "The tracker knows no such project, or does not show it to the bot's account.",
        "alias.project",
        "See whether the project is spelled right, and the account is a member of it.",
    ),
    "tracker-refused": (
        "The tracker refuses a value.",
        "alias.labels",
        "See whether the project knows the labels and people that the alias asks for.",
    ),
    "tracker-redirects": (
        "The tracker points to another address, and no redirect is followed.",
        "url",
        "Write the address that the tracker itself uses, and the project's present path.",
    ),
    "tracker-url": (
        "The tracker's address cannot be used.",
        "url",
        "Write it as https://gitlab.example.org.",
    ),
    "tracker-tls": (
        "The tracker's certificate cannot be verified.",
        "ca_file",
        "Name the CA in ca_file, or renew the certificate.",
    ),
}


class GitLabDoor(Door):
    """Requests to one GitLab, by its REST API v4 (see ``door.Door``)."""

    refusals = _REFUSALS

    def __init__(
        self,
        name: str,
        url: str,
        token: Callable[[], Secret],
        *,
        timeout: float,
        ca_file: str | None = None,
    ) -> None:
        self._gitlab = library("gitlab", extra="gitlab")
        self._url = url
        super().__init__(name, token, timeout=timeout, ca_file=ca_file, extra="gitlab")

    async def pages(self, what: str, path: str, **query: Json) -> Sequence[Mapping[str, Json]]:
        """Return all items of a list, page by page, at most ``MAX_PAGES`` pages."""
        items: list[Mapping[str, Json]] = []
        for page in range(1, MAX_PAGES + 1):
            answer = await self.get(what, path, **query, page=page, per_page=PER_PAGE)
            if not isinstance(answer, list):
                raise TransientFault("tracker-answer-unreadable", "The tracker sent no list.")
            items += [item for item in answer if isinstance(item, dict)]
            if len(answer) < PER_PAGE:
                return items
        raise TransientFault(
            "tracker-list-endless", "A list of the tracker does not end.", alarm=True
        )

    def make_client(self) -> Json:
        """Return a client with the token as it is now."""
        return self._gitlab.Gitlab(
            self._url,
            private_token=self.reveal(),
            session=self.session(),
            timeout=self.timeout,
            ssl_verify=self.verify,
            retry_transient_errors=False,
            keep_base_url=True,
            user_agent=USER_AGENT,
        )

    def close_client(self, client: Json) -> None:
        """Close a client's connections."""
        client.session.close()

    def request(self, client: Json, ask: Ask) -> Json:
        """Send one request, once, and return its JSON."""
        response = client.http_request(
            ask.verb,
            ask.path,
            query_data=dict(ask.query),
            post_data=None if ask.body is None else dict(ask.body),
            obey_rate_limit=False,
            retry_transient_errors=False,
            max_retries=0,
        )
        return response.json()

    def status_of(self, error: Exception) -> int | None:
        """Return the status of python-gitlab's own errors."""
        if not isinstance(error, self._gitlab.exceptions.GitlabError):
            return None
        status = error.response_code
        return status if isinstance(status, int) else 0
