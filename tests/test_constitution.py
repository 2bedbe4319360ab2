"""One supervised row at a time: revised, distilled, composed, or an own answer; and why it is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefect_ratify.call_store import CallStore
from prefect_ratify.finetune import rows as making_rows
from prefect_ratify.finetune.composing import composed
from prefect_ratify.finetune.constitution import rounds
from prefect_ratify.finetune.counts import DataCounts, require_rows, summed
from prefect_ratify.finetune.data_settings import DataSettings
from prefect_ratify.finetune.distilling import share_upheld
from prefect_ratify.finetune.one_row import Made
from prefect_ratify.finetune.planning import planned_calls, planned_in_all
from prefect_ratify.finetune.row_making import Lost, RowMaking
from prefect_ratify.finetune.rows import make_rows, tally
from prefect_ratify.finetune.shards import RowPlace, Way
from prefect_ratify.policy import parse_policy
from prefect_ratify.policy_modules.critic import ModelCritic
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.records import Call, Completion, Message, Sampling, Scenario, digest
from prefect_ratify.scenarios.checks import parse_check
from prefect_ratify.scenarios.located_yaml import parse_yaml
from prefect_ratify.scenarios.running import Condition
from prefect_ratify.scenarios.suite import ClauseGuide, Suite
from prefect_ratify.scenarios.yardstick import Yardstick
from prefect_ratify.training_rows import TrainingPrompt
from tests.data_run import fields, role_of
from tests.fake_models import FakeModel

POLICY = parse_policy("# T\n\n## Clauses\n- [sorry] Say sorry.\n- [ask] Ask how long.\n- [short] Stay short.\n")
CHECKS = {
    clause_id: parse_check(parse_yaml(text, Path("scenarios.yaml")))
    for clause_id, text in (
        ("sorry", "any_of: [sorry]"),
        ("ask", "any_of: ['how long']"),
        ("short", "at_most_words: 9"),
    )
}
SUITE = Suite((), guides={clause_id: ClauseGuide(check=check) for clause_id, check in CHECKS.items()})
Answer = Callable[[Call], Completion | str]


def prompt(id: str = "rent", clause_ids: tuple[str, ...] = POLICY.clause_ids, how: str = "") -> TrainingPrompt:
    messages = (Message(role="user", content=f"My {id} is late."),)
    scenario = Scenario(id=id, messages=messages, clause_ids=clause_ids, split="develop")
    return TrainingPrompt(scenario=scenario, of=id if how else "", how=how)


def place(way: Way = "revise", number: int = 0, sample: int = 0) -> RowPlace:
    return RowPlace(place=number, prompt=number, way=way, sample=sample)


def making(answer: Answer, **data: Any) -> RowMaking:
    model = FakeModel(answer)
    plain = Condition("own", model)
    return RowMaking(
        policy=POLICY,
        suite=SUITE,
        by=Yardstick(POLICY, CHECKS),
        own=plain,
        prompted=Condition("refined", model, preamble(POLICY)),
        student=plain,
        critic=ModelCritic(model),
        sampling=Sampling(),
        seed=0,
        data=DataSettings(**data),
    )


def saying(**by_role: Answer) -> Answer:
    """A model that says by what it is asked for; `critique` names the clause that it is about."""

    def answer(call: Call) -> Completion | str:
        return by_role[role_of([message.model_dump() for message in call.messages])](call)

    return answer


def shown(call: Call) -> str:
    return call.messages[-1].content


def criticised(call: Call) -> str:
    return fields(critique=next(clause.id for clause in POLICY.clauses if clause.text in shown(call)))


def added(call: Call) -> str:
    """The response of the prompt, and a word for the clause that the critique names."""
    texts = shown(call).split("⟦untrusted text⟧\n")
    before, critique = texts[3].rstrip("\n⟦"), texts[5].rstrip("\n⟦")
    words = {"sorry": "So sorry.", "ask": "For how long?", "short": "Bye."}
    return fields(revision=f"{before.strip()} {words[critique.strip()]}")


GOOD = saying(answer=lambda call: "Well.", critique=criticised, revision=added)


def one(found: RowMaking, folder: Path, asked: TrainingPrompt | None = None, where: RowPlace | None = None) -> Made:
    (result,) = make_rows([(where or place(), asked or prompt())], found, CallStore(folder / "calls.sqlite"))
    return result


# critique and revision


def test_each_round_revises_what_the_one_before_left_and_all_are_kept(tmp_path: Path) -> None:
    found = one(making(GOOD), tmp_path)
    assert found.row is not None
    origin = found.row.provenance
    texts = [revision.text for revision in origin.revisions]
    assert len(texts) == origin.round == 3 and found.row.completion[0].content == texts[-1]
    assert all(later.startswith(earlier) for earlier, later in zip(["Well.", *texts], texts, strict=False))
    assert (origin.original, origin.method, origin.model) == ("Well.", "critique and revision", "fake")
    assert {v.clause_id: v.outcome for v in origin.before} == {
        "sorry": "violated",
        "ask": "violated",
        "short": "upheld",
    }
    assert {v.outcome for v in origin.after} == {"upheld"}
    assert origin.policy == digest(POLICY) and origin.model_digest == "weights" and len(origin.prompts) == 64


def test_what_the_answer_violates_comes_first(tmp_path: Path) -> None:
    asked = [(place(number=n), prompt(f"case{n}")) for n in range(12)]
    found = make_rows(asked, making(GOOD, rounds=2), CallStore(tmp_path / "calls.sqlite"))
    revised = [{r.critique.clause_id for r in each.row.provenance.revisions} for each in found if each.row]
    assert revised == [{"sorry", "ask"}] * 12


def test_clauses_have_their_turn_evenly_where_none_is_violated(tmp_path: Path) -> None:
    fine = saying(answer=lambda call: "So sorry. For how long?", critique=criticised, revision=added)
    asked = [(place(number=n), prompt(f"case{n}")) for n in range(12)]
    found = make_rows(asked, making(fine, rounds=1), CallStore(tmp_path / "calls.sqlite"))
    revised = Counter(each.row.provenance.revisions[0].critique.clause_id for each in found if each.row)
    assert revised == {"sorry": 4, "ask": 4, "short": 4}


def test_the_draw_depends_on_the_place_alone(tmp_path: Path) -> None:
    asked = [(place(number=n), prompt(f"case{n}")) for n in range(6)]
    store = CallStore(tmp_path / "calls.sqlite")
    together = make_rows(asked, making(GOOD), store)
    assert [make_rows([each], making(GOOD), store)[0].row for each in reversed(asked)] == [
        each.row for each in reversed(together)
    ]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"answer": lambda call: Completion(error="BadRequestError")}, "no answer to revise (BadRequestError)"),
        ({"answer": lambda call: ""}, "no answer to revise (it is empty)"),
        ({"critique": lambda call: "garbage"}, "a critique that cannot be read, for clause "),
        ({"critique": lambda call: fields(critique=" ")}, "a critique that cannot be read, for clause "),
        ({"revision": lambda call: Completion(text=added(call), finished=False)}, "the revision was cut off, for "),
        ({"revision": lambda call: Completion(error="BadRequestError")}, "no revision (BadRequestError), for clause "),
        ({"revision": lambda call: fields(revision="I am not having it, at all.")}, "the answer breaks sorry"),
        ({"revision": lambda call: fields(revision="I'm sorry, I can't help with how long.")}, "lint: refusal"),
    ],
)
def test_a_lost_row_says_why(tmp_path: Path, changed: dict[str, Answer], reason: str) -> None:
    steps: dict[str, Answer] = {"answer": lambda call: "Well.", "critique": criticised, "revision": added}
    found = one(making(saying(**{**steps, **changed})), tmp_path)
    assert found.row is None and found.lost.startswith(reason), found.lost
    assert not found.silent


@pytest.mark.parametrize(("touched", "wanted", "had"), [(3, 0, 3), (3, 2, 2), (3, 9, 3), (0, 0, 0)])
def test_a_row_has_no_more_rounds_than_clauses(touched: int, wanted: int, had: int) -> None:
    assert rounds(touched, wanted) == had


# distillation


def sampled(*texts: str) -> Answer:
    """Prompted answers in turn."""
    left = iter(texts)
    return saying(prompted=lambda call: next(left), answer=lambda call: "Well.")


def test_the_best_answer_with_the_policy_as_prompt_is_learned_without_it(tmp_path: Path) -> None:
    by = making(sampled("No.", "So sorry.", "So sorry. For how long?", "Sorry! How long? how long"), best_of=4)
    found = one(by, tmp_path, where=place("distil"))
    assert found.row is not None
    assert found.row.completion[0].content == "So sorry. For how long?"  # the first of the two that uphold all
    assert [message.role for message in found.row.prompt] == ["user"]
    assert found.row.provenance.method == "distilled from the policy as prompt"
    assert {v.outcome for v in found.row.provenance.after} == {"upheld"} and not found.row.provenance.before


def test_a_prompt_whose_best_answer_breaks_a_clause_is_lost(tmp_path: Path) -> None:
    found = one(making(sampled("No.", "So sorry."), best_of=2), tmp_path, where=place("distil"))
    assert found.lost == "the answer breaks ask (distilled from the policy as prompt)"


def test_cut_and_failed_answers_are_no_candidates(tmp_path: Path) -> None:
    tries = iter([Completion(error="BadRequestError"), Completion(text="How long, sorr", finished=False)])
    found = one(making(saying(prompted=lambda call: next(tries)), best_of=2), tmp_path, where=place("distil"))
    assert found.lost == "no answer with the policy as prompt (BadRequestError, no whole sentence)"


def test_undecided_clauses_do_not_count_for_the_best() -> None:
    assert share_upheld([]) == 0.0


# own answers


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (Completion(text="Boil it. Then"), "Boil it. Then"),
        (Completion(text="Boil it. Salt it! And th", finished=False), "Boil it. Salt it!"),
    ],
)
def test_own_answers_are_kept_and_cut_ones_up_to_their_last_whole_sentence(
    tmp_path: Path, answer: Completion, kept: str
) -> None:
    found = one(making(saying(answer=lambda call: answer)), tmp_path, prompt("pasta", ()), place("own"))
    assert found.row is not None and found.row.completion[0].content == kept
    assert (found.row.provenance.method, found.pairs) == ("own answer retained", ())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Completion(text="Boil it for", finished=False), "own answer has no whole sentence"),
        (Completion(error="PromptTooLong"), "no own answer to retain (PromptTooLong)"),
        (Completion(text="I can't help with that."), "lint: refusal"),
    ],
)
def test_an_own_answer_is_lost_by_reason(tmp_path: Path, answer: Completion, reason: str) -> None:
    found = one(making(saying(answer=lambda call: answer)), tmp_path, prompt("pasta", ()), place("own"))
    assert (found.row, found.lost) == (None, reason)


def test_a_look_alike_gets_a_plain_answer_whatever_the_way(tmp_path: Path) -> None:
    by = making(saying(answer=lambda call: "Boil it."))
    for way in ("revise", "distil"):
        found = one(by, tmp_path, prompt("pasta~1", (), how="look-alike"), place(way))  # type: ignore[arg-type]
        assert found.row is not None and found.row.provenance.how == "look-alike"
        assert found.row.completion[0].content == "Boil it."


# composing


BOTH = {("rent", "ask"): "And how long?", ("rent", "sorry"): "I'm sorry about the rent."}
GUIDED = Suite(
    (),
    guides={
        clause_id: ClauseGuide(check=CHECKS[clause_id], examples=examples)
        for clause_id, examples in (("sorry", ("any",)), ("ask", ("any",)), ("short", ()))  # type: ignore[dict-item]
    },
    expectations={"wage": CHECKS["ask"]},
)


def test_sentences_are_composed_in_the_policys_order() -> None:
    assert composed(prompt().scenario, GUIDED, BOTH) == "I'm sorry about the rent. And how long?"


@pytest.mark.parametrize(
    ("id", "clause_ids", "kept", "reason"),
    [
        ("rent", POLICY.clause_ids, {("rent", "sorry"): "Sorry."}, "no passing sentence for ask"),
        ("rent", ("sorry", "short"), {("rent", "sorry"): "sorry " * 10}, "the whole answer breaks short"),
        ("wage", ("sorry",), {("wage", "sorry"): "Sorry."}, "the whole answer breaks the scenario's expectation"),
        ("dog", ("short",), {}, "no clause has worked examples"),
    ],
)
def test_an_answer_that_cannot_be_composed_says_why(
    id: str, clause_ids: tuple[str, ...], kept: dict[tuple[str, str], str], reason: str
) -> None:
    with pytest.raises(Lost) as caught:
        composed(prompt(id, clause_ids).scenario, GUIDED, kept)
    assert str(caught.value) == reason


# counting


def test_every_row_is_accounted_for_and_shards_add_up(tmp_path: Path) -> None:
    def answer(call: Call) -> str:
        return "" if "case1 " in shown(call) else "Well."

    by = making(saying(answer=answer, critique=criticised, revision=added))
    asked = [(place(number=n), prompt(f"case{n}")) for n in range(3)]
    asked += [(place("own", 3), prompt("pasta", ()))]
    counts = tally(asked, make_rows(asked, by, CallStore(tmp_path / "calls.sqlite")), {})
    assert (counts.asked, counts.demonstrations, counts.retained, counts.to_retain) == (4, 2, 1, 1)
    assert counts.lost == {"no answer to revise (it is empty)": 1}
    assert (counts.prompts, counts.scenarios) == (4, 3)
    assert counts.by_origin == {"unrelated": 1, "written": 2} and counts.revised == {"ask": 2, "short": 2, "sorry": 2}
    assert counts.before["sorry"] == {"violated": 2} and counts.pairs == 2
    twice = summed([counts, counts, DataCounts()])
    assert twice.lost == {"no answer to revise (it is empty)": 2}
    assert (twice.asked, twice.by_clause["ask"], twice.pairs) == (8, {"written": 4}, 4)
    require_rows(twice)


@pytest.mark.parametrize("way", ["revise", "distil"])
def test_a_row_takes_the_calls_that_are_planned(tmp_path: Path, way: Way) -> None:
    everything = saying(
        answer=lambda call: "Well.", critique=criticised, revision=added, prompted=lambda call: "So sorry. How long?"
    )
    by = making(everything, best_of=3)
    one(by, tmp_path, where=place(way))
    assert isinstance(by.own.model, FakeModel)
    assert len(by.own.model.asked) == planned_in_all(prompt().scenario, way, by)
    assert planned_calls(prompt().scenario, way, by) == {"revise": 7, "distil": 3}[way]


def test_a_silent_model_is_noted_for_the_rows_that_it_gave_no_answer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making_rows, "why_silent", lambda model: "")
    monkeypatch.setattr(making_rows, "PASSES", 1)

    def answer(call: Call) -> Completion | str:
        return (
            Completion(error="ServerError") if "case1 " in shown(call) else "" if "case2 " in shown(call) else "Well."
        )

    by = making(saying(answer=answer, critique=criticised, revision=added))
    asked = [(place(number=n), prompt(f"case{n}")) for n in range(4)]
    found = make_rows(asked, by, CallStore(tmp_path / "calls.sqlite"))
    assert [bool(each.silent) for each in found] == [False, True, False, False]
    assert [bool(each.row) for each in found] == [True, False, False, True]
    assert tally(asked, found, {}).unanswered == 1
