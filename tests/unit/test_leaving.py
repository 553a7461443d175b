"""What of a typed text may leave the tracker?  No way in, and nothing mangled without need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secbridge.rules.drafting import adf
from secbridge.rules.leaving import PLACEHOLDERS, Leaving, cleaned
from secbridge.testing.payloads import LINES, PAYLOADS

GITLAB = "https://gitlab.example/acme/app/-/issues/12"
GITHUB = "https://github.com/acme/app/issues/12"
JIRA = "https://acme.atlassian.net/browse/SEC-12"
EMBEDDED = ""
HEX = "0123456789abcdef0123456789abcdef"
UUID = "01234567-89ab-4def-8123-456789abcdef"


def leaving(text: str, url: str = GITLAB, *, slash: bool = False) -> Leaving:
    """Clean a text, and make sure that nothing is left to be taken out."""
    found = cleaned(text, url=url, mark="sb:", slash=slash)
    again = cleaned(found.text, url=url, mark="sb:", slash=slash)
    assert again == Leaving(found.text, ())
    return found


# ── Links ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "link",
    [
        "https://gitlab.example/acme/app/-/issues/12",
        "http://gitlab.example/acme/other/-/work_items/5#note_77",
        "https://gitlab.example/acme/app/-/merge_requests/3/diffs",
        "https://gitlab.example/groups/acme/-/epics/4",
        "https://gitlab.example/acme/app/-/issues/?show=eyJpaWQiOiIxMiJ9",
        "https://gitlab.example/api/v4/projects/1/issues/12/notes",
        "gitlab.example/acme/app/issues/12",
        "//gitlab.example/acme/app/-/issues/12",
        "HTTPS://GitLab.Example:8443/acme/app/-/issues/12",
        "https://me:secret@gitlab.example/acme/app/-/issues/12",
        "https://gitlab.example./acme/app/-/issues/12",
        "https://gitlab.example/acme/app/%2D/%69ssues/12",
        "https://gitlab.example/acme/app/-/issues%2F12",
        "https:\\\\gitlab.example\\acme\\app\\-\\issues\\12",
        "https://gitlab.example/x/../acme//app/-/./issues/12",
        "https://ｇｉｔｌａｂ.example/acme/app/-/issues/12",  # noqa: RUF001 - full width on purpose
        "https://gitlab。example/acme/app/-/issues/12",
        "https://git\u200blab.example/acme/app/-/issues/12",
        "https://gitlab&#46;example/acme/app/-/issues/12",
        "https://elsewhere.example/?to=https://gitlab.example/acme/app/-/issues/12",
        "/acme/app/-/issues/12",
        "../-/issues/12",
    ],
)
@pytest.mark.parametrize("around", ["see {} for more", "see ({}).", "```\n{}\n```", "`{}`"])
def test_a_link_to_a_confidential_thing_does_not_leave(link: str, around: str) -> None:
    """However it is spelled, in code as well; what stands around it stays."""
    found = leaving(around.format(link))
    assert found.text == around.format("[link removed]")
    assert "1 link into the tracker" in found.removed


@pytest.mark.parametrize(
    ("url", "link"),
    [
        (GITLAB, "https://gitlab.example/acme/app/-/releases/v2.4.1"),
        (GITLAB, "https://gitlab.example/acme/app/-/issues"),
        (GITLAB, "https://gitlab.example/acme/app/-/issues/new"),
        (GITLAB, "https://gitlab.example/acme/app/-/commit/0123abcd"),
        (GITLAB, "https://gitlab.example"),
        (GITLAB, "https://gitlab.example.evil.example/acme/app/-/issues/12"),
        (GITLAB, "https://gitlab.example@evil.example/acme/app/-/issues/12"),
        (GITLAB, "https://gitlab.com/acme/app/-/issues/12"),
        (GITLAB, "https://example.org/?q=issues/12"),
        (GITHUB, "https://github.com/advisories/GHSA-aaaa-bbbb-cccc"),
        (GITHUB, "https://github.com/acme/app/security/advisories/new"),
        (GITHUB, "https://github.com/acme/app/releases/tag/v2"),
        (GITHUB, "https://gitlab.example/acme/app/-/issues/12"),
        (JIRA, "https://acme.atlassian.net/browse/SEC"),
        (JIRA, "https://github.com/acme/app/issues/12"),
        (EMBEDDED, "https://github.com/acme/app/issues/12"),
    ],
)
def test_public_pages_and_other_hosts_may_be_told(url: str, link: str) -> None:
    """A name that only looks like the tracker's is somebody else's."""
    text = f"It is described at {link}, [here]({link}) and <{link}>."
    assert leaving(text, url) == Leaving(text, ())


@pytest.mark.parametrize(
    ("url", "link", "instead"),
    [
        (GITHUB, "https://www.github.com/acme/app/pull/3#issuecomment-1", "[link removed]"),
        (GITHUB, "https://api.github.com/repos/acme/app/issues/12", "[link removed]"),
        (GITHUB, "https://github.com/acme/app/security/advisories/GHSA-aaaa", "[link removed]"),
        (GITHUB, "https://github.com/user-attachments/assets/1-2-3", "[file removed]"),
        (GITHUB, "https://private-user-images.githubusercontent.com/1/2.png", "[file removed]"),
        (
            GITHUB,
            "https://github.com/acme/app/blob/main/secbridge/SB-2026-0001/a.pgp",
            "[file removed]",
        ),
        (JIRA, "https://acme.atlassian.net/browse/SEC-13", "[link removed]"),
        (JIRA, "https://acme.atlassian.net/issues/?jql=key%3DSEC-13", "[link removed]"),
        (JIRA, "https://acme.atlassian.net/servicedesk/customer/portal/2/SEC-13", "[link removed]"),
        (JIRA, "https://acme.atlassian.net/rest/api/3/issue/10001", "[link removed]"),
        (JIRA, "https://acme.atlassian.net/secure/attachment/10001/a.txt", "[file removed]"),
        (GITLAB, f"/uploads/{HEX}/dump.txt", "[file removed]"),
        (GITLAB, f"https://gitlab.example/-/project/7/uploads/{HEX}/dump.txt", "[file removed]"),
        (EMBEDDED, f"/uploads/{HEX}/dump.txt", "[file removed]"),
    ],
)
def test_each_tracker_has_its_own_ways_in(url: str, link: str, instead: str) -> None:
    """Pull requests, advisories, services for machines, and files that were uploaded."""
    assert leaving(f"It is at {link}, too.", url).text == f"It is at {instead}, too."


def test_the_words_of_a_confidential_link_stay_with_it() -> None:
    """They are the file's name, or the title of another case."""
    text = (
        f"[dump of ACME](/uploads/{HEX}/acme.txt) and ![screen](https://img.example/1.png)\n"
        f"[#12: logins leak]({GITLAB}) [logins leak|{GITLAB}] [the notes](https://example.org/)"
    )
    assert leaving(text).text == (
        "[file removed] and [picture removed]\n"
        "[link removed] [link removed] [the notes](https://example.org/)"
    )


