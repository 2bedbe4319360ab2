"""stakeholders.yaml, and what votes come to under its rules."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.decisions import Decision
from prefect_ratify.errors import InputError
from prefect_ratify.flows.stakeholders import BACK_TO, GateRule, Person, Stakeholders, load_stakeholders
from prefect_ratify.flows.voting import outcome, still_needed

ADA, BEN, CY = Person(name="Ada", role="legal"), Person(name="Ben", role="product"), Person(name="Cy")
PEOPLE = (ADA, BEN, CY)
YES: Decision = "approve"
NO: Decision = "reject"
CHANGES: Decision = "request changes"


def rule(approvals: int = 1, roles: tuple[str, ...] = (), *, stops: bool = True) -> GateRule:
    return GateRule(approvals=approvals, roles=roles, one_rejection_stops=stops, back_to="refine")


def load(tmp_path: Path, text: str) -> Stakeholders:
    path = tmp_path / "stakeholders.yaml"
    path.write_text(text)
    return load_stakeholders(path)


def test_people_are_found_by_name_in_any_case_and_nobody_else(tmp_path: Path) -> None:
    found = load(tmp_path, "people:\n  - {name: Ada, role: legal}\n  - {name: Bo}\n")
    assert [(p.name, p.role) for p in found.people] == [("Ada", "legal"), ("Bo", "")]
    ada = found.find(" ada ")
    assert ada is not None and ada.name == "Ada"
    assert found.find("Eve") is None and found.find("") is None


def test_a_name_is_the_same_in_either_encoding_of_its_accents(tmp_path: Path) -> None:
    found = load(tmp_path, "people: [{name: José}]\n")
    assert found.find(unicodedata.normalize("NFD", "JOSÉ")) == found.people[0]


def test_with_nobody_named_any_name_will_do_but_not_none(tmp_path: Path) -> None:
    found = load_stakeholders(tmp_path / "missing.yaml")
    assert found.people == () and found.find(" ") is None
    eve = found.find("Eve")
    assert eve is not None and eve.name == "Eve"


def test_rules_are_read_and_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        "people: [{name: Ada, role: Legal}, {name: Ben}]\n"
        "gates:\n  policy: {approvals: 2, roles: [legal], one_rejection_stops: false, wait: 12 hours, rounds: 1}\n"
        "  release: {back_to: train}\n",
    )
    policy = found.rules["policy"]
    assert (policy.approvals, policy.roles, policy.one_rejection_stops) == (2, ("legal",), False)
    assert (policy.wait, policy.rounds, policy.back_to) == (43200, 1, "refine")
    assert found.rules["release"].back_to == "train" and found.rules["data"] == GateRule(back_to="generate")
    assert found.rule_digest("policy") != found.rule_digest("data")


def test_another_roster_is_another_question(tmp_path: Path) -> None:
    one = load(tmp_path, "people: [{name: Ada}]\n")
    two = load(tmp_path, "people: [{name: Ada}, {name: Mallory}]\n")
    assert one.rule_digest("draft") != two.rule_digest("draft")


@pytest.mark.parametrize(
    ("text", "line", "seen"),
    [
        ("people:\n  - {role: legal}\n", 2, "has no name"),
        ("people:\n  - {name: Ada}\n  - {name: ada}\n", 3, "second time"),
        ("people: Ada\n", 1, "a list is expected"),
        ("persons: []\n", 1, "unknown key"),
        ("gates:\n  launch: {approvals: 1}\n", 2, "unknown key 'launch'"),
        ("gates:\n  data: {approvals: 2}\n", 2, "2 approvals are asked for, of 0 people"),
        ("gates:\n  data: {approvals: 0}\n", 2, "at least 1"),
        ("people: [{name: Ada}]\ngates:\n  data: {roles: [legal]}\n", 3, "nobody has the role 'legal'"),
        ("gates:\n  draft: {rounds: 2}\n", 2, "the draft gate sends no run back"),
        ("gates:\n  data: {wait: soon}\n", 2, "'soon' is no length of time"),
        ("gates:\n  data: {wait: 999999999 weeks}\n", 2, "nobody waits that long"),
        ("gates:\n  data: {wait: 0 days}\n", 2, "is no length of time"),
        ("gates:\n  data: {back_to: train}\n", 2, "cannot send a run back to 'train'"),
        ("gates:\n  data: {one_rejection_stops: maybe}\n", 2, "true or false is expected"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, line: int, seen: str) -> None:
    with pytest.raises(InputError, match=seen) as caught:
        load(tmp_path, text)
    assert f"stakeholders.yaml:{line}: " in str(caught.value)


@pytest.mark.parametrize(
    ("rule_", "votes", "expected"),
    [
        (rule(), {}, None),
        (rule(), {"Ada": YES}, YES),
        (rule(2), {"Ada": YES}, None),
        (rule(2), {"Ada": YES, "Cy": YES}, YES),
        (rule(2), {"Ada": YES, "Ben": CHANGES, "Cy": YES}, YES),
        (rule(1, ("legal",)), {"Ben": YES, "Cy": YES}, None),
        (rule(1, ("Legal",)), {"Ben": YES, "Ada": YES}, YES),
        (rule(1, ("legal",)), {"Ben": YES, "Ada": CHANGES}, CHANGES),
        (rule(2, ("legal",)), {"Ada": CHANGES, "Ben": YES}, CHANGES),  # without Ada no approval can be reached
        (rule(2), {"Ada": NO}, NO),
        (rule(2, stops=False), {"Ada": NO}, None),
        (rule(2, stops=False), {"Ada": NO, "Ben": YES, "Cy": YES}, YES),
        (rule(2, stops=False), {"Ada": NO, "Ben": NO}, NO),
        (rule(3, stops=False), {"Ada": NO, "Ben": YES}, NO),
        (rule(3, stops=False), {"Ada": NO, "Ben": CHANGES}, CHANGES),
    ],
)
def test_what_votes_come_to(rule_: GateRule, votes: dict[str, Decision], expected: Decision | None) -> None:
    assert outcome(rule_, PEOPLE, votes) == expected


@pytest.mark.parametrize(
    ("rule_", "votes", "expected"),
    [
        (rule(2, ("legal",)), {"Ben": CHANGES}, None),
        (rule(2, ("legal",)), {"Ben": CHANGES, "Cy": YES}, None),
        (rule(2, ("legal",)), {"Ben": CHANGES, "Ada": YES}, CHANGES),
        (rule(2), {"Ada": YES, "Ben": YES, "Cy": CHANGES}, YES),
        (rule(2, stops=False), {"Ada": NO, "Ben": CHANGES}, None),
        (rule(3, stops=False), {"Ada": NO, "Ben": CHANGES}, NO),
        (rule(2, ("legal",), stops=False), {"Ada": NO, "Ben": CHANGES, "Cy": CHANGES}, NO),
        (rule(), {"Ben": CHANGES}, CHANGES),
    ],
)
def test_where_requests_go_forward_nobody_is_passed_over(
    rule_: GateRule, votes: dict[str, Decision], expected: Decision | None
) -> None:
    assert outcome(rule_, PEOPLE, votes, forward=True) == expected


votes_of = st.dictionaries(st.sampled_from(["Ada", "Ben", "Cy"]), st.sampled_from([YES, NO, CHANGES]))
rules = st.builds(rule, st.integers(1, 3), st.sampled_from([(), ("legal",), ("legal", "product")]), stops=st.booleans())


@given(rules, votes_of)
def test_an_approval_always_has_its_quorum_and_roles(rule_: GateRule, votes: dict[str, Decision]) -> None:
    if outcome(rule_, PEOPLE, votes) == "approve":
        approving = [person for person in PEOPLE if votes.get(person.name) == "approve"]
        assert len(approving) >= rule_.approvals
        assert set(rule_.roles) <= {person.role for person in approving}


@given(rules, votes_of)
def test_nothing_goes_forward_without_quorum_and_roles(rule_: GateRule, votes: dict[str, Decision]) -> None:
    if outcome(rule_, PEOPLE, votes, forward=True) in ("approve", "request changes"):
        agreeing = [person for person in PEOPLE if votes.get(person.name, "reject") != "reject"]
        assert len(agreeing) >= rule_.approvals
        assert set(rule_.roles) <= {person.role for person in agreeing}


@given(rules, votes_of, st.booleans())
def test_a_vote_of_everybody_is_always_decided(rule_: GateRule, votes: dict[str, Decision], forward: bool) -> None:
    if len(votes) == len(PEOPLE):
        assert outcome(rule_, PEOPLE, votes, forward=forward) is not None


@given(rules, votes_of)
def test_while_it_is_open_the_others_can_still_approve(rule_: GateRule, votes: dict[str, Decision]) -> None:
    if outcome(rule_, PEOPLE, votes) is None:
        rest: dict[str, Decision] = {person.name: "approve" for person in PEOPLE}
        assert outcome(rule_, PEOPLE, {**rest, **votes}) == "approve"


def test_for_whom_a_gate_waits_is_said_in_words() -> None:
    needed = still_needed(rule(2, ("legal",)), PEOPLE, {"Ben": YES})
    assert needed == "1 more approval, from Ada or Cy; legal must be among them"
    assert still_needed(rule(), (), {}) == "1 more approval, from anyone"
    assert set(BACK_TO) == set(Stakeholders().rules)
