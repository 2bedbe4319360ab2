"""`ratify regress`: any two conditions (or several) on the same suite, compared.

What is known is not asked again; what is compared, and by which rule it is judged, stands in
`flows/conditions.py` and `scenarios/rules.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from prefect_ratify.budget import Budget, Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import InputError
from prefect_ratify.flows.conditions import Conditions
from prefect_ratify.flows.project import Project, Settings, load_project
from prefect_ratify.policy_modules.embedding import open_embedder
from prefect_ratify.policy_modules.judge import judges_named
from prefect_ratify.records import Record, Response, Sampling, Scenario, Verdict, digest
from prefect_ratify.scenarios.comparing import Comparison, compare
from prefect_ratify.scenarios.planning import Plan, plan
from prefect_ratify.scenarios.rules import Rule, RuleFinding, examine, parse_rules
from prefect_ratify.scenarios.running import Account, Condition, Evaluation, account, evaluate
from prefect_ratify.scenarios.yardstick import Yardstick
from prefect_ratify.store import read_records, write_for_people, write_record, write_records

SPLITS = ("develop", "held_out", "all")


@dataclass(frozen=True)
class Measuring:
    """How conditions are measured. `split` is empty for the one that suits what is compared."""

    responder: str = "embedded"
    judge: str = ""
    embedder: str = ""
    samples: int = 1
    seed: int = 0
    sampling: Sampling = Settings().sampling
    split: str = ""
    limit: int = 0
    budget: Budget = field(default_factory=Budget)


class Measured(Record):
    """One condition, and what became of its rows."""

    name: str
    model: str
    account: Account


class Regression(Record):
    """The first condition against each of the others, and what the rules say to each of these comparisons.

    `between` are the comparisons among the others, where there are several. `judge_words` say where
    judges may not decide, and where nobody knows what they are worth.
    """

    split: str
    scenarios: int
    conditions: tuple[Measured, ...]
    comparisons: tuple[Comparison, ...]
    between: tuple[Comparison, ...]
    findings: tuple[tuple[RuleFinding, ...], ...]
    not_run: int
    dollars: float
    judge_words: tuple[str, ...] = ()

    def fails(self, *, strict: bool = False) -> bool:
        """Whether a rule is broken by any comparison (or, if `strict`, not shown to be kept), or rows are missing."""
        failing = ("broken", "not shown") if strict else ("broken",)
        return bool(self.not_run) or any(finding.outcome in failing for found in self.findings for finding in found)


@dataclass(frozen=True)
class Bench:
    """A project's scenarios, conditions, yardstick and store, ready to measure."""

    project: Project
    scenarios: tuple[Scenario, ...]
    conditions: tuple[Condition, ...]
    yardstick: Yardstick
    store: CallStore
    rules: tuple[Rule, ...]
    measuring: Measuring
    split: str

    @property
    def judge_words(self) -> list[str]:
        """What is known of the judges' worth; see `Project.judge_words`."""
        judges = [judge.model.name for judge in self.yardstick.judges]
        return self.project.judge_words(self.project.policy, judges)

    @property
    def folder(self) -> Path:
        """Where what is measured is kept: the same question, the same folder."""
        names = [condition.name for condition in self.conditions]
        asked = digest([names, self.split, self.measuring.samples, self.measuring.seed, self.measuring.responder])
        return self.project.folder / ".ratify" / "regressions" / asked[:12]


def set_up(
    folder: Path, names: Sequence[str], measuring: Measuring, rule: str = "", project: Project | None = None
) -> Bench:
    """Open all that a regression needs; InputError for what is wrong, before anything is asked.

    `project` is what was read of the folder, where the caller did that.
    """
    project = project or load_project(folder)
    conditions = Conditions(project, measuring.responder)
    names = [conditions.resolved(name) for name in names]
    if len(set(names)) < len(names):
        raise InputError(f"a condition is compared with itself ({', '.join(names)})", "name different ones")
    rules = parse_rules(rule or project.stakeholders.regression, project.policy.clause_ids)
    split = measuring.split or _fair_split(names)
    scenarios = project.suite.scenarios if split == "all" else project.suite.split(split)  # type: ignore[arg-type]
    if not scenarios:
        raise InputError(f"no scenario is in the split {split}", f"give --split {' or '.join(SPLITS)}", path=folder)
    store = CallStore(folder / ".ratify" / "calls.sqlite")
    cases = project.cases(open_embedder(measuring.embedder, store))
    return Bench(
        project,
        tuple(scenarios[: measuring.limit or None]),
        tuple(conditions.open(name) for name in names),
        project.yardstick(project.policy, judges_named(measuring.judge, conditions.model), cases),
        store,
        rules,
        measuring,
        split,
    )


