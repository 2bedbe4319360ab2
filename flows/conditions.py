"""What can be compared, by name: a policy's version, a model, a finetuned model, a prompting style.

base, draft, refined, examples, finetuned   as the path has them; refined and finetuned of the last run
refined@RUN, finetuned@RUN                  the same of another run (the beginning of its id will do)
old/policy.md                               another version of the policy, as prompt
git:main                                    policy.md as it is in a revision of the project's repository
openai/gpt-4o, embedded, ./checkpoint       the policy of today as prompt, on another model
… on MODEL                                  any of the prompts above, on another model
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from prefect_ratify import embedded
from prefect_ratify.errors import InputError
from prefect_ratify.flows.project import Project
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run, latest_run, run_in
from prefect_ratify.flows.train import tuned_model
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy import load_policy, parse_policy
from prefect_ratify.policy_modules.models import open_model
from prefect_ratify.policy_modules.responder import preamble, with_examples
from prefect_ratify.records import Message, Policy
from prefect_ratify.scenarios.running import Condition

STYLES = ("base", "draft", "refined", "examples", "finetuned")
HINT = (
    f"write one of {', '.join(STYLES)} (refined@RUN, finetuned@RUN), a run, a policy file, git:REVISION, or a model; "
    "'… on MODEL' asks another model"
)


@dataclass(frozen=True)
class Conditions:
    """Names to conditions, for one project and the model that follows prompts there."""

    project: Project
    responder: str = embedded.NAME
    models: dict[str, LanguageModel] = field(default_factory=dict)

    def resolved(self, name: str) -> str:
        """The name, or where it is a run's, that of what the run came to."""
        if not name or not self._runs(name):
            return name
        style = "finetuned" if self._run(name).stage_folder("train").exists() else "refined"
        return f"{style}@{name}"

    def open(self, name: str) -> Condition:
        """The condition of that name; InputError where there is none."""
        prompt, _, model_name = name.partition(" on ")
        style, _, run_id = prompt.strip().partition("@")
        if style == "finetuned":
            if model_name:
                raise InputError(f"{name!r} names two models", HINT)
            return Condition(name, self._finetuned(run_id))
        if not model_name and self._is_model(prompt):
            return Condition(name, self.model(prompt), preamble(self.project.policy))
        before = self._preamble(prompt.strip(), style, run_id)
        return Condition(name, self.model(model_name.strip() or self.responder), before)

    def model(self, name: str) -> LanguageModel:
        """The model of that name, opened once; not asked for a word, since nothing may be asked twice."""
        if name not in self.models:
            self.models[name] = open_model(name, greet=False)
        return self.models[name]

    def _preamble(self, prompt: str, style: str, run_id: str) -> tuple[Message, ...]:
        if prompt == "base":
            return ()
        if style == "draft":
            return preamble(self._run(run_id).project.policy if run_id else self.project.policy)
        if style == "refined":
            return preamble(self._refined(run_id))
        if style == "examples":
            examples = {key: guide.examples for key, guide in self.project.suite.guides.items()}
            return preamble(with_examples(self._refined(run_id), examples))
        if prompt.startswith("git:"):
            return preamble(self._at_revision(prompt.removeprefix("git:")))
        if prompt.endswith(".md"):
            return preamble(load_policy(Path(prompt)))
        raise InputError(f"there is nothing to compare of the name {prompt!r}", HINT)

    def _is_model(self, name: str) -> bool:
        if name in STYLES or name.startswith("git:") or name.endswith(".md") or "@" in name.partition("/")[0]:
            return False
        return name == embedded.NAME or "/" in name or Path(name).is_dir()

    def _refined(self, run_id: str) -> Policy:
        run = self._run(run_id)
        if not run.stage_folder("refine").exists():
            raise _unfinished(run, "refined policy")
        return refined_policy(run)

    def _finetuned(self, run_id: str) -> LanguageModel:
        run = self._run(run_id)
        if not run.stage_folder("train").exists():
            raise _unfinished(run, "finetuned model")
        return tuned_model(run)

    def _run(self, run_id: str) -> Run:
        if not run_id:
            return latest_run(self.project)
        found = self._runs(run_id)
        exact = [path for path in found if path.name == run_id]
        if len(exact or found) != 1:
            there = ", ".join(path.name for path in self._runs("")) or "none"
            raise InputError(f"{len(found)} runs have an id that begins with {run_id!r}", f"there are: {there}")
        return run_in((exact or found)[0])

    def _runs(self, beginning: str) -> list[Path]:
        folders = [path.parent for path in (self.project.folder / ".ratify" / "runs").glob("*/settings.json")]
        return sorted(folder for folder in folders if folder.name.startswith(beginning))

    def _at_revision(self, revision: str) -> Policy:
        folder = self.project.folder.resolve()
        shown = subprocess.run(
            ["git", "-C", str(folder), "show", "--end-of-options", f"{revision}:./policy.md"],
            capture_output=True,
            text=True,
        )
        if shown.returncode:
            raise InputError(f"git knows no policy.md in revision {revision!r}", shown.stderr.strip(), path=folder)
        return parse_policy(shown.stdout, f"policy.md in {revision}")


def _unfinished(run: Run, what: str) -> InputError:
    return InputError(f"run {run.id} has no {what} yet", f"go on with it: ratify run {run.project.folder}")
