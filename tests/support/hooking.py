"""How do trackers send webhooks?  Signed as each vendor signs, and posted over a real socket."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from secbridge.ports import Posted

Fields = list[tuple[str, str]]

SECRET = "a secret of thirty-two characters"
SIGNING_TOKEN = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def github(body: bytes, secret: str = SECRET) -> Fields:
    """Return the fields of a webhook of GitHub's, with the old signature beside the new one."""
    old = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    return [
        ("X-GitHub-Event", "issue_comment"),
        ("X-GitHub-Delivery", str(uuid.uuid4())),
        ("X-Hub-Signature", f"sha1={old}"),
        ("X-Hub-Signature-256", f"sha256={_hex(secret, body)}"),
    ]


def jira(body: bytes, secret: str = SECRET) -> Fields:
    """Return the fields of a webhook of Jira's."""
    return [
        ("X-Atlassian-Webhook-Identifier", str(uuid.uuid4())),
        ("X-Hub-Signature", f"sha256={_hex(secret, body)}"),
    ]


def gitlab(body: bytes, secret: str = SECRET) -> Fields:
    """Return the fields of a webhook of GitLab's that has a token."""
    return [("X-Gitlab-Event", "Confidential Note Hook"), ("X-Gitlab-Token", secret)]


def gitlab_signed(
    body: bytes, token: str = SIGNING_TOKEN, *, name: str = "", at: datetime | None = None
) -> Fields:
    """Return the fields of a webhook of GitLab's that has a signing token."""
    name = name or str(uuid.uuid4())
    stamp = str(int((at or datetime.now(UTC)).timestamp()))
    key = base64.b64decode(token.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{name}.{stamp}.".encode() + body, "sha256")
    return [
        ("X-Gitlab-Event", "Confidential Note Hook"),
        ("webhook-id", name),
        ("webhook-timestamp", stamp),
        ("webhook-signature", f"v1,{base64.b64encode(mac).decode()}"),
    ]


SCHEMES: Mapping[str, Callable[..., Fields]] = {
    "github": github,
    "jira": jira,
    "gitlab": gitlab,
    "gitlab-signed": gitlab_signed,
}
"""How each vendor proves itself, by the name that fakes are given."""


def posted(fields: Sequence[tuple[str, str]], body: bytes) -> Posted:
    """Return a request as the server hands it to the rooms."""
    return Posted(tuple((name.lower().encode(), value.encode()) for name, value in fields), body)


def send(hook: Mapping[str, Any], order: Mapping[str, Any]) -> int:
    """Post the webhook of a fake (``url``, ``scheme``, perhaps ``secret``); return the status."""
    now = datetime.now(UTC)
    body = json.dumps({"timestamp": int(now.timestamp() * 1000), "did": order}).encode()
    secret = [hook["secret"]] if "secret" in hook else []
    return knock(hook["url"], SCHEMES[hook["scheme"]](body, *secret), body)


def knock(url: str, fields: Sequence[tuple[str, str]], body: bytes, method: str = "POST") -> int:
    """Send one request and return the status of its answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    try:
        connection.request(method, parts.path, body, dict(fields))
        return connection.getresponse().status
    finally:
        connection.close()


def say(address: tuple[str, int] | str, octets: bytes) -> bytes:
    """Say something that need not be HTTP, and return all that is answered."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(60)
        client.connect(address)
        client.sendall(octets)
        return b"".join(iter(lambda: client.recv(65536), b""))


def _hex(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