def plans(bench: Bench) -> list[Plan]:
    """What `regress` would ask for, condition by condition."""
    measuring = bench.measuring
    return [
        plan(
            bench.scenarios,
            condition,
            bench.yardstick,
            bench.store,
            sampling=measuring.sampling,
            samples=measuring.samples,
            seed=measuring.seed,
        )
        for condition in bench.conditions
    ]


def regress(bench: Bench) -> Regression:
    """Answer and judge the suite under every condition, within the budget, and compare; leaves its files."""
    spending, measuring = Spending(bench.measuring.budget), bench.measuring
    evaluations = [
        evaluate(
            bench.scenarios,
            condition,
            bench.yardstick,
            bench.store,
            sampling=measuring.sampling,
            samples=measuring.samples,
            seed=measuring.seed,
            spending=spending,
        )
        for condition in bench.conditions
    ]
    regression = sum_up(
        bench.conditions,
        evaluations,
        bench.project.policy.clause_ids,
        bench.scenarios,
        bench.rules,
        split=bench.split,
        not_run=spending.refused,
        dollars=spending.dollars,
        judge_words=bench.judge_words,
    )
    write_records(bench.folder / "responses.jsonl", [r for found in evaluations for r in found.responses])
    write_records(bench.folder / "verdicts.jsonl", [v for found in evaluations for v in found.verdicts])
    write_record(bench.folder / "regression.json", regression)
    return regression


def sum_up(
    conditions: Sequence[Condition],
    evaluations: Sequence[Evaluation],
    clause_ids: Sequence[str],
    scenarios: Sequence[Scenario],
    rules: Sequence[Rule],
    *,
    split: str,
    not_run: int,
    dollars: float,
    judge_words: Sequence[str] = (),
) -> Regression:
    """Compare the first condition with each of the others, and those among themselves."""
    subject, *others = (found.verdicts for found in evaluations)
    comparisons = tuple(compare(other, subject, clause_ids, scenarios) for other in others)
    return Regression(
        split=split,
        scenarios=len(scenarios),
        conditions=tuple(
            Measured(name=condition.name, model=condition.model.name, account=account(found))
            for condition, found in zip(conditions, evaluations, strict=True)
        ),
        comparisons=comparisons,
        between=tuple(compare(first, second, clause_ids, scenarios) for first, second in combinations(others, 2)),
        findings=tuple(tuple(examine(rules, comparison)) for comparison in comparisons),
        not_run=not_run,
        dollars=round(dollars, 4),
        judge_words=tuple(judge_words),
    )


def write_pages(bench: Bench, regression: Regression, *, html: Path | None, markdown: Path | None) -> None:
    """Write the page of a regression into its folder, and copies of page and comment where they are wanted."""
    from prefect_ratify.flows.regression_markdown import markdown as as_markdown
    from prefect_ratify.flows.regression_page import page

    responses = read_records(bench.folder / "responses.jsonl", Response)
    verdicts = read_records(bench.folder / "verdicts.jsonl", Verdict)
    text = page(regression, bench.project.policy, bench.scenarios, responses, verdicts)
    path = html or bench.folder / "regression.html"
    write_for_people(path, text)
    if markdown:
        write_for_people(markdown, as_markdown(regression))
    print(f"Page: {path}")


def _fair_split(names: Sequence[str]) -> str:
    """Held-out scenarios where a finetuned model is among them, which was trained on the others.

    Otherwise development scenarios: who works on a wording must not see how it does on the rest.
    """
    return "held_out" if any(name.startswith("finetuned") for name in names) else "develop"