# ── What only the tracker shows, or does not show ────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Thanks.\n<!-- do not tell -->\nBye.", "Thanks.\nBye."),
        ("Thanks.<!-- do\nnot\ntell -->Bye.", "Thanks. Bye."),
        ("Thanks.\n<!-- do not tell\n\nmore", "Thanks."),
        ("Thanks.\n- <!-- do not tell\n\nmore", "Thanks."),
        ("Thanks.\n\n[//]: # (do not tell)\nBye.", "Thanks.\n\nBye."),
        ("a <!<!-- x -->-- do not tell --> b", "a <! -- do not tell --> b"),
        (f"x\n<!-- secbridge:report={UUID} -->", "x"),
        ("Write <!-- in the field.", "Write <!-- in the field."),
    ],
)
def test_a_comment_that_is_not_shown_does_not_leave(text: str, left: str) -> None:
    """Closed or not, as long as a tracker would hide it; a sign that is shown stays."""
    assert leaving(text).text == left


@pytest.mark.parametrize("mark", [f"secbridge-{UUID}", f"secbridge:comment={UUID}"])
def test_our_own_marks_do_not_leave(mark: str) -> None:
    """Not as a label or a property either."""
    assert leaving(f"It has {mark}.") == Leaving("It has [mark removed].", ("1 mark of secbridge",))


