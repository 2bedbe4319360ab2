"""Scenario files as tests: `pytest my-policy/ --policy my-policy/policy.md`, asked for and judged in one batch.

The plugin (`prefect_ratify/pytest_plugin.py`) knows pytest and little else; what a test comes to is decided here. One
process does the work and leaves it in a file, which the others, and whoever sums up at the end, read. So nothing is
asked for twice, a call that failed is the same failure for all of them, and a limit on calls is one limit.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from prefect_ratify import embedded
from prefect_ratify.budget import Budget, Spending
from prefect_ratify.call_store import NOT_RUN, CallStore
from prefect_ratify.errors import InputError, RatifyError, one_line, readable
from prefect_ratify.flows.conditions import Conditions
from prefect_ratify.flows.pages import percent, signed_points
from prefect_ratify.flows.regressing import SPLITS, Measured, Regression
from prefect_ratify.flows.regression_markdown import markdown
from prefect_ratify.flows.regression_words import RULINGS, arrow, cautions
from prefect_ratify.flows.run_folder import Project, Settings
from prefect_ratify.flows.stakeholders import load_stakeholders
from prefect_ratify.policy import load_policy
from prefect_ratify.policy_modules.judge import conversation, judge_with
from prefect_ratify.progress import say
from prefect_ratify.records import Outcome, Record, Response, Scenario, Verdict
from prefect_ratify.scenarios.comparing import Comparison, Difference, compare
from prefect_ratify.scenarios.judging import CHECK, EXPECTATION, NOBODY, Yardstick, judge_expectations
from prefect_ratify.scenarios.located_yaml import load_yaml
from prefect_ratify.scenarios.planning import plan
from prefect_ratify.scenarios.precedents import load_precedents
from prefect_ratify.scenarios.rules import Rule, examine, parse_rules
from prefect_ratify.scenarios.running import Condition, Evaluation, account, evaluate
from prefect_ratify.scenarios.suite import Suite, load_suite
from prefect_ratify.store import read_record, write_record

SAMPLING = Settings().sampling  # with that of `ratify run` and `ratify regress`, each finds the others' answers
NO_ANSWER, NO_JUDGEMENT = "there is no response", "the judge gave no answer"  # how judging begins such reasons
RESULTS = "results.json"
AGAIN = "run the same command again: what was answered is kept"


@dataclass(frozen=True)
class Wanted:
    """What the options ask for. `split` is empty for the one that suits what is tested."""

    policy: Path
    model: str = embedded.NAME
    judge: str = ""
    against: str = ""
    samples: int = 1
    split: str = ""
    rule: str = ""
    max_calls: int | None = None

    @property
    def conditions(self) -> tuple[str, ...]:
        """What is tested, then what it is held against. A finetuned model is not shown the policy that it keeps."""
        tested = self.model if _is_finetuned(self.model) else "draft"
        return (tested, self.against) if self.against else (tested,)

    @property
    def fair_split(self) -> str:
        """The held-out scenarios where a finetuned model takes part, which was trained on the others."""
        return self.split or ("held_out" if any(map(_is_finetuned, self.conditions)) else "develop")


@dataclass(frozen=True)
class Trial:
    """A scenario file, read, with all that trying it takes. `name` is what pytest calls it.

    A scenario's `clause_ids` are what it is tested on: clauses, and EXPECTATION where it has one.
    """

    name: str
    project: Project
    scenarios: tuple[Scenario, ...]
    lines: Mapping[str, int]
    conditions: tuple[Condition, ...]
    yardstick: Yardstick
    rules: tuple[Rule, ...]
    wanted: Wanted

    def chosen(self, clause_ids: Mapping[str, Sequence[str]]) -> Trial:
        """The same of these scenarios and clauses alone: for what is not tested, nothing is asked."""
        scenarios = [s.model_copy(update={"clause_ids": tuple(clause_ids.get(s.id, ()))}) for s in self.scenarios]
        return replace(self, scenarios=tuple(s for s in scenarios if s.clause_ids))


class Tried(Record):
    """What came of one scenario file; without anything to hold it against, `regression` has no comparison."""

    name: str
    regression: Regression
    responses: tuple[Response, ...]
    verdicts: tuple[Verdict, ...]


class Results(Record):
    """What came of all files, with the calls sent and those known before; or the `failure` that stopped it."""

    tried: tuple[Tried, ...] = ()
    calls: int = 0
    reused: int = 0
    failure: str = ""

    @property
    def problem(self) -> str:
        """What is wrong with the whole, whatever the single tests say; empty where nothing is."""
        broken = [found for tried in self.tried for findings in tried.regression.findings for found in findings]
        if any(found.outcome == "broken" for found in broken):
            return "a regression rule is broken"
        not_run = sum(tried.regression.not_run for tried in self.tried)
        return f"{not_run} calls were not made; {AGAIN}" if not_run else ""


@dataclass(frozen=True)
class Found:
    """What one test comes to, and the text that says why."""

    outcome: Literal["passed", "failed", "skipped", "error"]
    text: str = ""


Answers = Sequence[tuple[Response, Verdict]]
Key = tuple[str, str, str, str]  # a file, a condition, a scenario and a clause


def open_trial(name: str, path: Path, wanted: Wanted, problems: list[InputError]) -> Trial:
    """Read a scenario file and open what trying it takes; what is wrong is raised, or added to `problems`."""
    folder = wanted.policy.parent
    policy, precedents = load_policy(wanted.policy), load_precedents(folder / "precedents.jsonl")
    stakeholders = load_stakeholders(folder / "stakeholders.yaml")
    rules = parse_rules(
        wanted.rule or stakeholders.regression,
        policy.clause_ids,
        None if wanted.rule else folder / "stakeholders.yaml",
    )
    suite = load_suite(path, policy, problems)
    if len(set(wanted.conditions)) < len(wanted.conditions):
        raise InputError(f"{wanted.against!r} is what is tested", "hold it against something else, such as git:main")
    project = Project(folder, policy, suite, precedents, stakeholders)
    conditions = Conditions(project, embedded.NAME if _is_finetuned(wanted.model) else wanted.model)
    judge_model = judge_with(conditions.model(wanted.judge)) if wanted.judge else None
    checks = {clause_id: suite.guide(clause_id).check for clause_id in policy.clause_ids}
    return Trial(
        name,
        project,
        _scenarios(suite, path, wanted, problems),
        _lines(path),
        tuple(conditions.open(condition) for condition in wanted.conditions),
        Yardstick(policy, checks, precedents, judge_model),
        rules if wanted.against else (),
        wanted,
    )


def results(folder: Path, trials: Sequence[Trial], *, patient: bool = False) -> Results:
    """What all files come to: tried by whoever is here first, and read from `folder` by the others.

    The lock is the project's, so that two sessions at once do not pay for the same calls either.
    With `patient`, nothing is said of waiting for it.
    """
    lock = FileLock(trials[0].project.folder / ".ratify" / "pytest.lock")
    Path(lock.lock_file).parent.mkdir(exist_ok=True)
    with _acquired(lock, patient):
        if not (folder / RESULTS).exists():
            write_record(folder / RESULTS, _try_all(trials))
        return read_record(folder / RESULTS, Results)


def known_results(folder: Path) -> Results | None:
    """What a session came to, if it came so far."""
    return read_record(folder / RESULTS, Results) if (folder / RESULTS).exists() else None


def by_test(found: Results) -> Mapping[Key, Answers]:
    """The answers and verdicts of each test, sample by sample."""
    tests: dict[Key, list[tuple[Response, Verdict]]] = {}
    for tried in found.tried:
        responses = {(r.condition, r.scenario_id, r.sample): r for r in tried.responses}
        for v in tried.verdicts:
            response = responses[v.condition, v.scenario_id, v.sample]
            tests.setdefault((tried.name, v.condition, v.scenario_id, v.clause_id), []).append((response, v))
    return tests


def outcome_of(trial: Trial, scenario: Scenario, clause_id: str, tests: Mapping[Key, Answers]) -> Found:
    """What a test comes to: alone, or held against the other condition."""
    sides = [tests[trial.name, condition.name, scenario.id, clause_id] for condition in trial.conditions]
    missing = _missing([answer for side in sides for answer in side], trial.wanted)
    if missing and (len(sides) == 2 or not _with_outcome(sides[0], "violated")):
        return Found("error", f"[{clause_id}] {missing}")
    texts = {clause.id: clause.text for clause in trial.project.policy.clauses}
    told = _field("clause", texts.get(clause_id, "what this scenario alone expects, by its own check"))
    told += _field("query", scenario.query if len(scenario.messages) == 1 else conversation(scenario))
    if len(sides) == 2:
        return _held_against(sides[0], sides[1], clause_id, told)
    return _alone(sides[0], clause_id, told)


def as_markdown(found: Results) -> str:
    """All comparisons, for a comment on a pull request."""
    compared = [tried for tried in found.tried if tried.regression.comparisons]
    several = len(compared) > 1
    return "\n".join((f"# {tried.name}\n\n" if several else "") + markdown(tried.regression) for tried in compared)


def summary(found: Results) -> Iterator[str]:
    """Lines for the end of the session: what became of every row, what changed, what the rules say, what was paid."""
    for tried in found.tried:
        if len(found.tried) > 1:
            yield f"{tried.name}:"
        for measured in tried.regression.conditions:
            counts = (measured.account.responses, measured.account.verdicts)
            rows, verdicts = (", ".join(f"{n} {kind}" for kind, n in sorted(count.items())) for count in counts)
            yield f"{measured.name} (by {measured.model}): answers: {rows or 'none'}; verdicts: {verdicts or 'none'}"
        for comparison in tried.regression.comparisons:
            yield from _table(comparison)
            yield from (f"! {sentence}" for sentence in cautions(comparison))
        for finding in (finding for findings in tried.regression.findings for finding in findings):
            yield f"{RULINGS[finding.outcome]} rule {finding.outcome}: {finding.rule}: {finding.reason}"
    yield f"calls: {found.calls} made, {found.reused} answers and judgements reused"


def _acquired(lock: FileLock, patient: bool) -> AbstractContextManager[object]:
    try:
        return lock.acquire(timeout=-1 if patient else 0.1)
    except Timeout:
        say("  waiting for another session on this policy, which may be asking the same")
        return lock.acquire()


def _try_all(trials: Sequence[Trial]) -> Results:
    spending = Spending(Budget(calls=trials[0].wanted.max_calls))
    store = CallStore(trials[0].project.folder / ".ratify" / "calls.sqlite")
    tried, reused = [], 0
    try:
        for trial in trials:
            one, known = _try(trial, store, spending)
            tried.append(one)
            reused += known
    except RatifyError as error:
        return Results(failure=str(error))
    return Results(tried=tuple(tried), calls=spending.calls, reused=reused)


def _try(trial: Trial, store: CallStore, spending: Spending) -> tuple[Tried, int]:
    """Answer and judge under each condition, and compare; also how much of it was known."""
    expecting = {s.id for s in trial.scenarios if EXPECTATION in s.clause_ids}
    expectations = {key: check for key, check in trial.project.suite.expectations.items() if key in expecting}
    asked = {"sampling": SAMPLING, "samples": trial.wanted.samples}
    before, reused = (spending.refused, spending.dollars), 0
    evaluations: list[Evaluation] = []
    for condition in trial.conditions:
        planned = plan(trial.scenarios, condition, trial.yardstick, store, **asked)  # type: ignore[arg-type]
        reused += planned.answers_known + planned.judgements_known
        found = evaluate(trial.scenarios, condition, trial.yardstick, store, spending=spending, **asked)  # type: ignore[arg-type]
        evaluations.append(replace(found, verdicts=found.verdicts + judge_expectations(found.responses, expectations)))
    comparisons = _comparisons(trial, evaluations)
    regression = Regression(
        split=trial.wanted.fair_split,
        scenarios=len(trial.scenarios),
        conditions=tuple(
            Measured(name=condition.name, model=condition.model.name, account=account(found))
            for condition, found in zip(trial.conditions, evaluations, strict=True)
        ),
        comparisons=comparisons,
        between=(),
        findings=tuple(tuple(examine(trial.rules, comparison)) for comparison in comparisons),
        not_run=spending.refused - before[0],
        dollars=round(spending.dollars - before[1], 4),
    )
    responses = tuple(response for found in evaluations for response in found.responses)
    verdicts = tuple(verdict for found in evaluations for verdict in found.verdicts)
    return Tried(name=trial.name, regression=regression, responses=responses, verdicts=verdicts), reused


def _comparisons(trial: Trial, evaluations: Sequence[Evaluation]) -> tuple[Comparison, ...]:
    """The tested condition against the other; none where no clause was chosen, only what scenarios expect."""
    clause_ids = trial.project.policy.clause_ids
    chosen = {clause_id for scenario in trial.scenarios for clause_id in scenario.clause_ids}
    if len(evaluations) < 2 or not chosen.intersection(clause_ids):
        return ()
    subject, other = evaluations
    return (compare(other.verdicts, subject.verdicts, clause_ids, trial.scenarios),)


def _scenarios(suite: Suite, path: Path, wanted: Wanted, problems: Sequence[InputError]) -> tuple[Scenario, ...]:
    """The scenarios of the split, each with all that it is tested on."""
    split = wanted.fair_split
    chosen = suite.scenarios if split == "all" else suite.split(split)  # type: ignore[arg-type]
    if not chosen and not problems:
        raise InputError(f"no scenario is in the split {split}", f"give --split {' or '.join(SPLITS)}", path=path)
    return tuple(_with_expectation(scenario, suite) for scenario in chosen)


def _with_expectation(scenario: Scenario, suite: Suite) -> Scenario:
    if scenario.id not in suite.expectations or EXPECTATION in scenario.clause_ids:
        return scenario
    return scenario.model_copy(update={"clause_ids": (*scenario.clause_ids, EXPECTATION)})


def _lines(path: Path) -> dict[str, int]:
    """Where each scenario stands in its file."""
    nodes = [node for node in load_yaml(path).mapping()["scenarios"].sequence() if "id" in node.mapping()]
    return {str(node.mapping()["id"].value): node.line for node in nodes}


def _is_finetuned(name: str) -> bool:
    return name.partition("@")[0] == "finetuned"


def _missing(answers: Answers, wanted: Wanted) -> str:
    """What was not answered, by a model or a judge: an error, which is no finding; empty where nothing is missing."""
    for response, verdict in answers:
        unanswered = response.error or verdict.reason.startswith(NO_JUDGEMENT)
        if unanswered and NOT_RUN in (response.error or verdict.reason):
            why = (
                "the endpoint is down" if wanted.max_calls is None else f"--max-calls {wanted.max_calls} allows no more"
            )
            return f"was not asked for under {response.condition}: {why}; {AGAIN}"
        if unanswered:
            said = f"{NO_ANSWER} ({response.error})" if response.error else one_line(verdict.reason)
            return f"{said} under {response.condition}, by {response.model}; {AGAIN}"
    return ""


def _alone(answers: Answers, clause_id: str, told: str) -> Found:
    violations, undecided = _with_outcome(answers, "violated"), _with_outcome(answers, "undecided")
    of_all = f" of {len(answers)} answers"
    if violations:
        response, verdict = violations[0]
        count = f"{len(violations)}{of_all} violate it; of one, " if len(answers) > 1 else ""
        return Found("failed", f"[{clause_id}] {count}{_said(verdict)}\n{told}{_answer('response', response)}")
    if undecided:
        count = f"{len(undecided)}{of_all}: " if len(answers) > 1 else ""
        return Found("skipped", f"[{clause_id}] {count}{_said(undecided[0][1])}")
    if all(verdict.outcome == "not applicable" for _, verdict in answers):
        return Found("skipped", f"[{clause_id}] {_said(answers[0][1])}")
    return Found("passed")


def _held_against(now: Answers, before: Answers, clause_id: str, told: str) -> Found:
    share, share_before = _share(now), _share(before)
    for side, of_side in ((now, share), (before, share_before)):
        if of_side is None:
            response, verdict = side[0]
            return Found("skipped", f"[{clause_id}] under {response.condition}: {_said(verdict)}")
    assert share is not None and share_before is not None
    if share >= share_before:
        return Found("passed")
    (worse, why), (better, why_better) = _with_outcome(now, "violated")[0], _with_outcome(before, "upheld")[0]
    counts = " after ".join(f"{len(_with_outcome(side, 'upheld'))} of {len(side)}" for side in (now, before))
    return Found(
        "failed",
        f"[{clause_id}] got worse than under {better.condition}: upheld by {counts} answers\n{told}"
        f"{_answer('response', worse)}{_field('', _said(why))}"
        f"{_answer('before', better)}{_field('', _said(why_better))}",
    )


def _share(answers: Answers) -> float | None:
    """The share of upheld among decided answers, as `compare` has it; None where none is decided."""
    outcomes = [verdict.outcome for _, verdict in answers]
    decided = outcomes.count("upheld") + outcomes.count("violated")
    return outcomes.count("upheld") / decided if decided else None


def _with_outcome(answers: Answers, outcome: Outcome) -> Answers:
    return [answer for answer in answers if answer[1].outcome == outcome]


def _said(verdict: Verdict) -> str:
    """The outcome, who says so, and why."""
    reason = one_line(verdict.reason)
    if verdict.judge == NOBODY:
        return f"{verdict.outcome}: {reason} (give --judge MODEL, or the clause a check)"
    by = "its check" if verdict.judge == CHECK else verdict.judge
    return f"{verdict.outcome}, says {one_line(by)}: {reason}"


def _answer(label: str, response: Response) -> str:
    cut = "" if response.finished else f"\n[cut off at {SAMPLING.max_tokens} tokens]"
    return _field(label, f"({response.condition}, by {response.model})\n{response.text or '[empty]'}{cut}")


def _field(label: str, text: str) -> str:
    """Foreign text beside its label; nothing in it steers a terminal, or passes for a line of this tool."""
    return f"  {label:<9} " + textwrap.indent(readable(text), " " * 12).lstrip(" ") + "\n"


def _table(comparison: Comparison) -> Iterator[str]:
    yield f"share of clauses upheld, {comparison.first} → {comparison.second}, difference in points:"
    rates = {(rate.condition, rate.clause_id): rate.interval.value for rate in comparison.rates}
    width = max(len(difference.clause_id) for difference in comparison.differences)
    for d in comparison.differences:
        first, second = rates[comparison.first, d.clause_id], rates[comparison.second, d.clause_id]
        if first is not None or second is not None:
            yield f"  {d.clause_id:<{width}}  {percent(first)} → {percent(second)}  {_moved(d)}"


def _moved(d: Difference) -> str:
    value, low, high = d.interval.value, d.interval.low, d.interval.high
    if value is None or low is None or high is None:
        return "nothing decided on both sides"
    return f"{signed_points(value)} [{signed_points(low)}, {signed_points(high)}]  {arrow(d)} {d.finding}"
