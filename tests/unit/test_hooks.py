"""Which webhooks are the tracker's own?  Those that its secret proves, whatever else they say."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import hooking
from tests.support.hooking import SECRET, SIGNING_TOKEN, Fields, posted

from secbridge.errors import PermanentFault
from secbridge.model.plaintext import Secret
from secbridge.ports import Hook, Posted, Proven, Unproven
from secbridge.trackers import registry
from secbridge.trackers.hooks import BodyHook, GitLabHook, signing_key

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BODY = b'{"object_kind": "note"}'
KEY = signing_key(Secret(SIGNING_TOKEN), setting="webhook_signing_token")

GITHUB = BodyHook(b"x-hub-signature-256", SECRET.encode())
JIRA = BodyHook(b"x-hub-signature", SECRET.encode(), dated=True)
GITLAB = GitLabHook(SECRET.encode(), KEY)


def judged(hook: Hook, fields: Fields, body: bytes = BODY) -> str:
    """Return "proven", "late", or the reason."""
    match hook.judge(posted(fields, body), now=NOW):
        case Proven(late=late):
            return "late" if late else "proven"
        case Unproven(reason):
            return reason


def without(fields: Fields, *names: str) -> Fields:
    """Return the fields that have other names."""
    return [one for one in fields if one[0] not in names]


def signed(at: datetime = NOW, **more: Any) -> Fields:
    """Return what GitLab signs now."""
    return hooking.gitlab_signed(BODY, at=at, **more)


# ── What vendors publish ─────────────────────────────────────────────────────────────────────────


OF_GITHUB = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
OF_ATLASSIAN = "a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"


@pytest.mark.parametrize(
    ("field", "body", "signature"),
    [
        ("X-Hub-Signature-256", b"Hello, World!", OF_GITHUB),
        ("X-Hub-Signature", b"Hello World!", OF_ATLASSIAN),
    ],
    ids=["github", "jira"],
)
def test_the_vendors_own_examples_are_proven(field: str, body: bytes, signature: str) -> None:
    """GitHub and Atlassian publish a secret, a body and its signature."""
    hook = BodyHook(field.lower().encode(), b"It's a Secret to Everybody")
    assert judged(hook, [(field, f"sha256={signature}")], body) == "proven"
    assert judged(hook, [(field, f"sha256={signature}")], body + b".") == "bad-signature"


def test_the_example_of_standard_webhooks_is_proven() -> None:
    """Id, time and body are signed together; the key is what stands behind ``whsec_``."""
    key = signing_key(Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), setting="s")
    fields = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]
    then = datetime.fromtimestamp(1614265330, UTC)
    told = GitLabHook(None, key).judge(posted(fields, b'{"test": 2432232314}'), now=then)
    assert isinstance(told, Proven)


@pytest.mark.parametrize("vendor", ["github", "gitlab", "jira"])
def test_real_payloads_are_proven_byte_for_byte(shared: Path, vendor: str) -> None:
    """Whatever a vendor sends is judged by its octets; of Jira's, the old ones are late."""
    files = sorted((shared / "webhooks" / vendor).rglob("*.json"))
    assert len(files) > 20
    for file in files:
        body = file.read_bytes()
        match vendor:
            case "github":
                assert judged(GITHUB, hooking.github(body), body) == "proven", file.name
            case "gitlab":
                fields = hooking.gitlab_signed(body, at=NOW)
                assert judged(GITLAB, fields, body) == "proven", file.name
                assert judged(GITLAB, hooking.gitlab(body), body) == "proven", file.name
            case _:
                assert judged(JIRA, hooking.jira(body), body) == "late", file.name


# ── GitHub and Jira: the body is signed ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("hook", [GITHUB, JIRA], ids=["github", "jira"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "bad-signature"),
        ("sha256=", "bad-signature"),
        ("{hex}", "bad-signature"),
        ("sha256={half}", "bad-signature"),
        ("sha256={hex}0", "bad-signature"),
        ("sha256={upper}", "bad-signature"),
        ("SHA256={hex}", "bad-signature"),
        ("sha1={old}", "bad-signature"),
        ("sha256=ä", "bad-signature"),
        ("sha256={other}", "bad-signature"),
        ("sha256={hex}", "proven"),
    ],
)
def test_only_the_whole_signature_of_this_key_proves_a_body(
    hook: BodyHook, value: str, expected: str
) -> None:
    """Empty, cut, longer, spelt otherwise, by SHA-1 or by another key: nothing of it counts."""
    old, new = (field[1].split("=")[1] for field in hooking.github(BODY)[2:])
    other = hooking.jira(BODY, "another secret")[1][1].split("=")[1]
    filled = value.format(hex=new, half=new[:32], upper=new.upper(), old=old, other=other)
    assert judged(hook, [(hook.field.decode(), filled)]) == expected