@pytest.mark.parametrize(
    "line", ["sb: internal", "  SB:INTERNAL ", "`sb: internal`", "> sb\\: internal"]
)
def test_what_stands_below_the_word_internal_stays(line: str) -> None:
    """All of it, to the end."""
    found = leaving(f"Thank you.\n\n{line}\nHe is wrong.\n\nAll of it.")
    assert found == Leaving("Thank you.", ("1 internal note",))


def test_lines_that_are_commands_do_not_leave() -> None:
    """Neither ours nor those of a tracker; a path at the beginning of a line is none."""
    text = "Done.\nsb: take\n/close\n/assign @alice\n/etc/passwd is readable\n/reply not yet"
    found = leaving(text)
    assert found == Leaving(
        "Done.\n/etc/passwd is readable\n/reply not yet", ("3 lines with a command",)
    )
    assert leaving(text, slash=True).text == "Done.\n/etc/passwd is readable"
    assert leaving("x\n/key accept ABC\n/key is a path", slash=True).text == "x\n/key is a path"


# ── Names and numbers ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Thanks to @alice, and @acme/sec-team.", "Thanks to [name removed], and [name removed]."),
        ("**@alice** (@bob) _@carol_", "**[name removed]** ([name removed]) _[name removed]_"),
        ("[~accountid:5b10:ab] and [~jdoe]", "[name removed] and [name removed]"),
        ("Write to rita@example.net or git@host:x.", "Write to rita@example.net or git@host:x."),
        ("Write to foo_@example.net at 5 @ 3.", "Write to foo_@example.net at 5 @ 3."),
        ("{{ @alice }} {code}\n@bob", "{{ [name removed] }} {code}\n[name removed]"),
        ("```java\n@Override\n```\n`@app.route`", "```java\n@Override\n```\n`@app.route`"),
    ],
)
def test_a_mention_does_not_leave_and_an_address_does(text: str, left: str) -> None:
    """Who works on it is the team's business; what stands in code is no mention."""
    assert leaving(text).text == left


def test_the_whole_name_of_a_mention_in_a_jira_cloud_is_taken_out() -> None:
    """It has blanks, and Jira sends it as a node of its own."""
    mention = {"type": "mention", "attrs": {"id": "5b10", "text": "@Mia Krystof (Sec-Team)"}}
    words = [mention, {"type": "text", "text": " looked at it."}]
    document = {"type": "doc", "content": [{"type": "paragraph", "content": words}]}
    assert leaving(adf.words(document), JIRA).text == "[name removed] looked at it."


@pytest.mark.parametrize("text", ["#12", "!5", "acme/other#7", "(#12)", "GH-12"])
def test_a_short_reference_does_not_leave(text: str) -> None:
    """It leads nowhere for a reporter, or to what is confidential."""
    bare = text.strip("()")
    assert leaving(f"As in {text}.").text == f"As in {text}.".replace(bare, "[reference removed]")


@pytest.mark.parametrize(
    "text",
    [
        "CVE-2026-1234 and CWE-79, SB-2026-0001",
        "C#12, #include, #abcdef, step#1, foo!5",
        "We pay $500, that is 5% more; &#39; and 1.#12",
        "https://example.org/page#12",
        "```\n#12 !5 @alice\n```",
        "`#12` is a comment",
    ],
)
@pytest.mark.parametrize("url", [GITLAB, GITHUB, JIRA, EMBEDDED])
def test_what_only_looks_like_a_reference_stays(text: str, url: str) -> None:
    """A letter that was mangled is worse than a number that leads nowhere."""
    assert leaving(text, url) == Leaving(text, ())


def test_a_jira_has_its_own_references_pictures_and_files() -> None:
    """And ``#12`` means nothing there."""
    code = "{code}\n@x SEC-7\n{code}"
    text = f"SEC-7 as SEC-2026-1, #12 !shot.png|thumbnail! [^notes.txt] [^a-z]\n{code}"
    assert leaving(text, JIRA).text == (
        f"[reference removed] as SEC-2026-1, #12 [picture removed] [file removed] [^a-z]\n{code}"
    )


