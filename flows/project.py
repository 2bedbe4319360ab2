"""A project: what people write, read from its folder; and the settings of a run of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from prefect_ratify.budget import Budget, price_of
from prefect_ratify.errors import InputError
from prefect_ratify.finetune.data_settings import DataSettings
from prefect_ratify.finetune.leaks import leaked_scenario
from prefect_ratify.finetune.training_plan import TrainingPlan
from prefect_ratify.flows.stakeholders import Stakeholders, jury_digest_part, load_stakeholders
from prefect_ratify.flows.statement_questions import VOTES, load_statements
from prefect_ratify.flows.training_file import TRAINING, load_training
from prefect_ratify.policy import load_policy
from prefect_ratify.policy_modules.models import is_remote
from prefect_ratify.policy_modules.whole_policy import require_optuna
from prefect_ratify.records import Policy, Precedent, Record, Sampling, Scenario, digest
from prefect_ratify.scenarios.calibration import Calibration, load_calibration
from prefect_ratify.scenarios.pluralism.plan import PLURALISM, PluralismPlan, load_plan
from prefect_ratify.scenarios.precedents import Cases, cases_from, load_precedents
from prefect_ratify.scenarios.rules import parse_rules
from prefect_ratify.scenarios.similarity import Embed
from prefect_ratify.scenarios.suite import Suite, load_suite
from prefect_ratify.scenarios.yardstick import JudgeModel, Yardstick

CALIBRATION = "calibration.json"
INPUTS = (
    *("policy.md", "scenarios.yaml", "audit.yaml", "precedents.jsonl", "stakeholders.yaml"),
    *(CALIBRATION, TRAINING, PLURALISM, VOTES),
)


class Models(Record):
    """A model for each role: `embedded`, a checkpoint folder, or a LiteLLM name.

    Several judges are named with commas between them, and vote. Without one, clauses without
    checks are undecided. Without a critic or refiner, the work is done clause by clause from the
    worked examples, which is what the embedded model can do. The student is trained, so it is
    always local. Without an embedder (`minilm`, or a LiteLLM name) precedents are similar by their
    words.
    """

    responder: str = "embedded"
    judge: str = ""
    critic: str = ""
    refiner: str = ""
    student: str = "embedded"
    embedder: str = ""

    @property
    def judges(self) -> list[str]:
        """The names of the judges."""
        return [name.strip() for name in self.judge.split(",") if name.strip()]


class Settings(Record):
    """All that a run depends on beside the project's files."""

    models: Models = Models()
    seed: int = 0
    sampling: Sampling = Sampling(temperature=0.8, min_p=0.05, max_tokens=144)
    samples: int = 4
    unrelated_samples: int = 1
    refine_budget: int = 960
    refine_selection: int = 16
    refine_with: Literal["clauses", "gepa", "miprov2"] = "clauses"
    refine_calls: int | None = None
    refine_dollars: float | None = None
    preference_samples: int = 2
    preference_prompts: int = 28
    fewest_pairs: int = 8
    data: DataSettings = DataSettings()
    sft_steps: int | None = None
    scenario_limit: int = 0

    @property
    def refine_limit(self) -> Budget:
        """The most that one refinement may take, in calls and dollars."""
        return Budget(calls=self.refine_calls, dollars=self.refine_dollars)


@dataclass(frozen=True)
class Project:
    """A project folder, read."""

    folder: Path
    policy: Policy
    suite: Suite
    precedents: tuple[Precedent, ...]
    stakeholders: Stakeholders
    calibration: Calibration = field(default_factory=Calibration)
    training: TrainingPlan = field(default_factory=TrainingPlan)
    pluralism: PluralismPlan = field(default_factory=PluralismPlan)

    def yardstick(self, policy: Policy, judges: tuple[JudgeModel, ...], cases: Cases | None = None) -> Yardstick:
        """What answers are judged by: precedents, checks and the judge models, where there are any.

        A judge that labels do not show to be better than chance on a clause is barred there. Judges
        are shown rulings on development scenarios alone (of `cases`): their verdicts also choose
        wordings and training rows.
        """
        checks = {clause_id: self.suite.guide(clause_id).check for clause_id in policy.clause_ids}
        shown = (cases or self.cases(None)).only("develop")
        barred = self.calibration.barred(policy)
        return Yardstick(policy, checks, self.precedents, judges=judges, barred=barred, cases=shown)

    def judge_words(self, policy: Policy, judges: Sequence[str]) -> list[str]:
        """Where these judges may not decide, and where nobody knows what they are worth; of what no check decides."""
        clauses = tuple(clause for clause in policy.clauses if self.suite.guide(clause.id).check is None)
        return self.calibration.words(policy.model_copy(update={"clauses": clauses}), judges if clauses else [])

    def cases(self, embed: Embed | None) -> Cases:
        """People's rulings as a case repository, of held-out scenarios too: see `Cases.only`."""
        return cases_from(self.precedents, (*self.suite.scenarios, *self.suite.unrelated), embed)


