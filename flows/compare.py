"""Compare: base, prompted and finetuned models on held-out scenarios, clause by clause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from prefect_ratify.finetune.dataset import SUPERVISED, stream_rows
from prefect_ratify.finetune.measures import Evasiveness, Fluency, grams_learnt, measure, measure_evasion
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.train import tuned_model
from prefect_ratify.policy_modules.responder import preamble, with_examples
from prefect_ratify.records import Policy, Record, Response, Scenario, Verdict
from prefect_ratify.scenarios.checks import Check
from prefect_ratify.scenarios.comparing import Comparison, Rate, rates
from prefect_ratify.scenarios.comparing import compare as compare_verdicts
from prefect_ratify.scenarios.judging import judge
from prefect_ratify.scenarios.running import Account, Condition, account
from prefect_ratify.scenarios.yardstick import EXPECTATION, Yardstick, judge_expectations
from prefect_ratify.store import write_record, write_records

FINETUNED = "finetuned"


class Final(Record):
    """Everything that the comparison measured.

    `rates` and `comparisons` (each condition against finetuned) are on held-out scenarios, by
    the clauses' judges; `audit_*` the same by the audit checks. `over_application` is how
    often a clause's behaviour shows in answers to unrelated requests; `expectations` how often
    answers meet what single scenarios expect beside the clauses. `evasion` is how often answers
    are none, on the held-out scenarios and on unrelated requests. `accounts` is what became of
    every answer and verdict on the held-out scenarios, by condition.
    """

    rates: tuple[Rate, ...]
    comparisons: tuple[Comparison, ...]
    audit_rates: tuple[Rate, ...]
    audit_comparisons: tuple[Comparison, ...]
    over_application: tuple[Rate, ...]
    expectations: tuple[Rate, ...]
    fluency: tuple[Fluency, ...]
    evasion: tuple[Evasiveness, ...] = ()
    accounts: dict[str, Account] = Field(default_factory=dict)


def conditions(run: Run) -> list[Condition]:
    """The ways of answering that are compared, the finetuned model last."""
    refined, draft = refined_policy(run), run.project.policy
    examples = {key: guide.examples for key, guide in run.project.suite.guides.items()}
    responder = run.model("responder")
    return [
        Condition("base", run.student()),
        Condition("draft", responder, preamble(draft)),
        Condition("refined", responder, preamble(refined)),
        Condition("examples", responder, preamble(with_examples(refined, examples))),
        Condition(FINETUNED, tuned_model(run)),
    ]


def compare(run: Run, folder: Path) -> None:
    """Answer, judge and audit the held-out scenarios under every condition, and compare."""
    suite, policy = run.project.suite, run.project.policy
    held_out, unrelated = suite.split("held_out"), suite.unrelated_split("held_out")
    samples, unrelated_samples = run.settings.samples, run.settings.unrelated_samples
    found = {c.name: run.evaluate(held_out, c, policy, samples=samples) for c in conditions(run)}
    off_topic = {c.name: run.answer(unrelated, c, samples=unrelated_samples) for c in conditions(run)}
    answers = {name: each.responses for name, each in found.items()}
    verdicts = {name: each.verdicts for name, each in found.items()}
    audits = {name: _audit(given, held_out, policy, suite.audits) for name, given in answers.items()}
    applied = {name: run.judge_everywhere(policy, unrelated, given) for name, given in off_topic.items()}
    expected = {name: judge_expectations(given, suite.expectations) for name, given in answers.items()}
    learnt = grams_learnt((r for given in answers.values() for r in given), _completions(run))
    audited = [c for c in policy.clause_ids if c in suite.audits]
    final = Final(
        rates=_rates(verdicts, policy.clause_ids),
        comparisons=_comparisons(verdicts, policy.clause_ids, held_out),
        audit_rates=_rates(audits, audited),
        audit_comparisons=_comparisons(audits, audited, held_out) if audited else (),
        over_application=_rates(applied, policy.clause_ids),
        expectations=_rates(expected, [EXPECTATION]),
        fluency=tuple(measure(given, learnt) for given in answers.values()),
        evasion=(
            *(measure_evasion(given, "held out") for given in answers.values()),
            *(measure_evasion(given, "unrelated") for given in off_topic.values() if given),
        ),
        accounts={name: account(each) for name, each in found.items()},
    )
    write_records(folder / "responses.jsonl", [r for given in answers.values() for r in given])
    write_records(folder / "verdicts.jsonl", [v for given in verdicts.values() for v in given])
    write_records(folder / "audits.jsonl", [v for given in audits.values() for v in given])
    write_records(folder / "unrelated_responses.jsonl", [r for given in off_topic.values() for r in given])
    write_records(folder / "unrelated_verdicts.jsonl", [v for given in applied.values() for v in given])
    write_record(folder / "comparison.json", final)
    _measure_voices(run, folder, answers, verdicts)


def _measure_voices(
    run: Run, folder: Path, answers: dict[str, list[Response]], verdicts: dict[str, list[Verdict]]
) -> None:
    """Pluralism and juries, where the project gives anything for them."""
    from prefect_ratify.flows.jury import hear_jury
    from prefect_ratify.flows.pluralism import measure_pluralism  # which asks the conditions that are named here

    measure_pluralism(run, folder, answers, verdicts)
    hear_jury(run, folder, answers, verdicts)


def _completions(run: Run) -> Iterator[str]:
    """What was learnt, a few rows in memory at a time."""
    rows = stream_rows(run.stage_folder("generate") / SUPERVISED, ["completion"])
    return (message["content"] for row in rows for message in row["completion"])


def _audit(
    responses: Sequence[Response], scenarios: Sequence[Scenario], policy: Policy, audits: dict[str, Check]
) -> list[Verdict]:
    found = judge(responses, scenarios, Yardstick(policy, audits))
    return [v.model_copy(update={"judge": "audit check"}) for v in found if v.clause_id in audits]


def _rates(verdicts: dict[str, list[Verdict]], clause_ids: Sequence[str]) -> tuple[Rate, ...]:
    return tuple(rate for given in verdicts.values() if given for rate in rates(given, clause_ids))


def _comparisons(
    verdicts: dict[str, list[Verdict]], clause_ids: Sequence[str], scenarios: Sequence[Scenario]
) -> tuple[Comparison, ...]:
    others = [name for name in verdicts if name != FINETUNED]
    return tuple(compare_verdicts(verdicts[name], verdicts[FINETUNED], clause_ids, scenarios) for name in others)
