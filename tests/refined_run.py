"""A refinement over HTTP whose outcome is known, and a process that does it and may be killed.

    python -m tests.refined_run PROJECT URL CALLS     the stages before and the refinement, with that budget (0: none)

Six clauses, each upheld where its own word stands in the system prompt (and now and then without).
The refiner finds the words of five, and turns the sixth round. A marker stands in every held-out scenario.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from prefect_ratify import call_store
from prefect_ratify.flows.project import Models, Settings
from prefect_ratify.flows.prototype import prototype
from prefect_ratify.flows.refine import refine
from prefect_ratify.flows.run_folder import Run, open_run
from prefect_ratify.flows.stages import run_stage
from prefect_ratify.records import Sampling
from tests.model_server import Messages

MARKER = "xyzzy"
WORDS = ("amber", "birch", "cedar", "dune", "ember", "fjord")
DEVELOP, HELD_OUT = 24, 6


def write_project(folder: Path) -> Path:
    """The project, with no checks: a judge model decides."""
    folder.mkdir(parents=True)
    clauses = "".join(f"- [c{n}] Say the word of stone number {n}.\n  - Ada: note {n}\n" for n in range(6))
    (folder / "policy.md").write_text(f"# Words\n\n## Definitions\n- **stone**: a thing\n\n## Clauses\n{clauses}")
    lines = [f'  - {{id: d{n}, query: "Tell me about case {n}", split: develop}}' for n in range(DEVELOP)]
    lines += [f'  - {{id: h{n}, query: "{MARKER} {n}", split: held_out}}' for n in range(HELD_OUT)]
    (folder / "scenarios.yaml").write_text("scenarios:\n" + "\n".join(lines) + "\n")
    (folder / "stakeholders.yaml").write_text("people: []\n")
    rulings = [("d1", "Nothing."), ("h1", f"{MARKER} ruling")]
    (folder / "precedents.jsonl").write_text(
        "".join(
            f'{{"scenario_id": "{s}", "response": "{text}", "clause_id": "c1", "outcome": "violated", "by": "Ada"}}\n'
            for s, text in rulings
        )
    )
    return folder


def answer(messages: Messages) -> str:
    """What the model says as responder, as judge, as refiner, and of intent."""
    asked = str(messages[-1]["content"])
    if "[[ ## asks_for_all ## ]]" in str(messages[0]["content"]):
        return "[[ ## asks_for_all ## ]]\nyes\n[[ ## missing ## ]]\nnothing"
    if "[[ ## verdict ## ]]" in str(messages[0]["content"]):
        return _judged(asked)
    if "[[ ## second_clause ## ]]" in str(messages[0]["content"]):
        return _reworded(asked)
    prompt = str(messages[0]["content"]) if messages[0]["role"] == "system" else ""
    said = [word for word in WORDS if (word in prompt) != (_chance(asked, word) < 0.1)]
    return f"Here you are: {' '.join(said)} ({_chance(prompt, asked):.3f})"


def _judged(asked: str) -> str:
    clause, _, rest = asked.partition("[[ ## precedents ## ]]")
    number = int(re.search(r"stone number (\d)", clause)[1])  # type: ignore[index]
    given = rest.partition("[[ ## response ## ]]")[2].partition("Respond with")[0]
    outcome = "upheld" if WORDS[number] in given else "violated"
    return f"[[ ## verdict ## ]]\n{outcome}\n[[ ## confidence ## ]]\n0.9\n[[ ## reason ## ]]\nthe word"


def _reworded(asked: str) -> str:
    number = int(re.search(r"stone number (\d)", asked)[1])  # type: ignore[index]
    if number == 5:
        return "[[ ## clause ## ]]\nNever say the word of stone number 5, which is fjord."
    return f"[[ ## clause ## ]]\nSay the word of stone number {number}: {WORDS[number]}."


def _chance(*parts: str) -> float:
    return int(hashlib.sha256("|".join(parts).encode()).hexdigest()[:8], 16) / 16**8


def refined(project: Path, url: str, calls: int, **settings_too: Any) -> Run:
    """The run after its refinement."""
    os.environ["OPENAI_API_BASE"], os.environ["OPENAI_API_KEY"] = url, "sk-refined-test"
    model = "openai/scripted"
    usual = {
        "models": Models(responder=model, judge=model, refiner=model),
        "sampling": Sampling(temperature=0.0, max_tokens=60),
        "refine_calls": calls or None,
        "refine_budget": 24 * 40,
        "refine_selection": 24,
    }
    settings = Settings(**{**usual, **settings_too})
    run = open_run(project, settings)
    run_stage(run, "prototype", prototype)
    print("refining", flush=True)
    run_stage(run, "refine", refine)
    return run


if __name__ == "__main__":
    call_store.backoff = lambda attempt: 0.02  # tries come soon after each other
    refined(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
