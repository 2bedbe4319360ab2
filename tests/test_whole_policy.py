"""The policy as one instruction: the best wording that DSPy's optimisers find within their bounds; the benchmark."""

from __future__ import annotations

import itertools
import random
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.budget import Budget, Spending
from prefect_ratify.call_store import NOT_RUN, CallStore
from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.policy_modules import whole_policy
from prefect_ratify.policy_modules.guards import grams_of, why_refused
from prefect_ratify.policy_modules.responder import instructions
from prefect_ratify.policy_modules.whole_policy import Optimiser, Trial, cleaned, refine_whole
from prefect_ratify.records import Call, Completion, Outcome, Policy, Response, Scenario, Verdict
from tests.fake_models import FakeModel
from tests.refine_bench.task import (
    BEHAVIOURS,
    DRAFT,
    EFFECTS,
    SCENARIOS,
    best_score,
    expected_score,
    likelihood,
    reworded,
    reworded_whole,
)

DRAFTED = instructions(DRAFT)
FEW = SCENARIOS[:12]
BOTH = ["copro", "miprov2"]
PHRASES = sorted(phrase for behaviour in BEHAVIOURS.values() for phrase in behaviour.phrases)

pytestmark = pytest.mark.model  # loads DSPy and its optimisers


class Follower:
    """Answers as a test says: how many of the six clauses a wording upholds, or what verdict all have."""

    def __init__(self, upheld: Callable[[str], int], otherwise: Outcome = "violated", error: str = "") -> None:
        self.upheld, self.otherwise, self.error = upheld, otherwise, error
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def __call__(self, policy: Policy, scenarios: Sequence[Scenario]) -> tuple[list[Response], list[Verdict]]:
        wording = instructions(policy)
        self.asked.append((wording, tuple(s.id for s in scenarios)))
        upheld, error = self.upheld(wording), self.error if len(self.asked) > 1 else ""
        responses = [
            Response(scenario_id=s.id, condition="x", sample=0, text="MARK", finished=True, model="m", error=error)
            for s in scenarios
        ]
        return responses, [
            _verdict(s, clause_id, "upheld" if place < upheld else self.otherwise)
            for s in scenarios
            for place, clause_id in enumerate(policy.clause_ids)
        ]


def _verdict(scenario: Scenario, clause_id: str, outcome: Outcome) -> Verdict:
    return Verdict(
        scenario_id=scenario.id,
        condition="x",
        sample=0,
        clause_id=clause_id,
        outcome=outcome,
        confidence=1.0,
        reason="",
        judge="check",
    )


def proposing(wordings: Sequence[str]) -> FakeModel:
    """A model that proposes these, one after the other, in the form that it is asked for."""
    given_out = itertools.cycle(wordings)

    def answer(call: Call) -> str:
        system = call.messages[0].content
        if "proposed_instruction" not in system:
            return "[[ ## observations ## ]]\nRent.\n\n[[ ## summary ## ]]\nRent."
        prefix = "\n\n[[ ## proposed_prefix_for_output_field ## ]]\nAnswer:"
        return f"[[ ## proposed_instruction ## ]]\n{next(given_out)}{prefix}"

    return FakeModel(answer)


def by_number(wording: str) -> int:
    """The draft upholds one clause, "wording 5" five."""
    return int(wording.rpartition(" ")[2]) if wording.startswith("wording") else 1


def refined(
    follow: Follower,
    model: FakeModel,
    folder: Path,
    optimiser: str = "copro",
    room: Callable[[], bool] = lambda: True,
    spending: Spending | None = None,
) -> tuple[str, list[Trial]]:
    if optimiser == "miprov2":
        pytest.importorskip("optuna")
    found: Optimiser = "miprov2" if optimiser == "miprov2" else "copro"
    store = CallStore(folder / "calls.sqlite")
    return refine_whole(
        DRAFT, FEW, follow, model, store, trials=6, optimiser=found, room=room, spending=spending, seed=3
    )


@pytest.mark.parametrize("optimiser", BOTH)
def test_the_best_wording_comes_back_with_all_that_was_tried(
    tmp_path: Path, optimiser: str, capsys: pytest.CaptureFixture[str]
) -> None:
    follow = Follower(by_number)
    wording, trials = refined(follow, proposing(["wording 2", '"wording 5"', "wording 3"]), tmp_path, optimiser)
    assert wording == "wording 5"
    assert trials[0].wording == DRAFTED and trials[0].score == pytest.approx(1 / 6)
    assert {t.wording: t.score for t in trials}["wording 5"] == pytest.approx(5 / 6)
    assert [text for text, _ in follow.asked] == [t.wording for t in trials]  # each was followed once,
    assert {ids for _, ids in follow.asked} == {tuple(s.id for s in FEW)}  # on all scenarios
    assert len(trials) <= 6
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("optimiser", BOTH)
def test_no_more_wordings_are_tried_than_it_was_told(tmp_path: Path, optimiser: str) -> None:
    follow = Follower(lambda wording: len(wording) % 7)
    _, trials = refined(follow, proposing([f"{'x' * n} and more" for n in range(20)]), tmp_path, optimiser)
    assert len(trials) == len(follow.asked)
    assert len(trials) == 6 if optimiser == "copro" else 2 < len(trials) <= 6


