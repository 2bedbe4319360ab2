"""Gates on a real Prefect server: nothing opens them but what stakeholders.yaml asks for.

The runs are a deployment's, suspended at each gate; this process does a worker's part, since a
process for each run would take minutes. `test_serving.py` has real workers, which hold no process for a
run that waits, and `test_browser.py` a browser.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from prefect_ratify.command_line import main
from prefect_ratify.errors import RatifyError
from prefect_ratify.finetune.dataset import SUPERVISED, stream_rows
from prefect_ratify.flows.answering import answer_gate, waiting_gate, waiting_gates
from prefect_ratify.flows.ledger import read_ledger
from prefect_ratify.flows.project import Settings, load_project
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import WAITING, latest_run, open_run, run_in
from prefect_ratify.flows.stages import STAGES
from prefect_ratify.policy_modules.proposing import ProposedClause
from prefect_ratify.store import read_records, write_json
from tests.gate_server import Case, Phone, Server, until
from tests.model_server import Messages, model_server

pytestmark = pytest.mark.model
PEOPLE = "people:\n  - {name: Ada, role: legal}\n  - {name: Ben, role: product}\n  - {name: Cy}\n"
QUICK = {"scenario_limit": 2, "samples": 1}
RECURRING = "clauses:\n  empathy: {check: {any_of: [zzz]}}\nscenarios:\n" + "".join(
    f"  - {{id: dog{n}, query: 'My dog barks at night and the {who} complains', split: {split}}}\n"
    for n, (who, split) in enumerate(
        [("tenant", "develop"), ("landlord", "develop"), ("guest", "develop"), ("x", "held_out")]
    )
)


@pytest.fixture(scope="module")
def ada() -> Phone:
    return Phone("Ada")


@pytest.fixture(scope="module")
def ben() -> Phone:
    return Phone("Ben")


@pytest.fixture
def people(project: Path) -> Path:
    """A project with three people, of whom one has to approve."""
    (project / "stakeholders.yaml").write_text(PEOPLE)
    return project


@pytest.fixture
def case(server: Server, people: Path) -> Case:
    """A run that waits at its first gate."""
    waiting = Case(server, people, settings=QUICK)
    assert waiting.work() == "Suspended"
    return waiting


def approved(case: Case) -> bool:
    return case.run.stage_folder("refine").exists()


def test_the_whole_path_gate_by_gate(server: Server, people: Path, ada: Phone, ben: Phone) -> None:
    (people / "stakeholders.yaml").write_text(PEOPLE + "gates:\n  policy: {approvals: 2, roles: [legal]}\n")
    case = Case(server, people, settings=QUICK)
    assert case.work() == "Suspended" and case.waiting["gate"] == "draft"
    assert case.answer("Ben", code=ben.code()) == "Suspended" and case.waiting["gate"] == "policy"
    assert case.answer("Ben", code=ben.code(), comment="as I meant it") == "Suspended"
    assert case.waiting["waiting_for"] == "1 more approval, from Ada or Cy; legal must be among them"
    assert case.answer("ada", code=ada.code()) == "Suspended" and case.waiting["gate"] == "data"
    assert case.answer("Ada", code=ada.code()) == "Suspended" and case.waiting["gate"] == "release"
    assert case.answer("Ada", code=ada.code()) == "Completed"
    assert [(e.gate, e.approver, e.role, e.proven) for e in case.ledger] == [
        ("draft", "Ben", "product", True),
        ("policy", "Ben", "product", True),
        ("policy", "Ada", "legal", True),
        ("data", "Ada", "legal", True),
        ("release", "Ada", "legal", True),
    ]
    folder = case.run.folder
    assert "Release approved by Ada" in (folder / "report.html").read_text()
    card = (folder / "model_card.md").read_text()
    assert "**Release:** approve, by Ada (legal)" in card and "as I meant it" in card
    head = card.rsplit("`", 2)[1]
    assert head in (folder / "report.html").read_text() and head in (folder / "report.json").read_text()
    assert main(["ledger", "verify", str(people), "--head", head]) == 0


def test_no_approval_comes_from_a_wrong_a_used_or_an_old_code(case: Case, ada: Phone) -> None:
    assert case.answer("Ada", code=ada.wrong()) == "Suspended"
    assert "wrong or too old" in case.last.refused
    old = ada.totp.generate_otp(int(time.time()) // 30 - 3)
    assert case.answer("Ada", code=old) == "Suspended", case.state
    assert "wrong or too old" in case.last.refused
    used = ada.code()
    assert case.answer("Ada", "request changes", code=used) == "Suspended" and case.waiting["gate"] == "policy"
    assert case.answer("Ada", code=used) == "Suspended" and case.waiting["gate"] == "policy"
    assert "used before" in case.last.refused
    assert not case.run.stage_folder("generate").exists()


def test_a_code_of_one_run_is_not_good_for_another(case: Case, server: Server, people: Path, ada: Phone) -> None:
    other = Case(server, people, settings=QUICK, fresh=True)
    assert other.work() == "Suspended"
    used = ada.code()
    assert case.resume({"decision": "approve", "approver": "Ada", "code": used, "comment": ""}) == "ACCEPT"
    case.work()
    assert other.answer("Ada", code=used) == "Suspended"
    assert "used before" in other.last.refused and other.waiting["gate"] == "draft"


def test_no_approval_comes_from_somebody_else_or_from_one_person_twice(
    server: Server, people: Path, ada: Phone
) -> None:
    (people / "stakeholders.yaml").write_text(PEOPLE + "gates:\n  draft: {approvals: 2}\n")
    case = Case(server, people, settings=QUICK)
    case.work()
    assert case.answer("Mallory", code="123456") == "Suspended"
    assert "no such person" in case.last.refused
    assert case.answer("Cy", code="123456") == "Suspended"
    assert "has no codes on this worker" in case.last.refused
    assert case.answer("Ada", code=ada.code()) == "Suspended" and case.last.refused == ""
    assert case.answer("ADA ", code=ada.code()) == "Suspended"
    assert "has decided on this evidence already" in case.last.refused
    assert not approved(case) and len(case.ledger) == 4


def test_no_approval_comes_from_a_decision_on_an_older_digest(case: Case, ada: Phone) -> None:
    verdicts = case.run.stage_folder("prototype") / "verdicts.jsonl"
    before = case.waiting["evidence"]
    verdicts.write_text(verdicts.read_text() + "\n")
    code = ada.code()
    assert case.answer("Ada", code=code) == "Suspended"
    assert case.waiting["evidence"] != before and not approved(case)
    assert "the evidence changed" in case.last.refused and case.last.approver == "Ada"
    assert case.answer("Ada", code=code) == "Suspended" and "used before" in case.last.refused
    assert not approved(case)


def test_an_answer_that_the_process_died_over_is_read_by_the_next(case: Case, ada: Phone) -> None:
    answer = {"decision": "reject", "approver": "Ada", "code": ada.code(), "comment": "no"}
    assert case.resume(answer) == "ACCEPT"
    case.force("CRASHED")
    case.retry()
    assert case.work() == "Rejected" and case.last.comment == "no"


def test_a_record_that_somebody_else_put_there_blocks_nothing(case: Case, server: Server, ada: Phone) -> None:
    key = f"suspended-{case.state.state_details.pause_key}-response"
    for planted in (key, f"{key}-x"):
        body = {"key": planted, "value": '{"decision": "approve", "approver": "Ada"}'}
        httpx.post(f"{server.url}/flow_runs/{case.id}/input", json=body, trust_env=False).raise_for_status()
    case.force("SCHEDULED", "Resuming")
    assert case.work() == "Suspended" and "did not fill in the form" in case.last.refused
    assert case.answer("Ada", code=ada.code()) == "Suspended" and approved(case)


def test_a_second_run_of_the_same_inputs_does_not_wait_beside_the_first(
    case: Case, server: Server, people: Path, ada: Phone
) -> None:
    second = Case(server, people, settings=QUICK)
    assert second.work() == "Failed" and "waits at gate draft already" in second.state.message
    assert case.waiting["flow_run"] == str(case.id)
    assert case.answer("Ada", code=ada.code()) == "Suspended" and approved(case)
    case.force("CANCELLED")
    second.retry()
    assert second.work() == "Suspended", "it goes on where the first has ended"


@pytest.mark.parametrize("state", ["FAILED", "CRASHED", "CANCELLED", "COMPLETED"])
def test_no_approval_comes_from_a_retry(case: Case, ada: Phone, state: str) -> None:
    first = case.state.state_details.pause_key
    case.force(state)
    case.retry()
    assert case.work() == "Suspended"
    assert case.state.state_details.pause_key != first, "it is asked anew"
    assert case.ledger == () and not approved(case)
    assert case.answer("Ada", code=ada.code()) == "Suspended" and approved(case), "and the new form can be answered"


@pytest.mark.parametrize(("state", "name"), [("RUNNING", None), ("SCHEDULED", "Resuming"), ("PENDING", None)])
def test_no_approval_comes_from_a_forced_state(case: Case, state: str, name: str | None) -> None:
    case.force(state, name)
    assert case.work() == "Suspended"
    assert case.ledger == () and not approved(case)
    case.force("COMPLETED")
    assert case.ledger == () and not approved(case), "a run that is said to be complete has approved nothing"


def test_no_approval_comes_from_a_resume_with_missing_or_extra_fields(case: Case, ada: Phone) -> None:
    code = ada.code()
    whole = {"decision": "approve", "approver": "Ada", "code": code, "comment": ""}
    for careless in (
        None,
        {},
        {"decision": "approve"},
        {key: value for key, value in whole.items() if key != "code"},
        {key: value for key, value in whole.items() if key != "decision"},
        {**whole, "decision": "yes"},
        {**whole, "code": "12345"},
        {**whole, "unattended": True},
        {**whole, "code": None},
    ):
        assert case.resume(careless) != "ACCEPT", careless
    assert case.state.name == "Suspended" and case.ledger == () and not approved(case)


def test_two_people_at_the_same_moment_and_a_form_sent_twice_are_one_answer(
    server: Server, people: Path, ada: Phone, ben: Phone
) -> None:
    (people / "stakeholders.yaml").write_text(PEOPLE + "gates:\n  draft: {approvals: 2}\n")
    case = Case(server, people, settings=QUICK)
    case.work()
    answers = [
        {"decision": "approve", "approver": name, "code": phone.code(), "comment": ""}
        for name, phone in (("Ada", ada), ("Ben", ben), ("Ada", ada), ("Ben", ben))
    ]
    taken: list[str] = []
    threads = [threading.Thread(target=lambda a=a: taken.append(case.resume(a))) for a in answers]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken.count("ACCEPT") <= 1, "the others are told that they were too late"
    if "ACCEPT" not in taken:  # the server refused all of them at once: the form is still there
        assert case.resume(answers[0]) == "ACCEPT"
    assert case.work() == "Suspended"
    assert len(case.ledger) == 1 and not approved(case)
    first = case.ledger[0].approver
    again = next(answer for answer in answers if answer["approver"] == first)
    assert case.resume(again) == "ACCEPT" and case.work() == "Suspended"
    assert case.last.refused and not approved(case), "the same answer again, to the next form"


def test_a_rejection_ends_the_run_and_a_retry_does_not_bring_it_back(case: Case, ada: Phone) -> None:
    assert case.answer("Ada", "reject", code=ada.code(), comment="not what we meant <b>") == "Rejected"
    assert "Ada decided to reject (not what we meant <b>)" in case.state.message
    assert not approved(case)
    case.retry()
    assert case.work() == "Rejected" and not approved(case)


def test_a_ledger_that_is_edited_while_a_gate_waits_ends_the_run(case: Case, ada: Phone) -> None:
    assert case.answer("Ada", code=ada.wrong()) == "Suspended"
    path = case.run.folder / "ledger.jsonl"
    path.write_text(path.read_text().replace('"refused":"the code was wrong or too old"', '"refused":""'))
    assert case.answer("Ben", code="123456") == "Failed"
    assert "were cut off or replaced" in case.state.message
    assert not approved(case)


def test_a_timeout_ends_the_run_and_a_retry_asks_again(server: Server, people: Path, ada: Phone) -> None:
    (people / "stakeholders.yaml").write_text(PEOPLE + "gates:\n  draft: {wait: 1 second}\n")
    case = Case(server, people, settings=QUICK)
    assert case.work() == "Suspended"
    until(lambda: case.state.name == "Failed")
    assert "never resumed" in case.state.message
    assert case.resume({"decision": "approve", "approver": "Ada", "code": ada.code(), "comment": ""}) != "ACCEPT"
    case.retry()
    assert case.work() == "Suspended" and case.ledger == ()


def test_changes_asked_for_at_the_policy_gate_reach_the_refiner_and_are_shown(
    server: Server, people: Path, ada: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(messages: Messages) -> str:
        asked = str(messages[-1]["content"])
        wording = "Say first that you are sorry, in one short sentence." if "kindly" in asked else "Say sorry first."
        return f"[[ ## clause ## ]]\n{wording}\n\n[[ ## completed ## ]]"

    with model_server(answer) as model:
        monkeypatch.setenv("OPENAI_API_BASE", model.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-gate-test")
        settings = {**QUICK, "refine_budget": 8, "models": {"refiner": "openai/scripted"}}
        case = Case(server, people, settings=settings)
        case.work()
        assert case.answer("Ada", code=ada.code()) == "Suspended" and case.waiting["gate"] == "policy"
        told_before = " ".join(str(request) for request in model.requests)
        assert "say empathy kindly" not in told_before
        first = case.waiting["evidence"]
        wanted = "please say empathy kindly"
        assert case.answer("Ada", "request changes", code=ada.code(), comment=wanted) == "Suspended"
        assert any(wanted in str(request) for request in model.requests), "the refiner was told"
    assert (case.waiting["gate"], case.waiting["round"]) == ("policy", 2)
    assert case.waiting["evidence"] != first
    shown = artifact(server, f"gate-policy-{case.run.id}")
    assert wanted in shown and "changes since the last round" in shown
    assert "~~Open~~ **Say**" in shown, "what went and what came is marked"
    assert "in one short sentence" in (case.run.stage_folder("refine") / "policy.md").read_text()
    lineage = (case.run.stage_folder("refine") / "lineage.jsonl").read_text()
    assert wanted in lineage, "why the wording changed stands in its lineage"


def test_changes_at_the_data_and_release_gates_make_the_rows_anew_and_only_so_often(
    server: Server, people: Path, ada: Phone
) -> None:
    (people / "stakeholders.yaml").write_text(PEOPLE + "gates:\n  release: {rounds: 1}\n  data: {rounds: 1}\n")
    case = Case(server, people, settings=QUICK)
    case.work()
    for gate in ("policy", "data"):
        assert case.answer("Ada", code=ada.code()) == "Suspended" and case.waiting["gate"] == gate
    policy = (case.run.stage_folder("refine") / "policy.json").read_bytes()
    assert case.answer("Ada", "request changes", code=ada.code(), comment="shorter rows") == "Suspended"
    assert (case.waiting["gate"], case.waiting["round"]) == ("data", 2)
    (row,) = list(stream_rows(case.run.stage_folder("generate") / SUPERVISED))[:1]
    assert "(1)" in row["completion"][0]["content"], "drawn with another seed"
    assert (case.run.stage_folder("refine") / "policy.json").read_bytes() == policy, "what is before stays"
    assert case.answer("Ada", code=ada.code()) == "Suspended" and case.waiting["gate"] == "release"
    assert case.answer("Ada", "request changes", code=ada.code()) == "Suspended"
    assert (case.waiting["gate"], case.waiting["round"]) == ("data", 3), "new rows are approved anew"
    assert case.answer("Ada", code=ada.code()) == "Suspended" and case.waiting["gate"] == "release"
    assert case.answer("Ada", "request changes", code=ada.code()) == "Failed"
    assert "as often as its rule allows (rounds: 1)" in case.state.message
    assert main(["ledger", "verify", str(people)]) == 0, "what was decided on in earlier rounds is still there"


def test_two_runs_of_one_policy_wait_at_once_and_do_not_mix(
    case: Case, server: Server, people: Path, ada: Phone
) -> None:
    first = case.run
    other = Case(server, people, settings={**QUICK, "seed": 1})
    assert other.work() == "Suspended"
    assert {waiting["run"] for waiting in waiting_gates(people)} == {first.id, other.run.id}
    assert other.answer("Ada", code=ada.code()) == "Suspended"
    assert approved(other) and not (first.folder / "refine").exists()
    assert read_ledger(first.folder) == () and len(other.ledger) == 1
    with pytest.raises(RatifyError, match="there is no run"):
        answer_gate(people, "approve", "Ada", "", "123456", run_id="../../etc")


def test_a_hundred_gates_wait_at_once_and_one_is_answered(server: Server, people: Path, ada: Phone) -> None:
    cases = [Case(server, people, settings={**QUICK, "seed": seed, "scenario_limit": 1}) for seed in range(100)]
    assert {case.work() for case in cases} == {"Suspended"}
    assert not any(path.suffix == ".part" for path in people.glob(".ratify/runs/*/*")), "nobody works at any"
    waiting = waiting_gates(people)
    assert len(waiting) == 100 and {found["state"] for found in waiting} == {"Suspended"}
    folder = people / ".ratify" / "runs" / waiting[37]["run"]
    chosen = next(case for case in cases if str(case.id) == waiting[37]["flow_run"])
    answer_with(people, ada, run_id=folder.name)
    assert chosen.work() == "Suspended"
    assert [path.parent for path in (people / ".ratify" / "runs").glob("*/refine")] == [folder]


def test_foreign_text_steers_no_page_and_no_terminal(
    case: Case, server: Server, people: Path, ada: Phone, capsys: pytest.CaptureFixture[str]
) -> None:
    nasty = "</td>|**x** \x1b[2J \u202e <script>"
    assert case.answer(nasty, code="123456") == "Suspended"
    assert case.answer("Ada", "request changes", code=ada.code(), comment=nasty) == "Suspended"
    print(waiting_gate(people))
    shown = capsys.readouterr().out + artifact(server, f"gate-policy-{case.run.id}")
    assert "no such person" in case.ledger[0].refused and case.waiting["gate"] == "policy"
    assert "\\*\\*x" in shown and "&lt;script" in shown
    assert not {"\x1b", "\u202e"} & set(shown) and "<script" not in shown


def test_gates_are_listed_and_answered_at_a_terminal_under_the_same_rules(
    case: Case, server: Server, people: Path, ada: Phone, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gates", str(people)]) == 0
    listed = capsys.readouterr().out
    assert f"{server.url.removesuffix('/api')}/runs/flow-run/{case.id}" in listed
    assert "gate draft, round 1" in listed and "(Suspended)" in listed and "from Ada or Ben or Cy" in listed
    assert main(["approve", str(people), "--decision", "reject", "--approver", "Ada", "--comment", "x" * 4001]) == 2
    base = ["approve", str(people), "--decision", "approve", "--comment", "fine"]
    assert main([*base, "--approver", "Eve", "--code", "123456"]) == 2
    assert main([*base, "--approver", "Ada", "--code", "12"]) == 2
    assert main([*base, "--approver", "Ada", "--code", ada.wrong()]) == 0
    assert case.work() == "Suspended" and "wrong" in case.last.refused
    assert main([*base, "--approver", "Ada", "--code", ada.code()]) == 0
    assert case.work() == "Suspended" and approved(case)
    capsys.readouterr()
    assert main(["gates", str(people)]) == 0
    assert "gate policy" in capsys.readouterr().out


def test_no_seed_and_no_key_is_written_anywhere(
    case: Case, server: Server, people: Path, ada: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with model_server(lambda messages: "[[ ## clause ## ]]\nSay sorry first.\n\n[[ ## completed ## ]]") as model:
        monkeypatch.setenv("OPENAI_API_BASE", model.url)
        keyed = Case(server, people, settings={**QUICK, "seed": 7, "models": {"refiner": "openai/scripted"}})
        keyed.work()
        for gate in ("policy", "data", "release"):
            assert keyed.answer("Ada", code=ada.code()) == "Suspended" and keyed.waiting["gate"] == gate
        assert keyed.answer("Ada", code=ada.code()) == "Completed"
        assert model.requests, "the key was used"
    for folder in (server.home, people):
        for path in folder.rglob("*"):
            if path.is_file():
                written = path.read_bytes()
                assert key.encode() not in written, path
                assert not [seed for seed in Phone.seeds if seed.encode() in written], path


def test_no_form_and_no_parameter_switches_unattended_on(server: Server, people: Path) -> None:
    from prefect.utilities.callables import parameter_schema

    from prefect_ratify.flows.path import policy_to_model

    schema = parameter_schema(policy_to_model).model_dump_json().lower()
    assert "scenario_limit" in schema and "unattended" not in schema
    case = Case(server, people, settings=QUICK)
    case.parameters["unattended"] = True
    assert case.work() == "Failed"
    assert not (people / ".ratify" / "runs").exists()


def test_a_run_without_a_deployment_pauses_and_takes_answers_at_the_terminal(server: Server, project: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "prefect_ratify",
            "run",
            str(project),
            "--limit",
            "1",
            "--samples",
            "1",
            "--max-tokens",
            "24",
        ],
        env=server.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        until(lambda: list(project.glob(".ratify/runs/*/waiting.json")) or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        run = latest_run(load_project(project))
        with pytest.raises(RatifyError, match="needs a name"):
            answer_gate(project, "approve", "  ", "")
        with pytest.raises(RatifyError, match="is no decision"):
            answer_gate(project, "yes", "Ada", "")
        process.send_signal(signal.SIGSTOP)  # what is asked next does not depend on it
        (listed,) = waiting_gates(project)
        process.send_signal(signal.SIGCONT)
        assert listed["state"] == "Paused"
        assert "reject" in answer_gate(project, "reject", "Ada", "not what we meant <b>")
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "Ada decided to reject" in output and "Traceback" not in output
    (entry,) = read_ledger(run.folder)
    assert (entry.gate, entry.decision, entry.approver, entry.proven) == ("draft", "reject", "Ada", False)
    assert not run.stage_folder("refine").exists(), "nothing later runs"
    with pytest.raises(RatifyError, match="waits for a decision"):
        answer_gate(project, "approve", "Ada", "")
    assert set(STAGES) & {path.name for path in run.folder.iterdir()} == {"prototype"}


def test_an_answer_to_a_run_whose_process_has_ended_is_not_taken(server: Server, project: Path) -> None:
    run = open_run(project, Settings())
    waiting = {"gate": "draft", "round": 1, "flow_run": str(uuid4()), "suspended": False, "api": server.url}
    write_json(run.folder / WAITING, {**waiting, "since": "now", "waiting_for": "Ada", "evidence": "e"})
    with pytest.raises(RatifyError, match="has ended; go on with: ratify run"):
        answer_gate(project, "approve", "Ada", "")
    assert waiting_gates(project)[0]["state"] == "its process has ended"
    write_json(run.folder / WAITING, {**waiting, "api": "http://203.0.113.7/api", "suspended": True})
    with pytest.raises(RatifyError, match="set PREFECT_API_URL"):
        answer_gate(project, "approve", "Ada", "")


def answer_with(project: Path, phone: Phone, run_id: str) -> None:
    answer_gate(project, "approve", "Ada", "", phone.code(), run_id=run_id)


def artifact(server: Server, key: str) -> str:
    found = httpx.get(f"{server.url}/artifacts/{key}/latest", trust_env=False)
    found.raise_for_status()
    return str(found.json()["data"])


def test_a_proposed_clause_is_added_by_people_alone(
    server: Server, people: Path, ada: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_server(lambda messages: "[[ ## clause ## ]]\nSay sorry first.\n[[ ## why ## ]]\nIt recurs.") as model:
        monkeypatch.setenv("OPENAI_API_BASE", model.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-gate-test")
        (people / "audit.yaml").unlink()
        (people / "scenarios.yaml").write_text(RECURRING)
        settings = {"samples": 1, "refine_budget": 16, "models": {"refiner": "openai/scripted"}}
        case = Case(server, people, settings=settings)
        case.work()
        assert case.answer("Ada", code=ada.code()) == "Suspended" and case.waiting["gate"] == "policy"
        proposals = read_records(case.run.stage_folder("refine") / "proposals.jsonl", ProposedClause)
        new = proposals[0].id
        assert new in artifact(server, f"gate-policy-{case.run.id}")
        assert new not in refined_policy(case.run).clause_ids, "nothing is added by itself"
        for unheard in (f"please don't take {new}", "take p-000000"):
            assert case.answer("Ada", "request changes", code=ada.wrong(), comment=unheard) == "Suspended"
        wanted = f"I like it.\ntake `{new}`: Say when help is near; say where."
        assert case.answer("Ada", "request changes", code=ada.wrong(), comment=wanted) == "Suspended"
        assert case.run.project.policy.clause_ids == run_in(case.run.folder).project.policy.clause_ids
        assert new not in run_in(case.run.folder).project.policy.clause_ids, "an answer that does not count takes none"
        assert case.answer("Ada", "request changes", code=ada.code(), comment=wanted) == "Suspended"
    assert (case.waiting["gate"], case.waiting["round"]) == ("policy", 2)
    run = run_in(case.run.folder)
    taken = run.project.policy.clause(new)
    assert taken.text == "Say when help is near; say where." and "taken by Ada" in taken.notes[0]
    assert refined_policy(run).parts(new) and new in (run.stage_folder("refine") / "policy.md").read_text()
    assert all(new in s.clause_ids for s in run.project.suite.scenarios if s.id in proposals[0].scenario_ids)
    assert "Say when help is near" in artifact(server, f"gate-policy-{case.run.id}")
