"""A run: a project's inputs, the settings, and the folder in which each stage leaves its files.

The same inputs are the same run: its folder is named by their digest. What is done in it is in stages.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

from prefect_ratify.budget import Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.embedded import file_digest
from prefect_ratify.errors import InputError
from prefect_ratify.finetune.training_plan import TrainingPlan
from prefect_ratify.flows.ledger import begin_ledger
from prefect_ratify.flows.project import (
    INPUTS,
    Project,
    Settings,
    limited,
    load_project,
    require_ready,
    require_usable,
    run_digest,
)
from prefect_ratify.flows.proposed import with_taken
from prefect_ratify.flows.stakeholders import GATES
from prefect_ratify.flows.training_file import TRAINING, require_trainable
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.local_models import LocalModel
from prefect_ratify.policy_modules.embedding import open_embedder
from prefect_ratify.policy_modules.models import open_model
from prefect_ratify.records import Policy, Response, Scenario, Verdict, digest
from prefect_ratify.scenarios.judging import judge
from prefect_ratify.scenarios.planning import Plan, plan
from prefect_ratify.scenarios.precedents import Cases
from prefect_ratify.scenarios.running import Condition, Evaluation, evaluate
from prefect_ratify.scenarios.running import run as run_suite
from prefect_ratify.scenarios.yardstick import JudgeModel, Yardstick
from prefect_ratify.store import private_folder, read_json, write_json, write_text

UNATTENDED = "unattended"
WAITING = "waiting.json"  # what a gate waits for; see flows/asking.py
LONGEST_COMMENT = 4000  # characters of what people write at a gate


@dataclass(frozen=True)
class Run:
    """One run of a project, and the models and stores that its stages use."""

    id: str
    project: Project
    settings: Settings
    folder: Path
    store: CallStore
    models: dict[str, LanguageModel] = field(default_factory=dict)
    greet: bool = True  # whether a model that is opened is asked for a word, to see that it is there
    task_runner: str = "threads"  # what makes the data stage's shards; see flows/sharding.py
    train_on: str = ""  # the deployment that trains, where it is another; see flows/training_deployment.py

    def stage_folder(self, stage: str) -> Path:
        """Where a finished stage's files are."""
        return self.folder / stage

    @property
    def round(self) -> int:
        """How often people have sent the run back, plus one."""
        return 1 + len(list((self.folder / "rounds").glob("*")))

    @property
    def unattended(self) -> bool:
        """Whether the run's last command asked nobody. Reports look at this; gates never do."""
        return (self.folder / UNATTENDED).exists()

    def seed(self, stage: str) -> int:
        """A stage's seed: another one each time that it is done again."""
        return self.settings.seed + len(list((self.folder / "rounds").glob(f"*/{stage}")))

    def earlier(self, stage: str) -> Path | None:
        """Where the stage's files of the round before are, if it was done before."""
        found = sorted((self.folder / "rounds").glob(f"*/{stage}"), key=lambda path: _number(path.parent))
        return found[-1] if found else None

    def model(self, role: str) -> LanguageModel:
        """The model of a role, opened once."""
        if role not in self.models:
            self.models[role] = open_model(getattr(self.settings.models, role), greet=self.greet)
        return self.models[role]

    def _judging(self, name: str) -> LanguageModel:
        if f"judge {name}" not in self.models:
            self.models[f"judge {name}"] = open_model(name, greet=self.greet)
        return self.models[f"judge {name}"]

    def cases(self) -> Cases:
        """The project's case repository, built once, with the run's embedder."""
        return self._cases

    @cached_property
    def _cases(self) -> Cases:
        return self.project.cases(open_embedder(self.settings.models.embedder, self.store))

    @property
    def training(self) -> TrainingPlan:
        """How the student is trained: as training.yaml says, with at most `sft_steps` of supervised finetuning."""
        plan, steps = self.project.training, self.settings.sft_steps
        return plan if steps is None else plan.model_copy(update={"sft": {**plan.sft, "max_steps": steps}})

    def student(self) -> LocalModel:
        """The model that is trained; InputError where it is not a local one."""
        model = self.model("student")
        if not isinstance(model, LocalModel):
            raise InputError(f"the student {model.name!r} is remote", "give 'embedded' or a checkpoint folder")
        return model

    def answer(
        self, scenarios: Sequence[Scenario], condition: Condition, *, samples: int = 1, seed: int | None = None
    ) -> list[Response]:
        """Answers with the run's sampling, store and seed; see `scenarios.running.run`."""
        seed = self.settings.seed if seed is None else seed
        return run_suite(scenarios, condition, self.store, sampling=self.settings.sampling, samples=samples, seed=seed)

    def evaluate(
        self,
        scenarios: Sequence[Scenario],
        condition: Condition,
        policy: Policy,
        *,
        samples: int = 1,
        spending: Spending | None = None,
    ) -> Evaluation:
        """Answers with the run's sampling, store and seed, and their verdicts; see `scenarios.running.evaluate`."""
        return evaluate(
            scenarios,
            condition,
            self.yardstick(policy),
            self.store,
            sampling=self.settings.sampling,
            samples=samples,
            seed=self.settings.seed,
            spending=spending,
        )

    def plan_at_most(self, scenarios: Sequence[Scenario], condition: Condition, policy: Policy) -> Plan:
        """The most that `evaluate` can take with one sample of each scenario."""
        by, sampling = self.yardstick(policy), self.settings.sampling
        seed = self.settings.seed
        return plan(scenarios, condition, by, self.store, sampling=sampling, samples=1, seed=seed, at_most=True)

    def judge(self, policy: Policy, scenarios: Sequence[Scenario], responses: Sequence[Response]) -> list[Verdict]:
        """Verdicts on answers that are there already."""
        return judge(responses, scenarios, self.yardstick(policy), self.store)

    def judge_everywhere(
        self, policy: Policy, scenarios: Sequence[Scenario], responses: Sequence[Response]
    ) -> list[Verdict]:
        """Verdicts on every clause, also those that a scenario does not touch."""
        return judge(responses, scenarios, replace(self.yardstick(policy), every_clause=True), self.store)

    def yardstick(self, policy: Policy) -> Yardstick:
        """The project's yardstick, with the run's judge models."""
        return self.project.yardstick(policy, self.judges(), self.cases())

    def judges(self) -> tuple[JudgeModel, ...]:
        """The judges, whose models are opened once."""
        from prefect_ratify.policy_modules.judge import judges_named

        return judges_named(self.settings.models.judge, self._judging)


