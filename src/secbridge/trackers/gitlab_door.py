"""How do we speak to a GitLab?  With python-gitlab, one request at a time (see ``door``).

The token goes as ``Authorization: Bearer``, which GitLab takes from every kind of token: requests
strips that header where a redirect leads to another host, and not GitLab's own ``PRIVATE-TOKEN``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from secbridge.errors import Deferral, OutcomeUnknown, TransientFault
from secbridge.model.plaintext import Secret
from secbridge.trackers.door import USER_AGENT, Ask, Door, Json, Refusals, Upload
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
        "Give the account the role Reporter, its token the scope api; unarchive the project.",
    ),
    "tracker-not-found": (
        "The tracker knows no such project, or does not show it to the bot's account.",
        "alias.project",
        "See whether the project is spelled right, and the account is a member of it.",
    ),
    "tracker-refused": (
        "The tracker refuses a value.",
        "alias.labels",
        "See whether the project knows the labels, the people and the issue type that are asked.",
    ),
    "tracker-conflict": (
        "The tracker says that this is there already, or takes it for spam.",
        "alias.project",
        "See whether it is there; exempt the bot's account from the tracker's spam checks.",
    ),
    "tracker-too-large": (
        "The tracker does not take a request of this size.",
        "attachments",
        "Raise the tracker's limit for attachments, or set attachments to withhold.",
    ),
    "tracker-moved-away": (
        "The issue was moved to a project that the bot's account cannot read.",
        "alias.project",
        "Make the account a Reporter there, or move the issue back.",
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
            found = await self.page(what, path, **query, page=page)
            items += found
            if len(found) < PER_PAGE:
                return items
        raise TransientFault(
            "tracker-list-endless", "A list of the tracker does not end.", alarm=True
        )

    async def page(self, what: str, path: str, **query: Json) -> Sequence[Mapping[str, Json]]:
        """Return one page of a list, ``PER_PAGE`` items unless it is the last one."""
        answer = await self.get(what, path, **{"per_page": PER_PAGE, **query})
        if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
            raise TransientFault("tracker-answer-unreadable", "The tracker sent no list.")
        return answer

    async def upload(self, what: str, path: str, file: Upload) -> Mapping[str, Json]:
        """Return the answer to one upload, which is sent once.  Raises OutcomeUnknown."""
        return self.expect_object(await self.send(Ask(what, "post", path, upload=file)), what)

    async def mutate(self, what: str, query: str, **variables: Json) -> Mapping[str, Json]:
        """Return the data of a GraphQL mutation, for what the REST API cannot set."""
        body = {"query": query, "variables": variables}
        data = (await self.post(what, f"{self._url}/api/graphql", body)).get("data")
        return data if isinstance(data, dict) else {}

    async def ask_graphql(self, what: str, query: str, **variables: Json) -> Mapping[str, Json]:
        """Return the data of a GraphQL query, for what the REST API tells administrators only."""
        try:
            return await self.mutate(what, query, **variables)
        except OutcomeUnknown as error:  # nothing was to be done, so nothing can be unknown
            raise TransientFault(
                error.code, error.sentence, alarm=error.alarm, retry_after=error.retry_after
            ) from None

    def answered(self, status: int, ask: Ask) -> Deferral:
        """Sort an answer that is not 2xx; GitLab says 409 of what is there, and of spam."""
        match status:
            case 409:
                return self.permanent("tracker-conflict")
            case 413:
                return self.permanent("tracker-too-large")
            case _:
                return super().answered(status, ask)

    def make_client(self) -> Json:
        """Return a client with the token as it is now."""
        return self._gitlab.Gitlab(
            self._url,
            oauth_token=self.reveal(),
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
            files=None if ask.upload is None else _form(ask.upload),
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


def _form(file: Upload) -> Json:
    """Return a file in the form in which requests takes it."""
    return {file.field: (file.name, file.content, file.media_type)}
