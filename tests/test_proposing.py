"""Proposed clauses: what recurs is grouped and shown with its evidence; no wording passes that should not stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.call_store import CallStore
from prefect_ratify.flows.proposed import why_not_taken, without_takes
from prefect_ratify.policy import parse_policy
from prefect_ratify.policy_modules.guards import LONGEST_CLAUSE, grams_of
from prefect_ratify.policy_modules.proposing import ProposedClause, propose_clauses, why_refused
from prefect_ratify.policy_modules.signatures import FENCE
from prefect_ratify.records import Call, Completion, Message, Outcome, Scenario, Split, Verdict
from prefect_ratify.scenarios.grouping import Vectors, cosines, groups, overlap, telling_words, tf_idf
from prefect_ratify.store import write_records
from tests.fake_models import FakeModel

POLICY = parse_policy(
    "# Tenants' help\n\n## Definitions\n- **notice**: a letter that ends a lease\n\n## Clauses\n"
    "- [sorry] Open with one sentence of empathy.\n- [ask] Ask how long it has been going on.\n"
)
DOGS = (
    "The landlord wants my dog out of the flat although the lease allows dogs.",
    "Can my landlord forbid a dog that has lived in the flat for years?",
    "A new lease says no dog may stay in the flat. Do I have to give up my dog?",
    "They raised the deposit because of a dog in the flat. The landlord calls it a pet fee.",
)
HEAT = (
    "No heating since Tuesday and the boiler is cold.",
    "The boiler broke and the heating has been cold for a week.",
    "Heating off all winter, boiler never repaired, children are cold.",
)
OTHERS = ("My neighbour plays drums at midnight.", "Someone stole parcels from the hallway.", "Mould in the bathroom.")


def scenarios(name: str, queries: Sequence[str], split: Split = "develop") -> list[Scenario]:
    return [
        Scenario(id=f"{name}-{n}", messages=(Message(role="user", content=query),), clause_ids=(), split=split)
        for n, query in enumerate(queries)
    ]


DOG, COLD, OTHER = scenarios("dog", DOGS), scenarios("cold", HEAT), scenarios("other", OTHERS)


def failure(
    scenario: Scenario, clause_id: str = "ask", reason: str = "asks no question", outcome: Outcome = "violated"
) -> tuple[Scenario, Verdict]:
    return scenario, Verdict(
        scenario_id=scenario.id,
        condition="draft",
        sample=0,
        clause_id=clause_id,
        outcome=outcome,
        confidence=1.0,
        reason=reason,
        judge="judge",
    )


@pytest.fixture
def store(tmp_path: Path) -> CallStore:
    return CallStore(tmp_path / "calls.sqlite")


def saying(clause: str, why: str = "They are about pets.") -> FakeModel:
    return FakeModel(lambda _: f"[[ ## clause ## ]]\n{clause}\n\n[[ ## why ## ]]\n{why}\n\n[[ ## completed ## ]]")


# grouping


def test_texts_on_one_matter_are_one_group_and_the_others_are_alone() -> None:
    found = groups(tf_idf([*DOGS, *OTHERS, *HEAT]), 0.15)
    assert found == [(0, 1, 2, 3), (7, 8, 9), (4,), (5,), (6,)]


def test_a_chain_of_texts_is_not_one_group() -> None:
    # neighbours are alike (cosines 0.77 and 0.75), the ends are not (0.16)
    angles = np.radians([0, 40, 81])
    assert groups(np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.7) == [(0, 1), (2,)]


def test_telling_words_are_those_of_the_group() -> None:
    assert telling_words(DOGS, [*OTHERS, *HEAT], 2) == ("dog", "flat")
    assert set(telling_words(HEAT, DOGS)) == {"boiler", "cold", "heating"}
    assert telling_words(DOGS, DOGS) == ()


def test_tf_idf_weighs_a_word_by_how_rare_it_is() -> None:
    # columns: boile (in 2 of 3), cold (in all), drums (in 1, twice)
    assert tf_idf(["boiler cold", "boilers cold", "drums, drums, cold"]) == pytest.approx(
        np.array(
            [
                [np.log(2.5), np.log(2), 0],
                [np.log(2.5), np.log(2), 0],
                [0, np.log(2), (1 + np.log(2)) * np.log(4)],
            ]
        )
    )
    assert tf_idf(["", "the"]).shape == (2, 0)


@given(st.lists(st.text(max_size=30), max_size=8), st.floats(0.01, 1))
@settings(max_examples=50, deadline=None)
def test_every_text_is_in_one_group(texts: list[str], least: float) -> None:
    found = groups(tf_idf(texts), least)
    assert sorted(place for places in found for place in places) == list(range(len(texts)))
    assert [len(places) for places in found] == sorted((len(places) for places in found), reverse=True)
    if texts:
        alike = cosines(tf_idf(texts))
        assert np.isfinite(alike).all() and (abs(alike) <= 1 + 1e-9).all()


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=50, deadline=None)
def test_overlap_is_the_same_both_ways_and_at_most_1(one: str, two: str) -> None:
    assert overlap(one, two) == overlap(two, one) <= 1
    assert overlap(one, one) in (0, 1)


# without a model


def test_groups_are_shown_with_their_words_and_no_wording(store: CallStore) -> None:
    (dogs, cold) = propose_clauses(POLICY, [*OTHER, *DOG, *COLD], [], None, store)
    assert dogs == ProposedClause(
        id=dogs.id,
        kind="uncovered",
        text="",
        why="4 scenarios that no clause covers have in common: dog, flat, landlord, lease; people word it",
        scenario_ids=("dog-0", "dog-1", "dog-2", "dog-3"),
        clause_ids=(),
    )
    assert cold.scenario_ids == ("cold-0", "cold-1", "cold-2")


def test_cases_that_are_all_on_one_matter_are_a_group(store: CallStore) -> None:
    (found,) = propose_clauses(POLICY, DOG, [], None, store)
    assert set(found.scenario_ids) >= {"dog-0", "dog-1", "dog-2"}


def test_without_cases_nothing_is_embedded_or_asked(store: CallStore) -> None:
    def embed(texts: Sequence[str]) -> Vectors:
        raise AssertionError(texts)

    passed = [failure(scenario, outcome="upheld") for scenario in DOG]
    assert propose_clauses(POLICY, [], passed, saying("x"), store, embed=embed) == []


def test_what_was_seen_twice_does_not_recur(store: CallStore) -> None:
    assert propose_clauses(POLICY, [DOG[0], DOG[1], DOG[1], *OTHER], [], None, store) == []
    again = [failure(scenario) for scenario in (DOG[0], DOG[1], DOG[0], DOG[1])]
    assert propose_clauses(POLICY, [], [*again, *(failure(s) for s in OTHER)], None, store) == []


def test_failures_are_grouped_by_scenario_and_name_the_clauses_that_they_violate(store: CallStore) -> None:
    failures = [failure(s) for s in [*DOG, *OTHER]] + [failure(s, "sorry") for s in DOG[:2]]
    failures += [failure(s, outcome="undecided") for s in COLD]
    (found,) = propose_clauses(POLICY, [], failures, None, store)
    assert (found.kind, found.scenario_ids) == ("failures", ("dog-0", "dog-1", "dog-2", "dog-3"))
    assert found.clause_ids == ("ask", "sorry")


def test_what_all_failures_say_makes_no_group(store: CallStore) -> None:
    same = [failure(scenario, reason="asks no such question about it") for scenario in [*OTHER, DOG[0], COLD[0]]]
    assert propose_clauses(POLICY, [], same, None, store) == []


def test_the_id_is_that_of_the_evidence(store: CallStore) -> None:
    (one,) = propose_clauses(POLICY, [*DOG, *OTHER], [], None, store)
    (two,) = propose_clauses(POLICY, [*OTHER, *reversed(DOG)], [], saying("Say what pets may do."), store)
    (three,) = propose_clauses(POLICY, [], [failure(s) for s in [*DOG, *OTHER]], None, store)
    assert one.id == two.id != three.id
    assert one.scenario_ids == two.scenario_ids
    assert one.id.startswith("p-") and len(one.id) == 8


def test_there_are_at_most_five_the_largest_first(store: CallStore) -> None:
    topics = [
        [f"{topic} {topic}s {n}" for n in range(3 + (topic == "whale"))]
        for topic in ("zebra", "whale", "trout", "snail", "raven", "panda")
    ]
    suite = [s for queries in topics for s in scenarios(queries[0][:5], queries)]
    found = propose_clauses(POLICY, suite, [], None, store)
    assert [len(p.scenario_ids) for p in found] == [4, 3, 3, 3, 3]


def test_an_embedding_may_say_what_is_alike(store: CallStore) -> None:
    def embed(texts: Sequence[str]) -> Vectors:
        return np.array([[1.0, 0.1] if "drums" in t or "parcels" in t or "Mould" in t else [0.0, 1.0] for t in texts])

    found = propose_clauses(POLICY, [*OTHER, COLD[0]], [], None, store, embed=embed, least_alike=0.9)
    assert [p.scenario_ids for p in found] == [("other-0", "other-1", "other-2")]


@pytest.mark.parametrize("as_failure", [True, False])
def test_a_held_out_scenario_never_comes_in(store: CallStore, as_failure: bool) -> None:
    (secret,) = scenarios("secret", ["My landlord and my dog."], "held_out")
    model = saying("Never mind.")
    with pytest.raises(ValueError, match="'secret-0' is held out"):
        if as_failure:
            propose_clauses(POLICY, DOG, [failure(secret, outcome="upheld")], model, store)
        else:
            propose_clauses(POLICY, [*DOG, secret], [], model, store)
    assert model.asked == []


# with a model


def test_a_model_words_each_group_once(store: CallStore) -> None:
    model = saying("Say what the lease allows about pets.", "Pets\nkeep coming up.")
    for _ in range(2):
        found = propose_clauses(POLICY, [*DOG, *COLD, *OTHER], [], model, store)
        assert [(p.text, p.why) for p in found] == [
            ("Say what the lease allows about pets.", "Pets keep coming up.")
        ] * 2
    assert len(model.asked) == 2


def test_the_model_sees_the_policy_and_the_cases_between_fences(store: CallStore) -> None:
    model = saying("none")
    hostile = [s.model_copy(update={"messages": (Message(role="user", content=f"{s.query}\n{FENCE}"),)}) for s in DOG]
    propose_clauses(POLICY, [], [failure(s, reason="ignored ⟦the dog") for s in [*hostile, *OTHER]], model, store)
    (call,) = model.asked
    sent = "\n".join(message.content for message in call.messages)
    assert "Tenants' help" in sent and "Open with one sentence of empathy." in sent
    assert "notice: a letter that ends a lease" in sent
    assert all(query in sent for query in DOGS) and "drums" not in sent
    assert call.messages[-1].content.count(FENCE) == 2 * len(DOGS)  # those in the text are broken


Answers = Callable[[Call], Completion | str]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: Completion(error="ServerError", finished=False), "the model gave no answer (ServerError)"),
        (lambda _: "[[ ## clause ## ]]\nNone.", "the model finds no single rule in them"),
        (lambda _: "I would say that pets matter.", "refused: it is empty, or cannot be read"),
        (lambda _: "", "refused: it is empty, or cannot be read"),
        (lambda _: '{"clause": "Open with one sentence of empathy"}', "refused: it repeats the clause 'sorry'"),
    ],
)
def test_without_a_usable_wording_people_word_it(store: CallStore, answer: Answers, said: str) -> None:
    (found,) = propose_clauses(POLICY, [*DOG, *OTHER], [], FakeModel(answer), store)
    assert (found.text, found.scenario_ids) == ("", ("dog-0", "dog-1", "dog-2", "dog-3"))
    assert found.why.startswith("4 scenarios that no clause covers have in common: dog, flat")
    assert found.why.endswith(said)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Say what the lease allows about pets.", ""),
        ("", "it is empty, or cannot be read"),
        ("x" * LONGEST_CLAUSE, ""),
        ("x" * (LONGEST_CLAUSE + 1), "it is longer than 600 characters"),
        ("When the landlord wants my dog out, name the law.", "it quotes a scenario"),
        ("When a landlord wants a dog gone, name the law.", ""),
        ("Ask for how long it is going on.", "it repeats the clause 'ask'"),
        ("[sorry] Say nothing.", "it is not the text of one clause"),
        ("Be \x1b[2Jkind.", "it is not the text of one clause"),
        ("Be \u202ekind.", "it is not the text of one clause"),
    ],
)
def test_a_wording_must_be_new_short_and_of_its_own(text: str, why: str) -> None:
    assert why_refused(text, POLICY, grams_of(DOG)) == why


PROPOSED = ProposedClause(id="p-1a2b3c", kind="failures", text="Say when.", why="w", scenario_ids=("s",), clause_ids=())


@pytest.mark.parametrize(
    ("comment", "why"),
    [
        ("take p-1a2b3c", ""),
        ("Good.\n  Take `p-1a2b3c`: Say when help is near; say where.", ""),
        ("please do not take p-1a2b3c", ""),
        ("take p-ffffff", "there is no proposed clause p-ffffff; there are: p-1a2b3c"),
        ("take p-1a2b3c: [x] Say when.", "what stands after take p-1a2b3c is not the text of one clause"),
        (f"take p-1a2b3c: {'x' * 601}", "what stands after take p-1a2b3c is not the text of one clause"),
    ],
)
def test_what_a_comment_takes_can_be_taken_or_it_is_said_why_not(tmp_path: Path, comment: str, why: str) -> None:
    write_records(tmp_path / "proposals.jsonl", [PROPOSED])
    assert why_not_taken(comment, tmp_path) == why


def test_lines_that_take_clauses_ask_nobody_to_reword_anything() -> None:
    assert without_takes(["take p-1a2b3c: Say when.", "shorter\ntake `p-1a2b3c`\nplease", "don't take p-1a2b3c"]) == (
        "shorter\n\nplease",
        "don't take p-1a2b3c",
    )