def plan_run(project: Project, settings: Settings, *, fresh: bool = False) -> Run:
    """The run of these inputs: the one that is there, or (with `fresh`) a new one; not begun yet."""
    run_id = run_digest(project, settings)[:12]
    runs = project.folder / ".ratify" / "runs"
    taken = {int(path.name.partition("-")[2] or 1) for path in runs.glob(f"{run_id}*")}
    number = max(taken, default=0) + 1 if fresh or not taken else max(taken)
    return _run(project, settings, runs / (run_id if number == 1 else f"{run_id}-{number}"))


def open_run(folder: Path, settings: Settings, *, fresh: bool = False, flow_run: str = "") -> Run:
    """Begin (or go on with) a run of the project in `folder`: it is the latest one from now on.

    `flow_run` is the id of the Prefect run that does it. One that comes again, after a gate or a
    retry, gets the run that it began, whatever was edited in the project meanwhile. (Another run
    of the same inputs brings a new stakeholders.yaml into force for both: votes are taken anew.)
    """
    begun_by = folder / ".ratify" / "flow_runs" / flow_run
    if flow_run and begun_by.exists():
        return run_in(folder / ".ratify" / "runs" / begun_by.read_text(encoding="utf-8").strip())
    project = load_project(folder)
    require_ready(project)
    require_usable(settings, project.policy)
    if private_folder().resolve().is_relative_to(folder.resolve()):
        raise InputError("the private folder lies in the project", "set RATIFY_PRIVATE to another place", path=folder)
    run = plan_run(project, settings, fresh=fresh)
    require_trainable(project.folder / TRAINING, project.training, lambda: run.student().folder)
    (run.folder / "inputs").mkdir(parents=True, exist_ok=True)
    for name in INPUTS:  # what a later report or trial of this run is about, whatever is edited since
        if (project.folder / name).exists():
            shutil.copy(project.folder / name, run.folder / "inputs" / name)
        else:
            (run.folder / "inputs" / name).unlink(missing_ok=True)
    write_json(run.folder / "settings.json", settings.model_dump(mode="json"))
    begin_ledger(run.folder)
    write_text(run.folder.parent / "latest", run.folder.name + "\n")
    if flow_run:
        write_text(begun_by, run.folder.name + "\n")
    return run


def latest_run(project: Project) -> Run:
    """The run that was started last; InputError where there is none."""
    runs = project.folder / ".ratify" / "runs"
    if not (runs / "latest").exists():
        raise InputError("there is no run yet", f"start one: ratify run {project.folder}", path=project.folder)
    return run_in(runs / (runs / "latest").read_text(encoding="utf-8").strip())


def run_in(folder: Path) -> Run:
    """The run in a folder, with the inputs that it was begun with."""
    settings = Settings.model_validate(read_json(folder / "settings.json"))
    project = load_project(folder / "inputs")
    return _run(replace(project, folder=folder.parent.parent.parent), settings, folder)


def _run(project: Project, settings: Settings, folder: Path) -> Run:
    used = with_taken(replace(project, suite=limited(project.suite, settings.scenario_limit)), folder)
    return Run(folder.name, used, settings, folder, CallStore(project.folder / ".ratify" / "calls.sqlite"))


def evidence_digest(run: Run, gate: str, folder: Path | None = None) -> str:
    """The digest of what a gate is shown: every file that the stages before it wrote.

    `folder` is where they lie, where it is not the run's own: a round that was put aside.
    """
    base = folder or run.folder
    digests = {}
    for stage in GATES[gate]:
        for path in sorted((base / stage).rglob("*")):
            if path.is_file():
                found = path.stat()
                digests[str(path.relative_to(base))] = _digest_as_of(
                    path, found.st_ino, found.st_size, found.st_ctime_ns
                )
    return digest(digests)


@lru_cache(maxsize=10_000)
def _digest_as_of(path: Path, inode: int, size: int, changed_ns: int) -> str:
    """A file's digest, read once in a process: a model is long. Nobody can set the time of change back."""
    return file_digest(path)


def _number(round_folder: Path) -> int:
    return int(round_folder.name.partition("-")[0])