def test_what_following_says_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    follow = Follower(lambda wording: print(f"following {wording[:9]}", file=sys.stderr) or 1)
    refined(follow, proposing(["wording 2"]), tmp_path)
    assert capsys.readouterr().err == "following You keep \nfollowing wording 2\n"


@pytest.mark.parametrize("optimiser", BOTH)
def test_a_search_that_is_run_again_asks_the_model_nothing(tmp_path: Path, optimiser: str) -> None:
    first = proposing(["wording 2", "wording 4"])
    found = refined(Follower(by_number), first, tmp_path, optimiser)
    again = proposing(["wording 6"])
    assert refined(Follower(by_number), again, tmp_path, optimiser) == found
    assert first.asked and not again.asked


@pytest.mark.parametrize("optimiser", BOTH)
@pytest.mark.parametrize(
    "answer",
    ["", "no fields at all", '[[ ## proposed_instruction ## ]]\n""\n[[ ## proposed_prefix_for_output_field ## ]]\n:'],
)
def test_of_unusable_proposals_none_is_followed_and_the_draft_comes_back(
    tmp_path: Path, optimiser: str, answer: str
) -> None:
    follow = Follower(by_number)
    assert refined(follow, FakeModel(lambda _: answer), tmp_path, optimiser)[0] == DRAFTED
    assert [text for text, _ in follow.asked] == [DRAFTED]


def test_where_nothing_does_better_the_draft_comes_back(tmp_path: Path) -> None:
    wording, trials = refined(Follower(by_number), proposing(["wording 1", "wording 0"]), tmp_path)
    assert wording == DRAFTED and len(trials) == 3


def test_undecided_verdicts_are_counted_and_not_scored(tmp_path: Path) -> None:
    follow = Follower(lambda wording: {"wording 3": 3, DRAFTED: 0}.get(wording, 1), otherwise="undecided")
    wording, trials = refined(follow, proposing(["wording 3"]), tmp_path)
    drafted, tried = trials
    assert (drafted.score, drafted.undecided) == (None, 6 * len(FEW))
    assert (tried.score, tried.undecided) == (1.0, 3 * len(FEW))
    assert wording == "wording 3"


def test_a_scenario_of_which_nothing_was_decided_moves_no_score() -> None:
    outcomes: list[Outcome] = ["upheld", "violated", "undecided"]
    verdicts = [_verdict(scenario, "plain", outcome) for scenario, outcome in zip(FEW, outcomes, strict=False)]
    outcome = whole_policy._outcome("wording", [], verdicts)
    assert [outcome.score(s.id) for s in FEW[:3]] == [1.0, 0.0, 0.5]
    assert outcome.trial == Trial("wording", 0.5, 1)


@pytest.mark.parametrize("optimiser", BOTH)
def test_the_model_sees_the_scenarios_given_between_fences(tmp_path: Path, optimiser: str) -> None:
    model = proposing(["wording 2"])
    refined(Follower(by_number), model, tmp_path, optimiser)
    sent = "\n".join(message.content for call in model.asked for message in call.messages)
    assert not any(s.query in sent for s in SCENARIOS if s not in FEW)
    shown = [s.query for s in FEW if s.query in sent]
    assert shown == ([s.query for s in FEW] if optimiser == "miprov2" else [])
    assert ("MARK" in sent) == (optimiser == "miprov2")
    for text in (*shown, "MARK"):
        for found in re.finditer(re.escape(text), sent):
            assert sent[: found.start()].count("⟦untrusted text⟧") % 2 == 1


def test_what_following_raises_ends_the_search(tmp_path: Path) -> None:
    def fail(wording: str) -> int:
        if wording != DRAFTED:
            raise RatifyError("the endpoint is down")
        return 1

    follow = Follower(fail)
    with pytest.raises(RatifyError, match="the endpoint is down"):
        refined(follow, proposing(["wording 2", "wording 3"]), tmp_path)
    assert len(follow.asked) == 2


def test_a_model_that_never_answers_is_an_error(tmp_path: Path) -> None:
    down = FakeModel(lambda _: Completion(error="NotFoundError", finished=False))
    with pytest.raises(RatifyError, match=r"'fake' proposed no wording \(NotFoundError\)"):
        refined(Follower(by_number), down, tmp_path)


