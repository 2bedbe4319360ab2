"""Scenario files as tests: `pytest my-policy/ --policy my-policy/policy.md`, asked for and judged in one batch.

The plugin (`prefect_ratify/pytest_plugin.py`) knows pytest and little else; what a test comes to is decided here. One
process does the work and leaves it in a file, which the others, and whoever sums up at the end, read. So nothing is
asked for twice, a call that failed is the same failure for all of them, and a limit on calls is one limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from prefect_ratify import embedded
from prefect_ratify.budget import Budget, Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.flows.conditions import Conditions
from prefect_ratify.flows.pages import percent, signed_points
from prefect_ratify.flows.project import CALIBRATION, Project
from prefect_ratify.flows.regressing import SPLITS, Regression, sum_up
from prefect_ratify.flows.regression_markdown import markdown
from prefect_ratify.flows.regression_words import RULINGS, arrow, cautions
from prefect_ratify.flows.stakeholders import load_stakeholders
from prefect_ratify.flows.trials import AGAIN, SAMPLING, Answers, Key, Trial, Wanted, is_finetuned
from prefect_ratify.policy import load_policy
from prefect_ratify.policy_modules.judge import judges_named
from prefect_ratify.progress import say
from prefect_ratify.records import Record, Response, Scenario, Verdict
from prefect_ratify.scenarios.calibration import Calibration, load_calibration
from prefect_ratify.scenarios.comparing import Comparison, Difference
from prefect_ratify.scenarios.located_yaml import load_yaml
from prefect_ratify.scenarios.planning import plan
from prefect_ratify.scenarios.precedents import load_precedents
from prefect_ratify.scenarios.rules import parse_rules
from prefect_ratify.scenarios.running import Evaluation, evaluate
from prefect_ratify.scenarios.suite import Suite, load_suite
from prefect_ratify.scenarios.yardstick import EXPECTATION, judge_expectations
from prefect_ratify.store import read_record, write_record

RESULTS = "results.json"


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
    known = load_calibration(folder / CALIBRATION) or Calibration()
    project = Project(folder, policy, suite, precedents, stakeholders, known)
    conditions = Conditions(project, embedded.NAME if is_finetuned(wanted.model) else wanted.model)
    return Trial(
        name,
        project,
        _scenarios(suite, path, wanted, problems),
        _lines(path),
        tuple(conditions.open(condition) for condition in wanted.conditions),
        project.yardstick(policy, judges_named(wanted.judge, conditions.model)),
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
        yield from (f"! {sentence}" for sentence in tried.regression.judge_words)
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
    clause_ids = trial.project.policy.clause_ids
    chosen = {clause_id for scenario in trial.scenarios for clause_id in scenario.clause_ids}
    compared = len(evaluations) if chosen.intersection(clause_ids) else 1  # what scenarios expect is no clause
    regression = sum_up(
        trial.conditions[:compared],
        evaluations[:compared],
        clause_ids,
        trial.scenarios,
        trial.rules,
        split=trial.wanted.fair_split,
        not_run=spending.refused - before[0],
        dollars=spending.dollars - before[1],
        judge_words=trial.project.judge_words(
            trial.project.policy, [judge.model.name for judge in trial.yardstick.judges]
        ),
    )
    responses = tuple(response for found in evaluations for response in found.responses)
    verdicts = tuple(verdict for found in evaluations for verdict in found.verdicts)
    return Tried(name=trial.name, regression=regression, responses=responses, verdicts=verdicts), reused


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
