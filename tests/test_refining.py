"""The refine stage over HTTP: within its budget to the call, resumed after kills, blind to held-out scenarios."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_ratify.clause_changes import ClauseChange, Refusal
from prefect_ratify.flows.evidence import details, summary
from prefect_ratify.flows.project import Models, load_project
from prefect_ratify.flows.refine import Refinement, refined_policy
from prefect_ratify.flows.regress import regress
from prefect_ratify.flows.run_folder import Run, latest_run
from prefect_ratify.flows.stages import run_stage
from prefect_ratify.policy import load_policy
from prefect_ratify.policy_modules.clause_search import ATTEMPTS
from prefect_ratify.store import read_record, read_records
from tests.model_server import Fault, Messages, ModelServer, model_server
from tests.refined_run import DEVELOP, HELD_OUT, MARKER, WORDS, answer, refined, write_project

pytestmark = pytest.mark.model

ALL = DEVELOP + HELD_OUT
BEFORE = 2 * ALL * 7  # calls of the prototype stage: base and draft, an answer and six judgements each
GREETINGS = 3  # a word to each role's model


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server(answer) as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, int, list[str]]:
    """A run without a limit, how many calls its refinement made, and all that it sent."""
    begun = len(server.requests)
    run = refined(write_project(tmp_path_factory.mktemp("free") / "p"), server.url, 0)
    sent = [str(request) for request in server.requests[begun:]]
    made = [text for text in sent if "Say yes." not in text]
    return run, len(made) - BEFORE, sent


def outcome(run: Run) -> Refinement:
    return read_record(run.stage_folder("refine") / "refinement.json", Refinement)


def test_it_finds_the_words_and_says_how(undisturbed: tuple[Run, int, list[str]]) -> None:
    run, calls, _ = undisturbed
    policy, found = refined_policy(run), outcome(run)
    assert not found.draft_stands and found.paid.calls == calls
    assert [WORDS[n] in policy.clause(f"c{n}").text for n in range(6)] == [True] * 5 + [False]
    changes = read_records(run.stage_folder("refine") / "lineage.jsonl", ClauseChange)
    assert [change.clause_id for change in changes] and {c.clause_id for c in changes} == {f"c{n}" for n in range(5)}
    refused = read_records(run.stage_folder("refine") / "refusals.jsonl", Refusal)
    assert {(r.clause_id, r.why) for r in refused} == {("c5", "it turns “must” into “must not”")}
    assert found.refused == len(refused) == ATTEMPTS
    assert all(change.failures and change.calls and change.proposer == "refiner model" for change in changes)
    assert all(change.after[change.clause_id] > change.before[change.clause_id] for change in changes)
    assert found.development.total().finding == "better"


def test_nothing_that_refinement_sends_holds_a_held_out_scenario(undisturbed: tuple[Run, int, list[str]]) -> None:
    _, calls, sent = undisturbed
    refining = sent[-calls:]
    assert sum(MARKER in text for text in sent) == 2 * HELD_OUT * 7, "the prototype stage answers them, and only it"
    assert not any(MARKER in text for text in refining)
    assert any("what people ruled" in text and "Ada" in text for text in refining), "the other ruling is shown"
    assert any("note 1" in text for text in refining) and any("stone: a thing" in text for text in refining)


@pytest.mark.parametrize("calls", [1, 353, 354, 700])
def test_a_budget_is_never_exceeded_by_one_call(server: ModelServer, tmp_path: Path, calls: int) -> None:
    begun = len(server.requests)
    run = refined(write_project(tmp_path / "p"), server.url, calls)
    made = sum("Say yes." not in str(request) for request in server.requests[begun:]) - BEFORE
    assert made == outcome(run).paid.calls <= calls
    assert outcome(run).budget_calls == calls
    # proposals (3 x 6), a trial (24 x 7) and trying the best on all (24 x 7) have to fit; the rest may propose clauses
    assert (made >= 168) == (calls >= 354)
    if calls < 354:
        assert outcome(run).draft_stands and refined_policy(run) == run.project.policy
        assert outcome(run).why == "no change did better; the budget had no room to try anything"


@pytest.mark.parametrize("calls", [171, 300, 420, 600, 800])
def test_what_was_tried_in_part_replaces_nothing(server: ModelServer, tmp_path: Path, calls: int) -> None:
    begun = len(server.requests)
    run = refined(write_project(tmp_path / "p"), server.url, calls, refine_selection=8)
    made = sum("Say yes." not in str(request) for request in server.requests[begun:]) - BEFORE
    found = outcome(run)
    assert made <= calls
    assert found.draft_stands or found.development.count("undecided") == 0
    assert not found.draft_stands or calls < 600, "a budget of some trials finds something"


def test_tries_that_fail_or_are_killed_count_too(tmp_path: Path) -> None:
    chance, limit, made = random.Random(3), 600, 0

    def failing(messages: Messages) -> str:
        if "Say yes." not in str(messages) and chance.random() < 0.2 and limited:
            raise Fault(500)
        return answer(messages)

    limited = False
    with model_server(failing) as server:
        project = write_project(tmp_path / "p")
        for _ in range(4):
            process = begun(project, server.url, limit)
            with process:
                limited = True
                before = len(server.requests)
                time.sleep(chance.uniform(0.2, 0.6))
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
            made += sum("Say yes." not in str(request) for request in server.requests[before:])
        with begun(project, server.url, limit) as process:
            before = len(server.requests)
            process.wait(100)
        made += sum("Say yes." not in str(request) for request in server.requests[before:])
    assert process.returncode == 0 and 100 < made <= limit


def begun(project: Path, url: str, calls: int) -> subprocess.Popen[str]:
    """A process that has begun to refine."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.refined_run", str(project), url, str(calls)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "refining\n"
    return process