def test_a_signature_stands_there_once_and_in_its_own_field() -> None:
    """Two of them, both right, are an attempt on whoever reads the other one."""
    right = hooking.github(BODY)
    assert judged(GITHUB, [*right, right[3]]) == "several-signatures"
    assert judged(GITHUB, without(right, "X-Hub-Signature-256")) == "no-signature"
    assert judged(JIRA, without(right, "X-Hub-Signature")) == "no-signature"
    assert judged(GITHUB, [("X-HUB-signature-256", right[3][1])]) == "proven"


def test_the_same_request_has_the_same_identity_whatever_its_unsigned_fields_say() -> None:
    """GitHub does not sign the delivery's id, so a replay under another id is still a replay."""
    first, second = (GITHUB.judge(posted(hooking.github(BODY), BODY), now=NOW) for _ in range(2))
    other = GITHUB.judge(posted(hooking.github(b"{}"), b"{}"), now=NOW)
    assert isinstance(first, Proven)
    assert first == second != other


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"timestamp": NOW}, "proven"),
        ({"timestamp": NOW - timedelta(minutes=4)}, "proven"),
        ({"timestamp": NOW - timedelta(minutes=6)}, "late"),
        ({"timestamp": NOW + timedelta(days=1)}, "proven"),
        ({"timestamp": True}, "proven"),
        ({"timestamp": "1"}, "proven"),
        ({}, "proven"),
        ([], "proven"),
        ("no JSON", "proven"),
        ("[" * 100_000, "proven"),
    ],
)
def test_jira_says_when_it_was_and_what_is_old_does_nothing(body: Any, expected: str) -> None:
    """It is proven all the same; a body without a time is a hint like any other."""
    octets = body.encode() if isinstance(body, str) else json.dumps(body, default=_stamp).encode()
    assert judged(JIRA, hooking.jira(octets), octets) == expected


def _stamp(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


# ── GitLab: a signature with a time, or a token ──────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "proven"), (299, "proven"), (-299, "proven"), (301, "out-of-time"), (-301, "out-of-time")],
)
def test_a_signed_webhook_has_five_minutes(seconds: int, expected: str) -> None:
    """A clock may be off by so much in both directions."""
    assert judged(GITLAB, signed(NOW + timedelta(seconds=seconds))) == expected


def test_one_of_several_signatures_may_be_ours() -> None:
    """While a key is changed there are two in one field; more than a few are not looked at."""
    fields = signed()
    right = fields[3][1]
    several = [*fields[:3], ("webhook-signature", f"v1a,x v1,AAAA {right}")]
    hidden = [*fields[:3], ("webhook-signature", "v1,AAAA " * 9 + right)]
    assert judged(GITLAB, several) == "proven"
    assert judged(GITLAB, hidden) == "bad-signature"


@pytest.mark.parametrize("broken", ["", "v1,", "v1,AAAA", "v2,{right}", "{right}=", "v1", "ü"])
def test_a_signature_that_is_there_must_be_right(broken: str) -> None:
    """The right token beside a broken signature does not help it."""
    fields = [*signed(), ("X-Gitlab-Token", SECRET)]
    value = broken.format(right=fields[3][1][3:])
    changed = [*fields[:3], ("webhook-signature", value), fields[4]]
    assert judged(GITLAB, fields) == "proven"
    assert judged(GITLAB, changed) == "bad-signature"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_what_is_signed_stands_there_once(name: str) -> None:
    """Neither missing, nor twice, nor changed."""
    fields = signed()
    (value,) = [each[1] for each in fields if each[0] == name]
    assert judged(GITLAB, without(fields, name)) == "no-signature"
    assert judged(GITLAB, [*fields, (name, value)]) == "no-signature"
    assert judged(GITLAB, [*without(fields, name), (name, value + "1")]) == "bad-signature"
    assert judged(GITLAB, [*fields, fields[3]]) == "several-signatures"


@pytest.mark.parametrize("stamp", ["", "-1", "\uff11", "1e9", "9" * 13, "0x10", "1614265330.0"])
def test_a_time_is_a_number_of_seconds(stamp: str) -> None:
    """Even one that is signed: it is data like everything else."""
    assert judged(GITLAB, _signed_as("one", stamp)) == "bad-signature"


def test_an_id_has_no_dot_so_that_nothing_can_be_pushed_over_its_edge() -> None:
    """Id, time and body are joined by dots: with one in the id they could be cut elsewhere."""
    stamp = str(int(NOW.timestamp()))
    assert judged(GITLAB, _signed_as("plain", stamp)) == "proven"
    assert judged(GITLAB, _signed_as(f"plain.{stamp}", stamp)) == "bad-signature"
    assert judged(GITLAB, _signed_as("", stamp)) == "bad-signature"


