"""The ledger: what was decided cannot be edited, cut, reordered or replaced unseen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ratify.command_line import main
from prefect_ratify.decisions import Decision, LedgerEntry
from prefect_ratify.errors import ChangesRequested, LedgerError, NotApproved, RatifyError, Rejected
from prefect_ratify.flows import ledger as ledger_module
from prefect_ratify.flows.gates import gate, go_back, is_unattended, require_approval, unattended
from prefect_ratify.flows.ledger import append, begin_ledger, head_digest, read_ledger
from prefect_ratify.flows.project import Settings
from prefect_ratify.flows.run_folder import Run, evidence_digest, open_run
from prefect_ratify.flows.verifying import verify
from prefect_ratify.flows.voting import dissent, requests

PEOPLE = "people: [{name: Ada}, {name: Ben}, {name: Cy}]\ngates:\n"
RULE = "{approvals: 2, one_rejection_stops: false}"
PEOPLE += f"  draft: {RULE}\n  policy: {RULE}\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of a small project that stands at its first gate."""
    project = tmp_path / "project"
    assert main(["init", str(project)]) == 0
    (project / "stakeholders.yaml").write_text(PEOPLE)
    opened = open_run(project, Settings())
    opened.stage_folder("prototype").mkdir()
    (opened.stage_folder("prototype") / "verdicts.jsonl").write_text("as it was\n")
    return opened


def vote(run: Run, name: str, decision: Decision = "approve", comment: str = "", **fields: object) -> LedgerEntry:
    given = {
        "gate": "draft",
        "round": run.round,
        "evidence": evidence_digest(run, "draft"),
        "rule": run.project.stakeholders.rule_digest("draft"),
        "decision": decision,
        "approver": name,
        "comment": comment,
        "at": "2026-01-02T03:04:05+00:00",
        **fields,
    }
    return append(run.folder, LedgerEntry.model_validate(given))


def test_a_gate_opens_when_the_rule_is_met_and_stays_open(run: Run) -> None:
    vote(run, "Ada")
    with pytest.raises(NotApproved):
        require_approval(run, "draft")
    vote(run, "Ben")
    require_approval(run, "draft")
    gate(run, "draft")


def test_a_file_that_is_changed_after_the_approval_is_caught(run: Run) -> None:
    vote(run, "Ada")
    vote(run, "Ben")
    assert "whole" in verify(run)
    (run.stage_folder("prototype") / "verdicts.jsonl").write_text("as it was not\n")
    with pytest.raises(NotApproved, match="was not approved"):
        require_approval(run, "draft")
    with pytest.raises(LedgerError, match="is changed or gone"):
        verify(run)


def test_a_vote_under_another_rule_or_on_other_evidence_does_not_count(run: Run) -> None:
    vote(run, "Ada")
    vote(run, "Ben", rule="0" * 64)
    vote(run, "Cy", evidence="0" * 64)
    with pytest.raises(NotApproved):
        require_approval(run, "draft")


def test_an_answer_that_was_refused_does_not_count(run: Run) -> None:
    vote(run, "Ada")
    vote(run, "Ben", refused="the code was wrong or too old")
    with pytest.raises(NotApproved):
        require_approval(run, "draft")


def test_rejections_and_requests_are_carried_out(run: Run) -> None:
    vote(run, "Ada", "reject", "not what we meant")
    vote(run, "Ben", "reject")
    with pytest.raises(Rejected, match=r"Ada, Ben decided to reject \(not what we meant\)"):
        gate(run, "draft")


def test_changes_asked_for_at_the_draft_gate_go_forward_into_refinement(run: Run) -> None:
    vote(run, "Ada", "request changes", "say it kindly")
    vote(run, "Ben", "request changes")
    gate(run, "draft")
    require_approval(run, "draft")
    assert requests(run, "draft", "policy") == ("say it kindly",)


def at_policy(run: Run) -> dict[str, object]:
    """The fields of a vote at the policy gate, where two of three have to approve."""
    for stage in ("refine", "regress"):
        run.stage_folder(stage).mkdir(exist_ok=True)
    rule = run.project.stakeholders.rule_digest("policy")
    return {"gate": "policy", "evidence": evidence_digest(run, "policy"), "rule": rule}


def test_a_request_that_was_outvoted_changes_nothing(run: Run) -> None:
    fields = at_policy(run)
    vote(run, "Ada", "request changes", "say it kindly", **fields)
    vote(run, "Ben", **fields)
    vote(run, "Cy", **fields)
    gate(run, "policy")
    assert requests(run, "draft", "policy") == ()
    assert [entry.approver for entry in dissent(run)] == ["Ada"]


