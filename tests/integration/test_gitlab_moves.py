"""What if people move an issue to another project of the GitLab?  We go after it, and link it."""

from __future__ import annotations

import pytest
from tests.support.bench_gitlab import GitLabBench
from tests.support.fake_gitlab import HIDDEN, PRODUCT
from tests.support.messages import a_message
from tests.support.trackers import (
    CANARY,
    PATIENCE,
    comment_draft,
    new_key,
    persist_comment,
    report_draft,
)

from secbridge.errors import OutcomeUnknown, PermanentFault, TransientFault
from secbridge.model.case import IssueRef
from secbridge.model.issue import IssueChange
from secbridge.ports import EffectKey
from secbridge.trackers.gitlab_answers import parse_issue_url


async def filed(bench: GitLabBench) -> IssueRef:
    """File a report and return its issue."""
    return await bench.tracker.ensure_issue(new_key(), report_draft(bench, a_message(text=CANARY)))


async def test_a_look_at_a_moved_issue_sees_the_new_place(gitlab: GitLabBench) -> None:
    """Project, number, id and address are those of where it is now, for the caller to keep."""
    ref = await filed(gitlab)
    gitlab.gitlab.move(1, PRODUCT)
    state = await gitlab.tracker.look(ref)
    assert (state.ref.project, state.ref.number) == ("group/product", "1")
    assert state.ref.id != ref.id
    assert state.ref.url.endswith("/group/product/-/issues/1")
    assert (state.confidential, state.open) == (True, True)
    assert state == await gitlab.tracker.look(state.ref)


async def test_a_look_at_an_issue_that_stayed_is_one_request(gitlab: GitLabBench) -> None:
    """Who moves nothing pays nothing."""
    ref = await filed(gitlab)
    before = len(gitlab.gitlab.requests())
    state = await gitlab.tracker.look(ref)
    assert state.ref == ref
    assert state.due is not None
    assert len(gitlab.gitlab.requests()) == before + 1


async def test_a_comment_goes_to_where_the_issue_is(gitlab: GitLabBench) -> None:
    """What was left behind is closed, and nobody reads it; the reference names the new place."""
    ref = await filed(gitlab)
    gitlab.gitlab.move(1, PRODUCT)
    key, draft = new_key(), comment_draft(gitlab, a_message(text=CANARY))
    comment = await gitlab.tracker.ensure_comment(ref, key, draft)
    (note,) = gitlab.gitlab.notes("9/1")
    assert comment.issue.project == "group/product"
    assert gitlab.told_comment(key, draft) == note["body"]
    assert CANARY not in str(gitlab.gitlab.notes(1))


async def test_a_comment_whose_answer_was_lost_before_the_move_is_found_behind_it(
    gitlab: GitLabBench,
) -> None:
    """A move takes notes along, so there is one comment in the new place and no second."""
    ref = await filed(gitlab)
    key, draft = new_key(), comment_draft(gitlab)
    gitlab.gitlab.fault("drop-after", on="create-note")
    with pytest.raises(OutcomeUnknown):
        await gitlab.tracker.ensure_comment(ref, key, draft)
    gitlab.gitlab.move(1, PRODUCT)
    gitlab.clock.advance(PATIENCE)
    again = EffectKey(key.marker, attempted_at=gitlab.clock.now() - PATIENCE)
    comment = await gitlab.tracker.ensure_comment(ref, again, draft)
    assert [comment.id] == [str(note["id"]) for note in gitlab.gitlab.notes("9/1")]


async def test_a_change_is_made_where_the_issue_is(gitlab: GitLabBench) -> None:
    """The issue that stayed behind is not opened again."""
    ref = await filed(gitlab)
    gitlab.gitlab.move(1, PRODUCT)
    await gitlab.tracker.update(ref, IssueChange(add_labels=("triaged",), open=True))
    old, new = await gitlab.issues()
    assert (old.open, old.labels) == (False, ("Security",))
    assert (new.open, sorted(new.labels)) == (True, ["Security", "triaged"])


async def test_an_issue_that_is_asked_for_again_is_found_where_it_is(gitlab: GitLabBench) -> None:
    """A worker that died after the tracker's answer finds the told issue, moved or not."""
    key, draft = new_key(), report_draft(gitlab)
    await gitlab.tracker.ensure_issue(key, draft)
    gitlab.gitlab.move(1, PRODUCT)
    again = EffectKey(key.marker, attempted_at=gitlab.clock.now())
    ref = await gitlab.tracker.ensure_issue(again, draft)
    assert ref.project == "group/product"
    assert len(await gitlab.issues()) == 2


async def test_an_issue_that_was_moved_twice_is_found(gitlab: GitLabBench) -> None:
    """Each place names the next one."""
    ref = await filed(gitlab)
    gitlab.gitlab.move(1, PRODUCT)
    gitlab.gitlab.move("9/1", 7)
    state = await gitlab.tracker.look(ref)
    assert (state.ref.project, state.ref.number) == (gitlab.project, "2")


async def test_an_issue_that_went_out_of_sight_is_for_a_person(gitlab: GitLabBench) -> None:
    """Where our account cannot read, nothing is written; setting and mend are named."""
    ref = await filed(gitlab)
    gitlab.gitlab.move(1, HIDDEN)
    with pytest.raises(PermanentFault) as told:
        await gitlab.tracker.ensure_comment(ref, new_key(), comment_draft(gitlab))
    assert told.value.code == "tracker-moved-away"
    assert told.value.setting == "alias.project"
    assert "Reporter there" in told.value.mend
    assert gitlab.gitlab.requests("create-note") == []


