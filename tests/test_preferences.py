"""Preference data: a row's pairs, pairs by feedback, judged answers for KTO, and clauses drawn in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.call_store import Asking, CallStore
from prefect_ratify.event_loop import run as run_async
from prefect_ratify.finetune.clause_sampling import clause_order, drawn_clauses
from prefect_ratify.finetune.dataset import stream_rows, write_rows
from prefect_ratify.finetune.on_policy import (
    Samples,
    judged_completions,
    pairs_by_feedback,
    pairs_by_verdicts,
    sample,
)
from prefect_ratify.finetune.preferences import kto_rows, model_name, prefer, preferred
from prefect_ratify.finetune.row_pairs import (
    AGAINST_ORIGINAL,
    AGAINST_OWN,
    BY_FEEDBACK,
    Pairing,
    pairs_of_row,
    planned_pair_calls,
)
from prefect_ratify.policy import parse_policy
from prefect_ratify.policy_modules.feedback import INSTRUCTIONS, wording_digest
from prefect_ratify.progress import Meter
from prefect_ratify.records import (
    Call,
    Completion,
    Message,
    Outcome,
    Response,
    Sampling,
    Scenario,
    Verdict,
    WorkedExample,
    digest,
)
from prefect_ratify.scenarios.checks import Check, parse_check
from prefect_ratify.scenarios.located_yaml import parse_yaml
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.suite import ClauseGuide, Suite
from prefect_ratify.scenarios.yardstick import Yardstick
from prefect_ratify.training_rows import (
    ClauseVote,
    Critique,
    Demonstration,
    Judged,
    PreferencePair,
    Provenance,
    Revision,
)
from tests.fake_models import FakeModel
from tests.test_feedback import options, prefers

POLICY = parse_policy("# T\n\n## Clauses\n- [sorry] Say sorry.\n- [ask] Ask how long.\n- [short] Stay short.\n")
SAMPLING = Sampling(max_tokens=20)


def check(text: str) -> Check:
    return parse_check(parse_yaml(text, Path("scenarios.yaml")))


CHECKS = {"sorry": check("any_of: [sorry]"), "ask": check("question_about: ['how long']"), "short": None}
RENT = Scenario(
    id="rent",
    messages=(Message(role="user", content="My rent is late."),),
    clause_ids=("sorry", "ask"),
    split="develop",
)
SOUP = Scenario(
    id="soup", messages=(Message(role="user", content="How do I boil soup?"),), clause_ids=(), split="develop"
)
GOOD, BAD = "I'm sorry. How long?", "Pay it."
OUTCOMES: dict[str, Outcome] = {"u": "upheld", "v": "violated", "?": "undecided", "n": "not applicable"}


def judged(letters: str) -> tuple[Judged, ...]:
    """One letter a clause: u(pheld), v(iolated), ? (undecided), n(ot applicable)."""
    return tuple(
        Judged(clause_id=clause_id, outcome=OUTCOMES[letter], judge="check")
        for clause_id, letter in zip(POLICY.clause_ids, letters, strict=False)
    )


def row(text: str = GOOD, original: str = BAD, before: str = "vv", after: str = "uu", sample: int = 0) -> Demonstration:
    critique = Critique(clause_id="sorry", text="It says no sorry.")
    return Demonstration(
        prompt=RENT.messages,
        completion=(Message(role="assistant", content=text),),
        provenance=Provenance(
            scenario_id="rent",
            clause_ids=RENT.clause_ids,
            policy=digest(POLICY),
            model="critic",
            model_digest="weights of the critic",
            method="critique and revision",
            prompts="wording",
            seed=7,
            sample=sample,
            round=1,
            varied_from="rents",
            how="person",
            original=original,
            revisions=(Revision(critique=critique, text=text),) if original else (),
            before=judged(before),
            after=judged(after),
        ),
    )


def own(answer: Callable[[Call], Completion | str]) -> tuple[FakeModel, Condition]:
    model = FakeModel(answer, digest="own weights", name="responder")
    return model, Condition("responder", model)


def numbered() -> Callable[[Call], str]:
    """Another answer to each call."""
    given: dict[Call, str] = {}
    return lambda call: given.setdefault(call, f"Answer {len(given)}.")


def pairs(
    tmp_path: Path,
    of: Demonstration,
    responder: Condition,
    feedback: FakeModel | None = None,
    votes: int = 0,
    scenario: Scenario = RENT,
    place: int = 0,
) -> list[PreferencePair | str]:
    by = Pairing(POLICY.clauses, Yardstick(POLICY, CHECKS), responder, SAMPLING, 7, feedback, votes)

    async def work() -> list[PreferencePair | str]:
        async with Asking(CallStore(tmp_path / "calls.sqlite"), Meter("", 0)) as asking:
            return await pairs_of_row(of, scenario, place, by, asking)

    return run_async(work())


def texts(pair: PreferencePair | str) -> tuple[str, str]:
    assert isinstance(pair, PreferencePair)
    assert [m.role for m in pair.chosen + pair.rejected] == ["assistant"] * 2
    return pair.chosen[0].content, pair.rejected[0].content


def unasked() -> Condition:
    def refuse(call: Call) -> str:
        raise AssertionError("nothing is to be asked")

    return own(refuse)[1]


# revision against original


def test_a_revision_is_preferred_to_an_original_that_violates_a_clause_without_a_call(tmp_path: Path) -> None:
    (found,) = pairs(tmp_path, row(), unasked())
    assert texts(found) == (GOOD, BAD)
    assert isinstance(found, PreferencePair)
    assert found.prompt == RENT.messages
    assert found.provenance == row().provenance.model_copy(update={"method": AGAINST_ORIGINAL})


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("uu", "uu", "the original violates no clause"),
        ("nu", "??", "the original violates no clause"),
        ("u?", "u?", "the original violates no clause"),
        ("vv", "uv", "the answer violates a clause"),
        ("v?", "u?", ""),
        ("??", "??", ""),  # nobody judges: the critic's word is all there is
        ("", "", ""),
    ],
)
def test_verdicts_decide_whether_a_revision_is_better(tmp_path: Path, before: str, after: str, why: str) -> None:
    (found,) = pairs(tmp_path, row(before=before, after=after), unasked())
    assert found == why if why else texts(found) == (GOOD, BAD)


def test_a_revision_that_changes_nothing_makes_no_pair(tmp_path: Path) -> None:
    assert pairs(tmp_path, row(GOOD, GOOD, "??", "??"), unasked()) == ["it is the same as the original"]


def test_a_request_that_the_policy_is_not_about_makes_no_pair(tmp_path: Path) -> None:
    assert pairs(tmp_path, row(), unasked(), FakeModel(prefers(GOOD)), 3, scenario=SOUP) == []


def test_a_row_that_was_not_revised_is_held_against_an_own_answer(tmp_path: Path) -> None:
    model, responder = own(lambda call: BAD)
    composed = row(original="", before="", after="uu", sample=3)
    (found,) = pairs(tmp_path, composed, responder)
    assert texts(found) == (GOOD, BAD)
    assert isinstance(found, PreferencePair)
    assert found.provenance.method == AGAINST_OWN
    assert [(j.clause_id, j.outcome) for j in found.provenance.before] == [("sorry", "violated"), ("ask", "violated")]
    assert len(model.asked) == 1 and model.asked[0].messages == RENT.messages
    assert pairs(tmp_path, composed, responder) == [found] and len(model.asked) == 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (GOOD, "it is the same as the original"),
        ("Sorry, how long is it?", "the original violates no clause"),
        (Completion(error="TimeoutError", finished=False), "no own answer to reject"),
        (Completion(text="Pay it and", finished=False), "no own answer to reject"),
    ],
)
def test_an_own_answer_that_is_as_good_or_missing_is_a_reason(
    tmp_path: Path, answer: Completion | str, why: str
) -> None:
    assert pairs(tmp_path, row(original="", before="", after="uu"), own(lambda call: answer)[1]) == [why]


def test_an_own_answer_that_was_cut_ends_with_its_last_whole_sentence(tmp_path: Path) -> None:
    _, responder = own(lambda call: Completion(text="Pay it. And th", finished=False))
    (found,) = pairs(tmp_path, row(original="", before="", after="uu"), responder)
    assert texts(found) == (GOOD, "Pay it.")


# two own answers


def test_the_feedback_models_choice_of_two_own_answers_is_a_pair(tmp_path: Path) -> None:
    model, responder = own(lambda call: "Second answer.")
    feedback = FakeModel(prefers("Second answer.", 0.9))
    revised, found = pairs(tmp_path, row(), responder, feedback, 2)
    assert texts(revised) == (GOOD, BAD)
    assert texts(found) == ("Second answer.", BAD)
    assert isinstance(found, PreferencePair)
    origin = found.provenance
    assert (origin.method, origin.model, origin.model_digest) == (BY_FEEDBACK, "responder", "own weights")
    assert (origin.soft_label, origin.prompts) == (0.9, wording_digest())
    assert sorted((v.clause_id, v.choice, v.chosen) for v in origin.votes) == [
        ("ask", "chosen", 0.9),
        ("sorry", "chosen", 0.9),
    ]
    assert (origin.varied_from, origin.how, origin.seed, origin.policy) == ("rents", "person", 7, digest(POLICY))
    assert (origin.original, origin.revisions, origin.round, origin.before) == ("", (), 0, ())
    assert len(model.asked) == 1 and len(feedback.asked) == 4


def test_calls_are_as_planned(tmp_path: Path) -> None:
    for place, (original, votes) in enumerate([(BAD, 0), (BAD, 1), (BAD, 2), (BAD, 5), ("", 0), ("", 1), ("", 5)]):
        model, responder = own(numbered())
        feedback = FakeModel(prefers("Answer 1."))
        folder = tmp_path / str(place)
        pairs(folder, row(original=original, before="vv" if original else ""), responder, feedback, votes)
        asked = len(model.asked) + len(feedback.asked)
        assert asked == planned_pair_calls(2, votes, bool(original)), (original, votes)
    assert planned_pair_calls(0, 3, False) == 0


@pytest.mark.parametrize(
    ("answer", "feedback", "why"),
    [
        (BAD, prefers(GOOD), "both own answers are the same"),
        (Completion(error="TimeoutError", finished=False), prefers(GOOD), "no two own answers"),
        ("Second.", lambda call: "A", "the feedback model prefers neither answer"),
        ("Second.", lambda call: "who knows", "the feedback model gave no vote that can be used"),
        ("Second.", lambda call: Completion(error="TimeoutError"), "the feedback model gave no vote that can be used"),
        ("Second.", prefers("Second.", 0.59), "the feedback model prefers neither answer"),
    ],
)
def test_each_missing_pair_has_its_reason(
    tmp_path: Path, answer: Completion | str, feedback: Callable[[Call], Completion | str], why: str
) -> None:
    assert pairs(tmp_path, row(), own(lambda call: answer)[1], FakeModel(feedback), 1)[1] == why


def test_votes_are_by_other_clauses_from_row_to_row(tmp_path: Path) -> None:
    feedback = FakeModel(prefers(BAD))
    for place in range(12):
        found = pairs(tmp_path / str(place), row(), own(lambda call: "Second.")[1], feedback, 1, place=place)[1]
        assert isinstance(found, PreferencePair) and len(found.provenance.votes) == 1
    asked = Counter("Ask how long." in call.messages[-1].content for call in feedback.asked)
    assert asked[True] >= 6 and asked[False] >= 6, "of 12 rows, neither clause votes on fewer than 3"


def test_a_chosen_answer_that_lint_finds_unfit_makes_no_pair(tmp_path: Path) -> None:
    refusal = "I'm sorry, but I can't help with that."
    feedback = FakeModel(prefers(refusal))
    assert pairs(tmp_path, row(), own(lambda call: refusal)[1], feedback, 1)[1] == (
        "the chosen answer is unfit (refusal)"
    )
    group = undecided([response(refusal, 0), response(BAD, 1)])
    assert by_feedback(tmp_path, group, feedback) == ([], {"the chosen answer is unfit (refusal)": 1})
    decided = replace(group, verdicts=verdicts("uu", "vv"))
    assert pairs_by_verdicts([decided], POLICY, 0) == ([], {"the chosen answer is unfit (refusal)": 1})


def test_a_checkpoint_folder_is_named_by_its_last_part_alone(tmp_path: Path) -> None:
    folder = tmp_path / "my-student"
    folder.mkdir()
    assert model_name(str(folder)) == "my-student"
    assert [model_name(name) for name in ("embedded", "openai/gpt-4o")] == ["embedded", "openai/gpt-4o"]


def votes(*shares: float | None) -> list[ClauseVote]:
    return [
        ClauseVote(clause_id="c", choice="undecided" if p is None else "chosen" if p > 0.5 else "rejected", chosen=p)
        for p in shares
    ]


def test_what_is_nearer_to_a_half_than_a_tenth_is_a_tie() -> None:
    assert preferred("x", "y", votes(0.6)) == ("x", "y", tuple(votes(0.6)))
    assert preferred("x", "y", votes(0.599)) == "the feedback model prefers neither answer"
    assert preferred("x", "y", votes(0.4)) == ("y", "x", tuple(votes(0.6)))
    assert preferred("x", "y", votes(1.0, 1.0, 1.0, 0.0, 0.0))[:2] == ("x", "y"), "three of five are enough"
    assert preferred("x", "y", votes(None)) == "the feedback model gave no vote that can be used"


@given(st.lists(st.floats(0, 1).map(lambda p: round(p, 3)), min_size=1))
def test_the_same_answer_is_preferred_whichever_stands_first(shares: list[float]) -> None:
    found = preferred("x", "y", votes(*shares))
    turned = preferred("y", "x", votes(*(round(1 - p, 3) for p in shares)))
    assert found == turned if isinstance(found, str) else found[:2] == turned[:2]


# clauses drawn in turn

CLAUSES = st.lists(st.text("abcdefgh", min_size=1, max_size=3), unique=True, min_size=1, max_size=6)


@given(CLAUSES, st.integers(0, 50), st.integers(0, 3))
def test_each_clause_has_each_place_once_in_as_many_rows_as_there_are_clauses(
    clause_ids: list[str], square: int, seed: int
) -> None:
    rows = [clause_order(clause_ids, square * len(clause_ids) + n, seed) for n in range(len(clause_ids))]
    for column in (*rows, *zip(*rows, strict=True)):
        assert sorted(column) == sorted(clause_ids)


@given(CLAUSES, st.data())
def test_drawn_clauses_are_touched_ones_and_the_violated_first(clause_ids: list[str], data: st.DataObject) -> None:
    touched = data.draw(st.sets(st.sampled_from(clause_ids)))
    first = data.draw(st.sets(st.sampled_from(clause_ids)))
    count, place = data.draw(st.integers(0, 7)), data.draw(st.integers(0, 99))
    found = drawn_clauses(clause_ids, touched, place, 5, first=first, count=count)
    assert len(found) == len(set(found)) == (min(count, len(touched)) if count else len(touched))
    assert set(found) <= touched
    assert [c in first for c in found] == sorted((c in first for c in found), reverse=True)
    assert (set(found) & first) == (first & touched) or len(found) <= len(first & touched)
    assert found == drawn_clauses(clause_ids, touched, place, 5, first=first, count=count)


def test_over_many_rows_each_clause_comes_up_evenly_also_of_those_that_some_touch() -> None:
    ids = tuple("abcdefg")
    all_touch = Counter(drawn_clauses(ids, ids, place, 3, count=1)[0] for place in range(700))
    assert set(all_touch.values()) == {100}
    some = Counter(c for place in range(2000) for c in drawn_clauses(ids, "bdf", place, 3, count=2))
    assert max(some.values()) - min(some.values()) < 130  # of 1,333 each: within four standard errors
    assert clause_order(ids, 3, 1) != clause_order(ids, 3, 2)
    assert clause_order((), 3, 1) == ()


# judged answers, for KTO


def response(text: str, sample: int, scenario: Scenario = RENT, finished: bool = True, error: str = "") -> Response:
    return Response(
        scenario_id=scenario.id,
        condition="tuned",
        sample=sample,
        text=text,
        finished=finished,
        model="tuned",
        error=error,
    )


def verdicts(*samples: str) -> list[Verdict]:
    return [
        Verdict(
            scenario_id="rent",
            condition="tuned",
            sample=number,
            clause_id=each.clause_id,
            outcome=each.outcome,
            confidence=1,
            reason="",
            judge="check",
        )
        for number, letters in enumerate(samples)
        for each in judged(letters)
    ]


def test_each_answer_that_a_verdict_decides_is_a_row_for_kto(tmp_path: Path) -> None:
    answers = [response(text, n) for n, text in enumerate(["both", "one", "none", "nobody knows", "n/a"])]
    answers += [response("", 5, error="TimeoutError"), response("cut of", 6, finished=False)]
    said = verdicts("uu", "uv", "vv", "??", "nn", "??", "uu")
    rows, lost = kto_rows([RENT], answers, said, POLICY, 4, "weights")
    assert [(r.completion[0].content, r.label) for r in rows] == [("both", True), ("one", False), ("none", False)]
    assert lost == {"no usable answer": 2, "no verdict decides": 2}
    assert [j.outcome for j in rows[1].provenance.after] == ["upheld", "violated"]
    assert (rows[0].provenance.sample, rows[0].provenance.model_digest, rows[2].provenance.sample) == (0, "weights", 2)
    write_rows(rows, tmp_path / "kto" / "shard-00000.parquet")
    (first, *_) = stream_rows(tmp_path / "kto")
    assert list(first) == ["id", "prompt", "completion", "label", "provenance"]
    assert first["label"] is True and first["prompt"] == [{"role": "user", "content": "My rent is late."}]


# on policy


def test_pairs_of_the_tuned_models_answers_come_with_verdicts_of_both() -> None:
    found = prefer([RENT], [response(GOOD, 0), response(BAD, 1)], verdicts("uu", "vv"), POLICY, 1, "weights")
    assert [texts(pair) for pair in found] == [(GOOD, BAD)]
    origin = found[0].provenance
    assert (origin.before, origin.after, origin.model_digest) == (judged("vv"), judged("uu"), "weights")


def test_of_answers_as_good_the_first_is_the_best_and_the_last_the_worst() -> None:
    answers = [response(text, n) for n, text in enumerate(["a", "b", "c", "d"])]
    assert [texts(p) for p in prefer([RENT], answers, verdicts("uu", "vv", "uu", "vv"), POLICY, 1)] == [("a", "d")]


def test_unrelated_answers_should_not_show_the_clauses(tmp_path: Path) -> None:
    """Two samples each: the first of either shows the clauses, the second does not."""
    seen: Counter[str] = Counter()

    def answer(call: Call) -> str:
        seen[call.messages[-1].content] += 1
        return GOOD if seen[call.messages[-1].content] == 1 else "Boil it."

    tuned = FakeModel(answer, digest="tuned weights", name="tuned")
    example = WorkedExample(query="My bike broke.", sentence="I'm sorry about the bike.")
    guides = {"sorry": ClauseGuide(examples=(example,)), "ask": ClauseGuide()}
    suite = Suite((RENT,), (SOUP,), guides=guides)
    by = Yardstick(POLICY, CHECKS)
    settings = {"sampling": SAMPLING, "samples": 2, "prompts": 5, "seed": 8}
    groups = sample(tuned, suite, by, CallStore(tmp_path / "calls.sqlite"), **settings)  # type: ignore[arg-type]
    found, unfit = pairs_by_verdicts(groups, POLICY, 8)
    assert [texts(pair) for pair in found] == [(GOOD, "Boil it."), ("Boil it.", GOOD)] and unfit == {}
    assert len(tuned.asked) == 4
    # Only a clause with worked examples counts there: the soup's answers have one verdict each.
    assert [len(group.verdicts) for group in groups] == [4, 2]
    rows, lost = judged_completions(groups, POLICY, 8)
    labels = [(r.provenance.scenario_id, r.completion[0].content, r.label) for r in rows]
    assert labels == [
        ("rent", GOOD, True),
        ("rent", "Boil it.", False),
        ("soup", GOOD, False),
        ("soup", "Boil it.", True),
    ]
    assert lost == {}


def undecided(answers: Sequence[Response]) -> Samples:
    tuned = FakeModel(lambda call: "", digest="tuned weights", name="tuned")
    return Samples(tuned, [RENT], list(answers), verdicts(*["??"] * len(answers)))


def by_feedback(tmp_path: Path, group: Samples, model: FakeModel) -> tuple[list[PreferencePair], dict[str, int]]:
    return pairs_by_feedback(group, POLICY, model, CallStore(tmp_path / "calls.sqlite"), 8)


def test_where_no_verdict_decides_a_feedback_model_does(tmp_path: Path) -> None:
    model = FakeModel(prefers(GOOD, 0.8))
    answers = [response(BAD, 0), response(BAD, 1), response(GOOD, 2), response("Third.", 3)]
    (found,), lost = by_feedback(tmp_path, undecided(answers), model)
    assert texts(found) == (GOOD, BAD) and lost == {}
    assert (found.provenance.soft_label, found.provenance.sample, found.provenance.seed) == (0.8, 2, 8)
    assert [vote.clause_id for vote in found.provenance.votes] == ["sorry", "ask"]
    assert found.provenance.model_digest == "tuned weights"
    assert sorted(map(options, model.asked)) == [(GOOD, BAD)] * 2 + [(BAD, GOOD)] * 2
    assert all(call.messages[0].content == INSTRUCTIONS for call in model.asked)


def test_a_feedback_model_is_not_asked_what_verdicts_decide(tmp_path: Path) -> None:
    model = FakeModel(prefers(GOOD))
    tuned = FakeModel(lambda call: "", digest="tuned weights")
    decided = Samples(tuned, [RENT], [response(BAD, 0), response(GOOD, 1)], verdicts("v?", "v?"))
    assert by_feedback(tmp_path, decided, model) == ([], {})
    assert by_feedback(tmp_path, Samples(tuned, [SOUP], [response("a", 0, SOUP)], []), model) == ([], {})
    assert model.asked == []
    alike = undecided([response(BAD, 0), response(BAD, 1)])
    assert by_feedback(tmp_path, alike, model) == ([], {"no two answers that differ": 1})
