"""Runs up to the data stage, with a scripted model for every role but the student's.

python -m tests.data_run PROJECT     makes the rows of the project's last run, in this process
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect_ratify.finetune.data_settings import DataSettings
from prefect_ratify.finetune.shards import DONE
from prefect_ratify.flows import generate as stage
from prefect_ratify.flows.project import Models, Settings, load_project
from prefect_ratify.flows.run_folder import Run, latest_run, open_run
from prefect_ratify.store import write_record
from tests.model_server import Messages

NAME = "hosted_vllm/scripted"
CLAUSES = ("sorry", "ask", "short")
POLICY = "# T\n\n## Clauses\n- [sorry] Say sorry.\n- [ask] Ask how long.\n- [short] Stay short.\n"
CHECKS = "clauses:\n  sorry: {check: {any_of: [sorry]}}\n"
TOPICS = ("rent", "wage", "boss", "loan", "divorce", "noise", "ticket", "refund", "visa", "lease", "dog", "roof")


def write_project(folder: Path, scenarios: int, unrelated: int = 0) -> None:
    """A project of so many development scenarios and unrelated requests, and one held-out scenario."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.md").write_text(POLICY)
    lines = [f"- {{id: s{n}, query: '{_query(n)}', split: develop}}" for n in range(scenarios)]
    lines.append(
        "- {id: zebra-case, query: 'A zebra SECRETMARK trampled my greenhouse and all orchids.', split: held_out}"
    )
    others = [f"- {{id: u{n}, query: 'How do I cook dish {n}?', split: develop}}" for n in range(unrelated)]
    text = [CHECKS, "scenarios:", *lines, *(["unrelated:", *others] if others else [])]
    (folder / "scenarios.yaml").write_text("\n".join(text) + "\n")
    (folder / "stakeholders.yaml").write_text("people: []\n")


def begin(folder: Path, *, judge: bool = True, critic: bool = True, **data: Any) -> Run:
    """A run whose refinement left the draft as it was."""
    models = Models(responder=NAME, judge=NAME if judge else "", critic=NAME if critic else "")
    run = open_run(folder, Settings(models=models, data=DataSettings(**data)))
    write_record(run.stage_folder("refine") / "policy.json", run.project.policy)
    return run


def make(run: Run) -> Path:
    """Make its rows; the stage's folder."""
    folder = run.stage_folder("generate.part")
    folder.mkdir(parents=True, exist_ok=True)
    stage.generate(run, folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """All that a stage wrote."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fields(**values: str) -> str:
    """An answer in the form that DSPy's chat adapter reads."""
    return "\n\n".join([*(f"[[ ## {key} ## ]]\n{value}" for key, value in values.items()), "[[ ## completed ## ]]"])


def role_of(messages: Messages) -> str:
    """What a model is asked for: greeting, verdict, critique, revision, or answer (with the policy: prompted)."""
    asked = messages[-1]["content"]
    if asked == "Say yes.":
        return "greeting"
    for mark, role in (("verdict", "verdict"), ("critique", "critique"), ("revision", "revision")):
        if f"with the field `[[ ## {mark} ## ]]`" in asked.replace("starting with", "with"):
            return role
    return "prompted" if messages[0]["role"] == "system" else "answer"


def answering(**by_role: Callable[[str], str]) -> Callable[[Messages], str]:
    """A scripted model: for each role what it says to the last message."""
    usual: dict[str, Callable[[str], str]] = {
        "greeting": lambda asked: "yes",
        "verdict": lambda asked: fields(verdict="upheld", confidence="1", reason="r"),
        "critique": lambda asked: fields(critique="There is no apology."),
        "revision": lambda asked: fields(revision=f"I am sorry about the {topic(asked)}. How long has it been so?"),
        "answer": lambda asked: f"The law on the {topic(asked)} differs from place to place.",
        "prompted": lambda asked: f"I am sorry to hear of the {topic(asked)}. Since when is that?",
    }
    return lambda messages: {**usual, **by_role}[role_of(messages)](messages[-1]["content"])


def topic(asked: str) -> str:
    """What the request in a prompt is about."""
    return next(
        (
            f"{word} {asked.partition(f'my {word} case ')[2].split()[0]}"
            for word in TOPICS
            if f"my {word} case " in asked
        ),
        "dish",
    )


def _query(number: int) -> str:
    return f"What shall I do about my {TOPICS[number % len(TOPICS)]} case {number} now"


def killed(folder: Path, shards: int) -> None:
    """Make rows in a process of its own, and kill it as soon as so many more shards are there.

    The process is a copy of this one, which has imported everything: a kill hits work, not imports.
    """
    done = latest_run(load_project(folder)).stage_folder("generate.part") / DONE
    times = {path: path.stat().st_mtime_ns for path in done.glob("*.json")}
    child = os.fork()
    if child == 0:
        make(latest_run(load_project(folder)))
        os._exit(0)
    while len(list(done.glob("*.json"))) < len(times) + shards:
        time.sleep(0.001)
    time.sleep(random.Random(len(times)).uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it had ended before it was killed"
    assert all(path.stat().st_mtime_ns == then for path, then in times.items()), "a shard was made twice"
    print("killed", flush=True)


if __name__ == "__main__":
    import aiohttp  # noqa: F401 - not in each of the processes anew
    import dspy  # noqa: F401

    project = Path(sys.argv[1])
    for _ in range(int(sys.argv[2])):
        killed(project, shards=1)
    make(latest_run(load_project(project)))