def test_who_was_outvoted_by_a_request_for_changes_is_named(run: Run) -> None:
    vote(run, "Ada", "reject", "stop this")
    vote(run, "Ben", "request changes")
    vote(run, "Cy", "request changes")
    assert [entry.approver for entry in dissent(run)] == ["Ada"]


def test_a_ledger_that_was_taken_away_is_not_begun_anew(run: Run) -> None:
    vote(run, "Ada", "reject")
    (run.folder / "ledger.jsonl").unlink()
    for ask in (lambda: open_run(run.project.folder, Settings()), lambda: gate(run, "draft")):
        with pytest.raises(LedgerError, match="missing"):
            ask()


def test_at_the_other_gates_they_send_the_run_back(run: Run) -> None:
    fields = at_policy(run)
    vote(run, "Ada", "request changes", "shorter", **fields)
    vote(run, "Ben", "request changes", **fields)
    with pytest.raises(ChangesRequested) as asked:
        gate(run, "policy")
    go_back(run, asked.value)
    assert run.round == 2 and requests(run, "policy") == ("shorter",)


@pytest.mark.parametrize("name", ["policy.md", "stakeholders.yaml"])
def test_inputs_that_are_edited_under_a_run_are_caught(run: Run, name: str) -> None:
    vote(run, "Ada")
    (run.folder / "inputs" / name).write_text("people: []\n")
    for ask in (lambda: gate(run, "draft"), lambda: require_approval(run, "draft"), lambda: verify(run)):
        with pytest.raises(LedgerError, match="not what the run was begun with"):
            ask()


def test_people_may_change_when_a_run_is_begun_again_and_votes_are_taken_anew(run: Run) -> None:
    vote(run, "Ada")
    vote(run, "Ben")
    require_approval(run, "draft")
    (run.project.folder / "stakeholders.yaml").write_text(PEOPLE.replace("Ada", "Dora"))
    again = open_run(run.project.folder, Settings())
    assert again.folder == run.folder and len(read_ledger(run.folder)) == 2
    with pytest.raises(NotApproved):
        require_approval(again, "draft")


def test_another_runs_ledger_is_not_this_ones(run: Run) -> None:
    vote(run, "Ada", "reject")
    vote(run, "Ben", "reject")
    other = open_run(run.project.folder, Settings(), fresh=True)
    shutil.copy(other.folder / "ledger.jsonl", run.folder / "ledger.jsonl")
    for ask in (lambda: gate(run, "draft"), lambda: verify(run)):
        with pytest.raises(LedgerError, match="of another run"):
            ask()


def test_a_line_that_a_power_cut_tore_is_given_back(run: Run) -> None:
    vote(run, "Ada")
    vote(run, "Ben", comment="ä" * 50)
    path = run.folder / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert [entry.approver for entry in read_ledger(run.folder)] == ["Ada", "Ben"]
    assert "2 entries, whole" in verify(run)


def test_dissent_is_kept(run: Run) -> None:
    vote(run, "Ada", "reject", "I fear for the tenants")
    vote(run, "Ben", "approve", "with a heavy heart")
    vote(run, "Cy")
    assert [(e.approver, e.comment) for e in dissent(run)] == [
        ("Ada", "I fear for the tenants"),
        ("Ben", "with a heavy heart"),
    ]


def tamper_edit(lines: list[str]) -> list[str]:
    return [line.replace('"reject"', '"approve"') for line in lines]


def tamper_cut_all(lines: list[str]) -> list[str]:
    return []


def tamper_cut_two(lines: list[str]) -> list[str]:
    return lines[:-2]


def tamper_drop(lines: list[str]) -> list[str]:
    return [lines[0], *lines[2:]]


def tamper_reorder(lines: list[str]) -> list[str]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def tamper_garbage(lines: list[str]) -> list[str]:
    return [*lines, "{}"]


def tamper_rewrite(lines: list[str]) -> list[str]:
    """All of it written anew, chained as it should be, without the rejection."""
    from prefect_ratify.records import digest

    entries, previous = [], json.loads(lines[0])["ledger"]
    for line in lines[1:]:
        entry = LedgerEntry.model_validate_json(line).model_copy(update={"decision": "approve", "previous": previous})
        entries.append(entry.model_dump_json())
        previous = digest(entry)
    return [lines[0], *entries]


def tamper_rename(lines: list[str]) -> list[str]:
    """The same under a name that this worker has never seen."""
    return tamper_rewrite([json.dumps({"ledger": "0" * 64}), *lines[1:]])