def _signed_as(name: str, stamp: str) -> Fields:
    mac = hmac.digest(KEY, f"{name}.{stamp}.".encode() + BODY, "sha256")
    value = f"v1,{base64.b64encode(mac).decode()}"
    return [("webhook-id", name), ("webhook-timestamp", stamp), ("webhook-signature", value)]


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (SECRET, "proven"),
        (SECRET[:-1], "bad-token"),
        (SECRET + "x", "bad-token"),
        (SECRET.upper(), "bad-token"),
        ("", "bad-token"),
        ("ü" * 3000, "bad-token"),
    ],
)
def test_a_token_is_compared_as_a_whole(token: str, expected: str) -> None:
    """Shorter, longer, or in other letters it is another one."""
    assert judged(GITLAB, [("X-Gitlab-Token", token)]) == expected


def test_what_is_not_configured_proves_nothing() -> None:
    """Neither a signature without a key of ours, nor a token, nor the empty one."""
    by_token, by_signature = GitLabHook(SECRET.encode(), None), GitLabHook(None, KEY)
    token = hooking.gitlab(BODY)
    assert judged(by_token, signed()) == "no-signing-token"
    assert judged(by_signature, token) == "no-signature"
    assert judged(by_signature, [("X-Gitlab-Token", "")]) == "no-signature"
    assert judged(by_token, []) == "no-token"
    assert judged(by_token, [*token, token[1]]) == "bad-token"


def test_a_signed_webhook_that_is_sent_again_is_the_same_one() -> None:
    """GitLab keeps the id when it tries again, with a new time and signature."""
    first = GITLAB.judge(posted(signed(name="one"), BODY), now=NOW)
    later = NOW + timedelta(minutes=3)
    again = GITLAB.judge(posted(signed(later, name="one"), BODY), now=later)
    other = GITLAB.judge(posted(signed(name="two"), BODY), now=NOW)
    assert isinstance(first, Proven)
    assert first == again != other


@pytest.mark.parametrize(
    "text", ["", "whsec_", SIGNING_TOKEN[6:], "whsec_c2hvcnQ=", "whsec_!" + SIGNING_TOKEN[7:]]
)
def test_a_signing_token_that_cannot_be_one_is_told_at_the_start(text: str) -> None:
    """Cut, short, or something else: the mend says what it looks like, and not what was given."""
    with pytest.raises(PermanentFault) as told:
        signing_key(Secret(text), setting="webhook_signing_token")
    assert told.value.setting == "webhook_signing_token"
    assert "whsec_" in told.value.mend
    assert len(text) < 7 or text not in f"{told.value} {told.value.mend}"


# ── From the table ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "options", "proof"),
    [
        ("github", {"webhook_secret_file": "/s"}, hooking.github(BODY)),
        ("jira", {"webhook_secret_credential": "s", "user": "bot"}, hooking.jira(BODY)),
        ("gitlab", {"webhook_token_file": "/s"}, hooking.gitlab(BODY)),
        ("gitlab", {"webhook_signing_token_credential": "s"}, signed()),
    ],
)
def test_a_tracker_with_a_secret_has_a_hook(
    kind: str, options: dict[str, str], proof: Fields
) -> None:
    """Each plugin proves its own vendor's way; without a secret there is nothing to prove by."""
    plugin = registry.plugin(kind)
    assert isinstance(plugin, registry.HookingPlugin)
    table = {"url": "https://t.example.org", "token_credential": "t"}
    asked = []

    def secret(stem: str) -> Secret:
        asked.append(stem)
        return Secret(SIGNING_TOKEN if "signing" in stem else SECRET)

    if kind == "jira":
        table["user"] = "bot"
    assert plugin.hook(secret, plugin.settings_model(**table)) is None
    hook = plugin.hook(secret, plugin.settings_model(**(table | options)))
    assert hook is not None
    assert judged(hook, proof) == "proven"
    assert [name.rpartition("_")[0] for name in options if name.startswith("webhook")] == asked


def test_the_embedded_tracker_and_plugins_of_before_need_no_hook() -> None:
    """Being asked from time to time is enough for every tracker."""
    assert not isinstance(registry.plugin("local"), registry.HookingPlugin)


# ── Anything ─────────────────────────────────────────────────────────────────────────────────────

_NAMES = st.sampled_from(
    [b"x-hub-signature", b"x-hub-signature-256", b"x-gitlab-token", b"webhook-id",
     b"webhook-timestamp", b"webhook-signature"]
)  # fmt: skip


@given(st.lists(st.tuples(_NAMES, st.binary(max_size=80)), max_size=8), st.binary(max_size=200))
def test_no_fields_and_no_body_raise_or_prove_anything(
    fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """Any octets become a reason, for who does not know the secret."""
    for hook in (GITHUB, JIRA, GITLAB):
        assert isinstance(hook.judge(Posted(tuple(fields), body), now=NOW), Unproven)