def load_project(
    folder: Path,
    problems: list[InputError] | None = None,
    policy: Policy | None = None,
    calibration: Calibration | None = None,
) -> Project:
    """Read a project folder; InputError names the file and line of what is wrong.

    With a list of `problems`, as many as can be found are added to it (see `load_suite`). A `policy`
    stands in the place of policy.md, a `calibration` in that of calibration.json.
    """
    if not folder.is_dir():
        raise InputError("there is no such project folder", f"make one: ratify init {folder}", path=folder)
    policy = policy or load_policy(folder / "policy.md")
    suite = load_suite(folder / "scenarios.yaml", policy, problems)
    stakeholders = load_stakeholders(folder / "stakeholders.yaml", policy.clause_ids)
    parse_rules(stakeholders.regression, policy.clause_ids, folder / "stakeholders.yaml")
    precedents = load_precedents(folder / "precedents.jsonl")
    known = calibration or load_calibration(folder / CALIBRATION) or Calibration()
    training = load_training(folder / TRAINING)
    # Where scenarios were left out, the plan would seem to name ones that there are not.
    asked = PluralismPlan() if problems else load_plan(folder / PLURALISM, policy, suite)
    statements, there = load_statements(folder / VOTES)
    pluralism = replace(asked, statements=statements, statements_there=there)
    return Project(folder, policy, suite, precedents, stakeholders, known, training, pluralism)


def limited(suite: Suite, limit: int) -> Suite:
    """The first `limit` scenarios of each split and kind, for a quick try; all for 0."""
    if not limit:
        return suite

    def cut(scenarios: Sequence[Scenario]) -> tuple[Scenario, ...]:
        kept: list[Scenario] = []
        for split in ("develop", "held_out"):
            kept += [s for s in scenarios if s.split == split][:limit]
        return tuple(kept)

    return Suite(cut(suite.scenarios), cut(suite.unrelated), suite.guides, suite.audits, suite.expectations)


def require_ready(project: Project) -> None:
    """InputError where a project cannot be run: an empty split, or held-out text in an example."""
    suite, path = project.suite, project.folder / "scenarios.yaml"
    for split, purpose in (("develop", "train on"), ("held_out", "compare on")):
        if not suite.split(split):  # type: ignore[arg-type]
            raise InputError(
                f"no scenario is in the split {split}: there is nothing to {purpose}",
                f"add one, or write 'split: {split}' to some",
                path=path,
            )
    guides = {key: guide.examples for key, guide in suite.guides.items()}
    examples = [*guides.items(), *((clause.id, clause.examples) for clause in project.policy.clauses)]
    for clause_id, given in examples:
        for example in given:
            leaked = leaked_scenario(f"{example.query} {example.sentence}", suite.split("held_out"))
            if leaked:
                raise InputError(
                    f"a worked example of clause {clause_id!r} holds the held-out scenario {leaked!r}",
                    "write another one",
                    path=path,
                )


def require_usable(settings: Settings, policy: Policy) -> None:
    """InputError where refinement, or making rows, could not be done as the settings want it."""
    models = settings.models
    if settings.refine_with == "miprov2" and not models.refiner:
        raise InputError("MIPROv2 needs a model that writes wordings", "give --refiner MODEL")
    if settings.refine_with == "miprov2":
        require_optuna()
    elif policy.wording:
        raise InputError(
            "policy.md has a section '## Wording': models are told that, and refining clauses would change nothing",
            "take the section out, or give --refine-with miprov2",
        )
    if settings.data.votes and not models.critic:
        raise InputError("votes on pairs need a model that gives feedback", "give --critic MODEL")
    names = [models.responder, models.refiner, *models.judge.split(",")]
    for name in names if settings.refine_dollars is not None else ():
        if is_remote(name.strip()) and price_of(name.strip()) is None:
            raise InputError(f"there is no price for {name.strip()!r}, to keep to dollars by", "give --refine-calls N")


def run_digest(project: Project, settings: Settings) -> str:
    """The digest of all that a run's results depend on."""
    audits = {clause_id: check.source for clause_id, check in project.suite.audits.items()}
    barred = sorted(project.calibration.barred(project.policy))
    told = [project.training, settings, *([project.pluralism.digest] if project.pluralism else [])]
    told += jury_digest_part(project.stakeholders)
    return digest([project.policy, project.suite.digest, audits, project.precedents, barred, *told])