def test_killed_again_and_again_it_comes_to_the_same_at_the_same_cost(
    server: ModelServer, undisturbed: tuple[Run, int, list[str]], tmp_path: Path
) -> None:
    free, calls, _ = undisturbed
    project, chance, kills = write_project(tmp_path / "p"), random.Random(7), 0
    sent_before = len(server.requests)
    for _ in range(12):
        with begun(project, server.url, 0) as process:
            if kills < 5:
                time.sleep(chance.uniform(0.05, 0.8))
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
            process.wait(60)
        if process.returncode == 0:
            break
    run = latest_run(load_project(project))
    assert kills >= 2 and process.returncode == 0
    assert outcome(run).paid == outcome(free).paid and outcome(run).paid.calls == calls
    for name in ("policy.json", "lineage.jsonl", "refusals.jsonl", "refinement.json"):
        stages = (run.stage_folder("refine"), free.stage_folder("refine"))
        assert len({(stage / name).read_text() for stage in stages}) == 1, name
    made = sum("Say yes." not in str(request) for request in server.requests[sent_before:]) - BEFORE
    assert calls <= made <= calls + 64 * 2 * kills, "only what was in flight at a kill is asked again"


def test_the_policy_gate_shows_each_clause_from_draft_to_final(undisturbed: tuple[Run, int, list[str]]) -> None:
    run, calls, _ = undisturbed
    if not run.stage_folder("regress").exists():
        run_stage(run, "regress", regress)
    shown, more = summary(run, "policy"), details(run, "policy")
    assert "development (chosen by)" in shown and "held-out" in shown and f"took {calls} calls" in shown
    assert MARKER not in shown + more, "who tunes a wording must not read the held-out scenarios"
    for n in range(5):
        assert f"### c{n}: from draft to final" in more and f"{WORDS[n]}.**" in more
    assert "### c5" not in more and "it turns “must” into “must not”" in more
    assert "The judge openai/scripted was not calibrated" in shown


def test_a_policy_may_be_reworded_as_a_whole(tmp_path: Path) -> None:
    whole = "Say in every answer that " + ", that ".join(
        f"the word of stone number {n} is {WORDS[n]}" for n in range(6)
    )

    def by_mipro(messages: Messages) -> str:
        if "proposed_instruction" in str(messages):
            return f"[[ ## proposed_instruction ## ]]\n{whole}"
        return answer(messages)

    with model_server(by_mipro) as server:
        run = refined(write_project(tmp_path / "p"), server.url, 0, refine_with="miprov2", refine_budget=24 * 6)
        run_stage(run, "regress", regress)
    policy = refined_policy(run)
    assert policy.wording == whole and policy.clauses == run.project.policy.clauses
    assert load_policy(run.stage_folder("refine") / "policy.md").wording == whole
    (change,) = read_records(run.stage_folder("refine") / "lineage.jsonl", ClauseChange)
    assert change.proposer == "MIPROv2" and outcome(run).development.total().finding == "better"
    assert "MIPROv2 reworded the policy as a whole" in details(run, "policy")


def test_where_nothing_can_be_proposed_that_is_said(server: ModelServer, tmp_path: Path) -> None:
    models = Models(responder="openai/scripted", judge="openai/scripted")
    run = refined(write_project(tmp_path / "p"), server.url, 0, models=models)
    assert outcome(run).why == "no change did better; nothing new was proposed"