# ── Characters ───────────────────────────────────────────────────────────────────────────────────


def test_characters_that_nobody_sees_do_not_leave() -> None:
    """Controls, bidi overrides, invisible ones, and what is no character; others stay."""
    assert leaving("a\x00b\u202ec\u200bd\U000e0041\ufeffe").text == "abcde"
    assert leaving("a\ud800b").text == "a\ufffdb"
    for kept in ("Grüße\t你好 🦀", "👩\u200d🚀", "म\u200cह", "हिन्दी"):
        assert leaving(kept) == Leaving(kept, ())


def test_line_ends_become_those_of_one_kind() -> None:
    """So nothing hides behind an unusual one."""
    assert leaving("a\r\nb\rc\x0bd\u2028sb: internal\x85e").text == "a\nb\nc\nd"


# ── Always ───────────────────────────────────────────────────────────────────────────────────────


def test_each_thing_is_told_once_with_its_number() -> None:
    """In words, for the one who typed it."""
    found = leaving(f"{GITLAB} {GITLAB} @alice #5 \u200b\n<!-- x -->\nsb: internal\nx")
    assert found.removed == (
        "1 internal note",
        "1 hidden comment",
        "2 links into the tracker",
        "1 mention",
        "1 short reference",
        "1 character that nobody sees",
    )


def test_a_text_without_any_of_it_is_left_as_it_is() -> None:
    """To the last blank within; and its representation tells nothing of it."""
    text = "Hello,\n\n  - one  \n\t- two\n\n> quoted\n\n-- \nAlice"
    found = leaving(f"\n\n{text}\n\n")
    assert found == Leaving(text, ())
    assert repr(found) == f"Leaving({len(text)} characters)"


PIECES = st.sampled_from(
    [
        "<!--", "-->", "<!-", "-", "@a", "@", "#1", "!", "[", "]", "(", ")", "|", "`", "```", "~~~",
        "\n", " ", "sb:", " internal", "/close", "https://", "gitlab.example", "/-/issues/1", "x",
        "/uploads/", HEX, "/", "\\", "%2F", "&#47;", ":", ";", "SEC-1", "{code}", "secbridge-",
        UUID, "secbridge:told", "\u200b", "\u200d", "\x00", "ß", "_", "*", "[//]: #", "[^a.b]",
        ".", "/acme/app",
    ]
)  # fmt: skip


@given(
    st.lists(PIECES, max_size=40).map("".join) | st.text(),
    st.sampled_from([GITLAB, GITHUB, JIRA, EMBEDDED, "not a url", "http://[broken"]),
    st.booleans(),
)
def test_cleaning_the_outcome_takes_out_nothing(text: str, url: str, slash: bool) -> None:
    """And a text grows by nothing but what stands for what was taken out."""
    found = leaving(text, url, slash=slash)
    longest = max(map(len, PLACEHOLDERS.values()))
    taken = sum(int(words.split()[0]) for words in found.removed)
    assert len(found.text) <= len(text) + taken * longest
    found.text.encode()


def test_hostile_texts_are_cleaned_without_a_fault() -> None:
    """Whatever is known to act in a tracker somewhere."""
    for url in (GITLAB, JIRA, EMBEDDED):
        for text in (*PAYLOADS.values(), *LINES.values()):
            assert "secbridge:" not in leaving(text, url).text


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    "piece",
    [
        "<!--", "<!--x-->", "![", "[](", "[a|", "[^", "[~a ", "@", "@a/", "@1", "a/", "#1", "!a.b",
        "`", "{{", "{code", "~~~\n", "> ", "sb:", "/close ", "https:", "https://gitlab.example/a,",
        "%2", "&#47", ":", "a:b@", "\u200d", "é\u200d", "secbridge-", "-", "1", " ", "\n",
    ],
)  # fmt: skip
def test_the_work_is_linear_in_the_length(piece: str) -> None:
    """A hundred thousand characters of anything over which a pattern might go back and forth.

    What is quadratic takes minutes for them.
    """
    url = JIRA if piece[0] in "![{" else GITLAB
    text = piece * (100_000 // len(piece)) + "x"
    assert len(cleaned(text, url=url, mark="sb:", slash=True).text) < len(text) + 100