def test_without_room_the_search_ends_with_what_it_has(tmp_path: Path) -> None:
    follow = Follower(by_number)
    proposals = ["wording 2", "wording 3", "wording 4"]
    wording, trials = refined(follow, proposing(proposals), tmp_path, room=lambda: len(follow.asked) < 2)
    assert (wording, len(trials)) == ("wording 2", 2)


def test_a_wording_that_was_followed_in_part_does_not_count(tmp_path: Path) -> None:
    wording, trials = refined(Follower(by_number, error=NOT_RUN), proposing(["wording 5"]), tmp_path)
    assert (wording, len(trials)) == (DRAFTED, 1)


def test_the_budget_holds_for_the_model_that_proposes(tmp_path: Path) -> None:
    model, spending = proposing(["wording 2", "wording 3", "wording 4"]), Spending(Budget(calls=2))
    _, trials = refined(Follower(by_number), model, tmp_path, spending=spending)
    assert (len(model.asked), spending.calls) == (2, 2)
    assert [trial.wording for trial in trials] == [DRAFTED, "wording 2"]  # the third call had no room


def test_what_is_missing_is_said_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow, store = Follower(by_number), CallStore(tmp_path / "calls.sqlite")
    with pytest.raises(InputError, match="5 wordings are too few"):
        refine_whole(DRAFT, FEW, follow, proposing([""]), store, trials=5)
    monkeypatch.setattr(whole_policy, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"optuna.*prefect-ratify\[mipro\]"):
        refine_whole(DRAFT, FEW, follow, proposing([""]), store, trials=6)
    assert not follow.asked


@pytest.mark.parametrize(
    ("said", "wording"),
    [
        ("Be kind.", "Be kind."),
        (' "Be kind."\n', "Be kind."),
        ("`'Be kind.'`", "Be kind."),
        ('Say "sorry"', 'Say "sorry"'),
        ("```markdown\nBe kind.\n\n- Ask.\n```", "Be kind.\n\n- Ask."),
        ("Be kind.\n\n[[ ## completed ## ]]", "Be kind."),
        ("Be\x1b[31m kind.\n\n\n\nAsk.", "Be[31m kind.\n\nAsk."),
        ('""', ""),
        ("[[ ## x", ""),
    ],
)
def test_what_models_put_around_a_wording_is_taken_off(said: str, wording: str) -> None:
    assert cleaned(said) == wording


# the task of the benchmark


@given(st.sets(st.sampled_from(PHRASES)))
def test_no_choice_of_phrases_does_better_than_the_best(phrases: set[str]) -> None:
    assert expected_score(" ".join(phrases)) <= best_score() + 1e-12


def test_the_best_score_can_be_reached() -> None:
    harming = {effect.phrases[0] for effect in EFFECTS if effect.gain < 0}
    helping = " ".join(phrase for phrase in PHRASES if phrase not in harming)
    assert expected_score(helping) == pytest.approx(best_score())
    assert expected_score(DRAFTED) < 0.5 * best_score()


def test_a_gain_of_one_clause_can_hide_the_loss_of_another() -> None:
    prompt = "Take all the room that it needs."
    assert expected_score(prompt) > expected_score("")
    assert likelihood("next-step", prompt) < likelihood("next-step", "")
    assert expected_score(" ".join(PHRASES)) < best_score()


def test_no_proposal_of_the_script_is_one_that_the_guards_refuse() -> None:
    known = grams_of(SCENARIOS)
    for seed, clause in itertools.product(range(50), DRAFT.clauses):
        text = reworded(clause.text, random.Random(seed))
        assert text.startswith(clause.text) and text != clause.text
        assert why_refused([clause.model_copy(update={"text": text})], clause, known) == ""
    assert reworded_whole(DRAFTED, 0.0, random.Random(0)) == DRAFTED


def test_a_proposal_goes_on_from_the_present_wording_more_often_than_not() -> None:
    behaviour = BEHAVIOURS["urgency"]
    present = f"{behaviour.draft} {behaviour.phrases[0]}"
    kept = sum(behaviour.phrases[0] in reworded(present, random.Random(seed)) for seed in range(400))
    assert 300 < kept < 380


@pytest.mark.model
@pytest.mark.timeout(240)
def test_refinement_clause_by_clause_reaches_the_best_policy() -> None:
    from tests.refine_bench.optimisers import CALLS, reached
    from tests.refine_bench.server import scripted_model

    with scripted_model() as url:
        found = [reached("ours", seed, url) for seed in range(5)]
    assert all(each.calls <= CALLS for each in found)
    assert statistics.median(each.share for each in found) >= 0.95