@pytest.mark.parametrize(
    "tamper",
    [
        tamper_edit,
        tamper_cut_all,
        tamper_cut_two,
        tamper_drop,
        tamper_reorder,
        tamper_garbage,
        tamper_rewrite,
        tamper_rename,
    ],
)
def test_no_approval_comes_from_a_ledger_that_was_tampered_with(
    run: Run, tamper: Callable[[list[str]], list[str]]
) -> None:
    vote(run, "Ada", "reject")
    vote(run, "Ben", "reject")
    vote(run, "Cy")
    path = run.folder / "ledger.jsonl"
    path.write_text("".join(line + "\n" for line in tamper(path.read_text().splitlines())))
    for ask in (lambda: gate(run, "draft"), lambda: require_approval(run, "draft"), lambda: verify(run)):
        with pytest.raises(LedgerError) as caught:
            ask()
        assert "\n" not in str(caught.value)
    with unattended(), pytest.raises(LedgerError):
        gate(run, "draft")


def test_the_last_line_that_a_crash_kept_from_the_file_is_restored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    vote(run, "Ada")
    with monkeypatch.context() as crash:
        crash.setattr(ledger_module, "append_line", lambda path, line: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            vote(run, "Ben")
    with pytest.raises(LedgerError, match="the last entry, by Ben, is missing"):
        verify(run)
    assert [entry.approver for entry in read_ledger(run.folder)] == ["Ada", "Ben"]
    assert "2 entries, whole" in verify(run)


def test_cutting_off_the_last_entry_does_not_take_it_back(run: Run) -> None:
    vote(run, "Ada", "reject")
    vote(run, "Ben", "reject")
    path = run.folder / "ledger.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:-1]))
    with pytest.raises(Rejected):
        gate(run, "draft")


def test_a_ledger_is_proven_by_a_published_head(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vote(run, "Ada")
    published = head_digest(run.folder)
    monkeypatch.setenv("RATIFY_PRIVATE", str(tmp_path / "another worker"))
    with pytest.raises(LedgerError, match="this worker has not written this ledger"):
        read_ledger(run.folder)
    assert published in verify(run, published[:16])
    with pytest.raises(LedgerError, match="and not in"):
        verify(run, "f" * 64)


def test_the_command_verifies_in_one_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    vote(run, "Ada")
    assert main(["ledger", "verify", str(run.project.folder)]) == 0
    assert "1 entries, whole" in capsys.readouterr().out
    path = run.folder / "ledger.jsonl"
    path.write_text(path.read_text().replace("Ada", "Eve"))
    assert main(["ledger", "verify", str(run.project.folder)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


entry_text = st.text(max_size=40)


@given(st.lists(st.tuples(entry_text, entry_text), min_size=1, max_size=5), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_is_seen(tmp_path: Path, said: list[tuple[str, str]], data: st.DataObject) -> None:
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    begin_ledger(folder)
    for name, comment in said:
        fields = {"gate": "draft", "round": 1, "evidence": "e", "rule": "r", "decision": "approve", "at": "now"}
        append(folder, LedgerEntry.model_validate({**fields, "approver": name, "comment": comment}))
    before = read_ledger(folder)
    assert [(entry.approver, entry.comment) for entry in before] == said
    path = folder / "ledger.jsonl"
    written = path.read_bytes()
    place = data.draw(st.integers(0, len(written) - 2))
    other = bytes([data.draw(st.sampled_from([b for b in b'x0"{}\n 9' if b != written[place]]))])
    path.write_bytes(written[:place] + other + written[place + 1 :])
    try:
        after = read_ledger(folder)
    except LedgerError:
        return
    assert after == before, "what is read is what was written, or nothing is"


def test_an_unattended_run_does_not_override_a_person(run: Run) -> None:
    fields = at_policy(run)
    vote(run, "Ada", "request changes", **fields)
    with unattended(), pytest.raises(NotApproved, match="does not override a person"):
        gate(run, "policy")
    assert len(read_ledger(run.folder)) == 1


def test_unattended_is_switched_on_for_a_block_alone() -> None:
    assert not is_unattended()
    with unattended():
        assert is_unattended()
    assert not is_unattended()


def test_an_unattended_approval_counts_only_unattended(run: Run) -> None:
    with unattended():
        gate(run, "draft")
        require_approval(run, "draft")
    with pytest.raises(RatifyError, match="was not approved"):
        require_approval(run, "draft")
    (entry,) = read_ledger(run.folder)
    assert entry.unattended and "nobody" in entry.approver