@pytest.mark.parametrize("fault", ["500-before", "drop-before", "html-200", "429"])
async def test_a_question_for_the_new_place_that_fails_is_asked_again(
    gitlab: GitLabBench, fault: str
) -> None:
    """It is a question, though GraphQL is asked by POST: its failure leaves nothing unknown."""
    ref = await filed(gitlab)
    gitlab.gitlab.move(1, PRODUCT)
    gitlab.gitlab.fault(fault, on="graphql")
    with pytest.raises(TransientFault):
        await gitlab.tracker.look(ref)
    draft = comment_draft(gitlab)
    assert (
        "group/product"
        == (await persist_comment(gitlab, ref, new_key().marker, draft)).issue.project
    )


async def test_files_move_along(gitlab: GitLabBench) -> None:
    """GitLab copies the uploads that it finds in the form in which we link them."""
    ref = await filed(gitlab)
    answer = await gitlab.desk.door.get("read", "/projects/7/issues/1")
    secret = "0" * 32
    upload = {"project": 7, "name": "a.pgp", "url": f"/uploads/{secret}/a.pgp", "content": "x"}
    gitlab.gitlab.settings(uploads=[upload])
    text = f"{answer['description']}\n[a.pgp]({upload['url']})"
    gitlab.gitlab.edit(1, description=text)
    gitlab.gitlab.move(1, PRODUCT)
    assert (await gitlab.tracker.look(ref)).ref.project == "group/product"
    assert [one["project"] for one in gitlab.gitlab.uploads()] == [7, PRODUCT]


# ── Links ────────────────────────────────────────────────────────────────────────────────────────


async def test_two_issues_are_linked_once(gitlab: GitLabBench) -> None:
    """Asked twice, in either direction, there is one link."""
    first, second = await filed(gitlab), await filed(gitlab)
    for one, other in ((first, second), (first, second), (second, first)):
        assert await gitlab.tracker.link(one, other)
    assert len(gitlab.gitlab.state()["links"]) == 1
    assert len(gitlab.gitlab.requests("create-link")) == 1


async def test_a_link_that_came_between_is_a_link(gitlab: GitLabBench) -> None:
    """A 409 says that somebody was faster."""
    first, second = await filed(gitlab), await filed(gitlab)
    gitlab.gitlab.fault("409", on="create-link")
    assert await gitlab.tracker.link(first, second)


@pytest.mark.parametrize("fault", ["403", "404"])
async def test_a_gitlab_that_lets_us_link_nothing_is_told_as_false(
    gitlab: GitLabBench, fault: str
) -> None:
    """Then the caller says it in words."""
    first, second = await filed(gitlab), await filed(gitlab)
    gitlab.gitlab.fault(fault, on="create-link")
    assert not await gitlab.tracker.link(first, second)


async def test_a_refused_token_says_nothing_of_links(gitlab: GitLabBench) -> None:
    """What a person has to mend is not taken for an answer."""
    first, second = await filed(gitlab), await filed(gitlab)
    gitlab.gitlab.fault("401", on="create-link")
    with pytest.raises(PermanentFault):
        await gitlab.tracker.link(first, second)


async def test_moved_issues_are_linked_where_they_are(gitlab: GitLabBench) -> None:
    """Across projects, too."""
    first, second = await filed(gitlab), await filed(gitlab)
    gitlab.gitlab.move(1, PRODUCT)
    assert await gitlab.tracker.link(first, second)
    moved = await gitlab.tracker.look(first)
    assert [sorted([int(moved.ref.id), int(second.id)])] == gitlab.gitlab.state()["links"]


# ── Addresses ────────────────────────────────────────────────────────────────────────────────────

BASE = "https://gitlab.example.org"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{BASE}/group/project/-/issues/12", ("group/project", "12")),
        (f"{BASE}/group/project/-/work_items/12", ("group/project", "12")),
        (f"{BASE}/group/project/-/issues/incident/12", ("group/project", "12")),
        (f"{BASE}/group/project/issues/12", ("group/project", "12")),
        (f"{BASE}/a/b/c/d.e/-/issues/12#note_5", ("a/b/c/d.e", "12")),
        (f"{BASE}/group/project/-/issues/12?sort=asc", ("group/project", "12")),
        ("HTTPS://GitLab.Example.org/group/project/-/issues/12/", ("group/project", "12")),
        (f"{BASE}/groups/group/-/work_items/12", None),
        (f"{BASE}/group/project/-/merge_requests/12", None),
        (f"{BASE}/group/project/-/issues/new", None),
        (f"{BASE}/project/-/issues/12", None),
        (f"{BASE}.evil.example/group/project/-/issues/12", None),
        ("https://evil.example/group/project/-/issues/12", None),
        ("javascript://gitlab.example.org/group/project/-/issues/12", None),
        ("group/project#12", None),
        ("", None),
    ],
)
def test_an_address_that_a_person_pastes_names_an_issue(
    url: str, expected: tuple[str, str] | None
) -> None:
    """Issues, incidents and work items of this GitLab, and of no other."""
    assert expected == parse_issue_url(url, BASE)


def test_a_gitlab_below_a_path_knows_its_own_issues() -> None:
    """What stands before the project belongs to the address of the GitLab."""
    base = "https://example.org/git/"
    assert ("g/p", "3") == parse_issue_url("https://example.org/git/g/p/-/issues/3", base)
    assert parse_issue_url("https://example.org/g/p/-/issues/3", base) is None
