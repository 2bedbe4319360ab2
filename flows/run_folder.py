"""A run: a project's inputs, the settings, and the folder in which each stage leaves its files.

The same inputs are the same run: its folder is named by their digest, and a stage whose files
are there is not run again. A stage writes into `<stage>.part`, which becomes `<stage>` when it
is whole; a killed stage finds its `.part` again and may go on from it. Stages that people want
done again are put aside into `rounds/<number>-<gate>/`, so that what was decided on stays.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from prefect_ratify.budget import Budget, Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.embedded import file_digest
from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.finetune.dataset import leaked_scenario
from prefect_ratify.finetune.training import TrainingSettings
from prefect_ratify.flows.ledger import begin_ledger
from prefect_ratify.flows.proposed import with_taken
from prefect_ratify.flows.stakeholders import GATES, Stakeholders, load_stakeholders
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.local_models import LocalModel
from prefect_ratify.policy import load_policy
from prefect_ratify.policy_modules.embedding import open_embedder
from prefect_ratify.policy_modules.models import open_model
from prefect_ratify.progress import duration, say
from prefect_ratify.records import (
    Policy,
    Precedent,
    Record,
    Response,
    Sampling,
    Scenario,
    Verdict,
    digest,
)
from prefect_ratify.scenarios.calibration import Calibration, load_calibration
from prefect_ratify.scenarios.judging import JudgeModel, Yardstick, judge
from prefect_ratify.scenarios.planning import Plan, plan
from prefect_ratify.scenarios.precedents import Cases, cases_from, load_precedents
from prefect_ratify.scenarios.rules import parse_rules
from prefect_ratify.scenarios.running import Condition, Evaluation, evaluate
from prefect_ratify.scenarios.running import run as run_suite
from prefect_ratify.scenarios.similarity import Embed
from prefect_ratify.scenarios.suite import Suite, load_suite
from prefect_ratify.store import private_folder, read_json, write_json, write_text

CALIBRATION = "calibration.json"
INPUTS = ("policy.md", "scenarios.yaml", "audit.yaml", "precedents.jsonl", "stakeholders.yaml", CALIBRATION)
LONGEST_LOCK_WAIT = 5  # seconds: a run that was answered may come again before its process has ended
GOING_BACK = "going-back.json"
UNATTENDED = "unattended"
LOCK = "lock"
WAITING = "waiting.json"  # what a gate waits for; see flows/asking.py
LONGEST_COMMENT = 4000  # characters of what people write at a gate
STAGES = ("prototype", "refine", "regress", "generate", "train", "compare")


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
    training: TrainingSettings = TrainingSettings()
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

    def cases(self, embed: Embed | None) -> Cases:
        """People's rulings as a case repository, of held-out scenarios too: see `Cases.only`."""
        return cases_from(self.precedents, (*self.suite.scenarios, *self.suite.unrelated), embed)


@dataclass(frozen=True)
class Run:
    """One run of a project, and the models and stores that its stages use."""

    id: str
    project: Project
    settings: Settings
    folder: Path
    store: CallStore
    models: dict[str, LanguageModel] = field(default_factory=dict)

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
            self.models[role] = open_model(getattr(self.settings.models, role))
        return self.models[role]

    def _judging(self, name: str) -> LanguageModel:
        if f"judge {name}" not in self.models:
            self.models[f"judge {name}"] = open_model(name)
        return self.models[f"judge {name}"]

    def cases(self) -> Cases:
        """The project's case repository, built once, with the run's embedder."""
        return self._cases

    @cached_property
    def _cases(self) -> Cases:
        return self.project.cases(open_embedder(self.settings.models.embedder, self.store))

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


def load_project(folder: Path, problems: list[InputError] | None = None, policy: Policy | None = None) -> Project:
    """Read a project folder; InputError names the file and line of what is wrong.

    With a list of `problems`, as many as can be found are added to it (see `load_suite`). A `policy`
    stands in the place of policy.md.
    """
    if not folder.is_dir():
        raise InputError("there is no such project folder", f"make one: ratify init {folder}", path=folder)
    policy = policy or load_policy(folder / "policy.md")
    suite = load_suite(folder / "scenarios.yaml", policy, problems)
    stakeholders = load_stakeholders(folder / "stakeholders.yaml")
    parse_rules(stakeholders.regression, policy.clause_ids, folder / "stakeholders.yaml")
    precedents, known = load_precedents(folder / "precedents.jsonl"), load_calibration(folder / CALIBRATION)
    return Project(folder, policy, suite, precedents, stakeholders, known or Calibration())


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
    if private_folder().resolve().is_relative_to(folder.resolve()):
        raise InputError("the private folder lies in the project", "set RATIFY_PRIVATE to another place", path=folder)
    run = plan_run(project, settings, fresh=fresh)
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


def _run(project: Project, settings: Settings, folder: Path) -> Run:
    used = with_taken(replace(project, suite=limited(project.suite, settings.scenario_limit)), folder)
    return Run(folder.name, used, settings, folder, CallStore(project.folder / ".ratify" / "calls.sqlite"))


def run_digest(project: Project, settings: Settings) -> str:
    """The digest of all that a run's results depend on."""
    audits = {clause_id: check.source for clause_id, check in project.suite.audits.items()}
    barred = sorted(project.calibration.barred(project.policy))
    return digest([project.policy, project.suite.digest, audits, project.precedents, barred, settings])


@contextmanager
def alone(run: Run) -> Iterator[None]:
    """Hold the run for this process; RatifyError where another one works on it."""
    lock = FileLock(run.folder / LOCK)
    try:
        lock.acquire(timeout=LONGEST_LOCK_WAIT)
    except Timeout:
        raise RatifyError(f"another process works on run {run.id} of {run.project.folder}; wait for it") from None
    try:
        yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process works on the run in this folder, or waits for an answer in it."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def run_stage(run: Run, stage: str, work: Callable[[Run, Path], None]) -> None:
    """Do a stage's work into its folder, unless its files are there."""
    folder = run.stage_folder(stage)
    if folder.exists():
        say(f"{stage}: done before, not run again")
        return
    say(f"{stage} …")
    part = folder.with_name(f"{stage}.part")
    part.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    work(run, part)
    seconds = time.monotonic() - started
    write_json(part / "stage.json", {"stage": stage, "seconds": round(seconds, 1)})
    part.rename(folder)
    say(f"{stage}: done in {duration(seconds)}")


def put_aside(run: Run, gate: str, back_to: str) -> None:
    """Put the stages from `back_to` on aside, to be done again after a request for changes."""
    later = STAGES[STAGES.index(back_to) :]
    write_json(run.folder / GOING_BACK, {"into": f"{run.round}-{gate}", "stages": list(later)})
    finish_putting_aside(run)


def finish_putting_aside(run: Run) -> None:
    """Move what `put_aside` set out to move; after a crash, what is left of it."""
    plan_path = run.folder / GOING_BACK
    if not plan_path.exists():
        return
    plan = read_json(plan_path)
    into = run.folder / "rounds" / plan["into"]
    into.mkdir(parents=True, exist_ok=True)
    for stage in plan["stages"]:
        for name in (stage, f"{stage}.part"):
            if (run.folder / name).exists():
                (run.folder / name).rename(into / name)
    plan_path.unlink()


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
