"""`ratify trace`: from a row to its people, from a clause to its rows; streamed, and safe at a terminal."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

from prefect_ratify.clause_changes import ClauseChange
from prefect_ratify.command_line import main
from prefect_ratify.decisions import Decision, LedgerEntry
from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.finetune.dataset import PREFERENCES, SUPERVISED, row_id, shard_name, write_rows
from prefect_ratify.finetune.rewards import write_reward_rows
from prefect_ratify.finetune.row_search import ids_beginning, ids_near, read_row, rows_of_clause, spread_rows
from prefect_ratify.flows.compare import Final
from prefect_ratify.flows.ledger import append
from prefect_ratify.flows.project import Settings
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run, evidence_digest, open_run
from prefect_ratify.flows.trace_text import show
from prefect_ratify.flows.tracing import ClauseTrace, RowTrace, trace
from prefect_ratify.records import Clause, Message, Scenario, Verdict, digest
from prefect_ratify.scenarios.comparing import compare, rates
from prefect_ratify.store import write_json, write_record, write_records
from prefect_ratify.training_rows import (
    ClauseVote,
    Critique,
    Demonstration,
    Judged,
    JudgedCompletion,
    PreferencePair,
    Provenance,
    Revision,
    TrainingPrompt,
)

HOSTILE = "\x1b[31mred\x1b[0m [bold]not markup[/bold] \u202ereversed"
POLICY = """# Lodgings

## Clauses
- [kind] Say that you are sorry first.
  - Ada: people stop reading when the first line is about statutes.
- [ask-when] Ask since when it has been so.
"""
SCENARIOS = """scenarios:
  - {id: damp, query: "The walls are damp", source: "a letter of 2019", split: develop}
  - {id: lock, query: "The lock is broken", split: develop}
  - {id: held, query: "The roof leaks", split: held_out}
unrelated:
  - {id: pasta, query: "How long do I cook pasta?", split: develop}
"""
PEOPLE = "people: [{name: Ada, role: legal}, {name: Ben}]\ngates: {data: {one_rejection_stops: false}}\n"


def said(text: str, role: str = "assistant") -> tuple[Message, ...]:
    return (Message.model_validate({"role": role, "content": text}),)


def provenance(policy: str, scenario_id: str = "damp", **fields: object) -> Provenance:
    given = {"clause_ids": ("kind", "ask-when"), "model": "critic", "method": "critique and revision", "seed": 3}
    return Provenance.model_validate({"scenario_id": scenario_id, "policy": policy, **given, **fields})


def revised(policy: str) -> Demonstration:
    """A variation's row, revised once by *kind*."""
    critique = Critique(clause_id="kind/2", text=f"It is curt. {HOSTILE}")
    whence = provenance(
        policy,
        "damp~1",
        varied_from="damp",
        how="place",
        model_digest="abc",
        prompts="def",
        round=1,
        original="Call a plumber.",
        revisions=(Revision(critique=critique, text="Sorry. Since when?"),),
        before=(Judged(clause_id="kind", outcome="violated", judge="check"),),
        after=(Judged(clause_id="kind", outcome="upheld", judge="check"),),
    )
    return Demonstration(
        prompt=said("The walls are damp in Leeds", "user"), completion=said("Sorry. Since when?"), provenance=whence
    )


def pair(policy: str) -> PreferencePair:
    votes = (ClauseVote(clause_id="ask-when", choice="chosen", chosen=0.9),)
    whence = provenance(policy, "lock", clause_ids=("ask-when",), method="votes", votes=votes, soft_label=0.9)
    return PreferencePair(
        prompt=said("The lock is broken", "user"),
        chosen=said("Since when?"),
        rejected=said("Buy one."),
        provenance=whence,
    )


def retained(policy: str, number: int = 0) -> Demonstration:
    whence = provenance(policy, "pasta", clause_ids=(), method="own answer retained", seed=number)
    return Demonstration(
        prompt=said("How long do I cook pasta?", "user"), completion=said("Ten minutes."), provenance=whence
    )


def vote(run: Run, gate: str, name: str, decision: Decision = "approve", comment: str = "", refused: str = "") -> None:
    entry = LedgerEntry(
        gate=gate,
        round=run.round,
        evidence=evidence_digest(run, gate),
        rule=run.project.stakeholders.rule_digest(gate),
        decision=decision,
        approver=name,
        comment=comment,
        refused=refused,
        at="2026-01-02T03:04:05+00:00",
    )
    append(run.folder, entry)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose stages left what a trace reads; nobody has decided on the data yet."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "policy.md").write_text(POLICY)
    (project / "scenarios.yaml").write_text(SCENARIOS)
    (project / "stakeholders.yaml").write_text(PEOPLE)
    run = open_run(project, Settings())
    draft = run.project.policy
    run.stage_folder("prototype").mkdir()
    (run.stage_folder("prototype") / "verdicts.jsonl").write_text("seen\n")
    vote(run, "draft", "Ada", "request changes", "kind: not so stiff, please")
    old = draft.clause("kind")
    new = (
        Clause(id="kind", text="Open with one kind sentence.", polarity="must"),
        Clause(id="kind/2", text="Name what the person goes through.", polarity="must"),
    )
    change = ClauseChange(
        clause_id="kind", old=(old,), new=new, why="too stiff", proposer="m", comments=("less stiff",)
    )
    refined = draft.model_copy(update={"clauses": (*new, draft.clause("ask-when")), "parent": digest(draft)})
    write_record(run.stage_folder("refine") / "policy.json", refined)
    write_records(run.stage_folder("refine") / "lineage.jsonl", [change])
    write_json(run.stage_folder("regress") / "comparison.json", {})
    vote(run, "policy", "Ben", "approve", "well said")
    varied = Scenario(
        id="damp~1",
        messages=said("The walls are damp in Leeds", "user"),
        clause_ids=("kind", "ask-when"),
        split="develop",
        source="place, by templates",
    )
    write_records(
        run.stage_folder("generate") / "prompts.jsonl", [TrainingPrompt(scenario=varied, of="damp", how="place")]
    )
    folder, policy = run.stage_folder("generate"), digest(refined)
    plain = Demonstration(
        prompt=said("The lock is broken", "user"),
        completion=said("Sorry."),
        provenance=provenance(policy, "lock", method="distilled"),
    )
    write_rows([retained(policy), revised(policy)], folder / SUPERVISED / shard_name(0))
    write_rows([plain], folder / SUPERVISED / shard_name(1))
    write_rows([pair(policy)], folder / PREFERENCES / shard_name(0))
    return run


def test_a_row_leads_to_its_request_its_revisions_its_clause_the_note_and_the_gates(run: Run) -> None:
    vote(run, "data", "Ada", "approve")
    vote(run, "data", "Ben", "reject", "too few")
    policy = digest(refined_policy(run))
    id = row_id(revised(policy))
    found = trace(run, id[:6].upper(), 20)
    assert isinstance(found, RowTrace)
    assert (found.id, found.row, found.this_policy) == (id, revised(policy), True)
    assert (found.origin, found.source) == ("place", "place, by templates")
    assert found.written is not None and (found.written.id, found.written.source) == ("damp", "a letter of 2019")
    assert [way.draft.id for way in found.clauses] == ["kind", "ask-when"]
    kind = found.clauses[0]
    assert "statutes" in kind.draft.notes[0] and [part.id for part in kind.final] == ["kind", "kind/2"]
    assert [(entry.gate, entry.approver) for entry in kind.said] == [("draft", "Ada")]
    assert [(gate.gate, gate.stands) for gate in found.gates] == [
        ("draft", "request changes"),
        ("policy", "approve"),
        ("data", "approve"),
    ]
    assert [entry.approver for entry in found.gates[2].votes if entry.decision != found.gates[2].stands] == ["Ben"]


def test_an_approval_of_other_files_is_not_shown_as_one_of_these(run: Run) -> None:
    vote(run, "data", "Ada")
    policy = digest(refined_policy(run))
    write_rows([retained(policy, 9)], run.stage_folder("generate") / SUPERVISED / shard_name(2))
    found = trace(run, row_id(revised(policy)), 20)
    assert found.gates[2].stands is None and not found.gates[2].votes


def test_a_pair_and_a_retain_row_are_rows_too(run: Run) -> None:
    policy = digest(refined_policy(run))
    found = trace(run, row_id(pair(policy)), 20)
    assert isinstance(found, RowTrace) and found.row == pair(policy) and "preferences" in found.file
    assert (found.origin, found.source) == ("written", ""), "lock has no source"
    own = trace(run, row_id(retained(policy)), 20)
    assert isinstance(own, RowTrace) and (own.origin, own.clauses) == ("unrelated", ())
    assert own.written is not None and own.written.id == "pasta"


def test_rows_that_the_training_made_of_its_own_model_are_found_too(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    made = JudgedCompletion(
        prompt=said("The lock is broken", "user"),
        completion=said("Buy one."),
        label=False,
        provenance=provenance(digest(refined_policy(run)), "lock"),
    )
    write_rows([made], run.stage_folder("train") / "judged" / shard_name(0))
    found = trace(run, row_id(made), 20)
    assert isinstance(found, RowTrace) and found.row == made and found.file == "train/judged/shard-00000.parquet"
    show(found)
    assert "What is unlearnt" in capsys.readouterr().out
    asked = {"prompt": [], "checks": "[]", "scenario_id": "lock"}
    write_reward_rows([asked], run.stage_folder("train") / "prompts" / shard_name(0))  # GRPO's, which are no rows
    rows = trace(run, "kind", 20)
    assert isinstance(rows, ClauseTrace) and [each.folder for each in rows.rows] == [
        "generate/data/sft",
        "generate/data/preferences",
        "train/judged",
    ]


def test_a_clause_leads_to_every_row_and_to_the_comparison(run: Run) -> None:
    found = trace(run, "kind/2", 1)
    assert isinstance(found, ClauseTrace) and found.way.draft.id == "kind"
    sft, preferences = found.rows
    assert (sft.rows, sft.revised, sft.voted) == (2, 1, 0)
    assert sft.counts == {"place": {"critique and revision": 1}, "written": {"distilled": 1}}
    assert [row.scenario_id for row in sft.shown] == ["damp~1"], "as many as the limit"
    assert preferences.rows == 0 and not found.rates
    other = trace(run, "ask-when", 20)
    assert isinstance(other, ClauseTrace) and [(rows.rows, rows.voted) for rows in other.rows] == [(2, 0), (1, 1)]

    verdicts = {
        name: [
            Verdict(
                scenario_id=f"h{number}",
                condition=name,
                sample=0,
                clause_id=clause_id,
                outcome="upheld" if number < upheld else "violated",
                confidence=1.0,
                reason="",
                judge="check",
            )
            for number in range(10)
            for clause_id in ("kind", "ask-when")
        ]
        for name, upheld in (("base", 1), ("refined", 6), ("finetuned", 9), ("examples", 9))
    }
    ids = ("kind", "ask-when")
    final = Final(
        rates=tuple(rate for given in verdicts.values() for rate in rates(given, ids)),
        comparisons=tuple(
            compare(verdicts[n], verdicts["finetuned"], ids, ()) for n in ("base", "refined", "examples")
        ),
        audit_rates=(),
        audit_comparisons=(),
        over_application=(),
        expectations=(),
        fluency=(),
    )
    write_record(run.stage_folder("compare") / "comparison.json", final)
    after = trace(run, "kind", 20)
    assert isinstance(after, ClauseTrace)
    assert {rate.condition: rate.interval.value for rate in after.rates} == {
        "base": 0.1,
        "refined": 0.6,
        "finetuned": 0.9,
    }
    assert {d.first: d.interval.value for d in after.differences} == {"base": 0.8, "refined": 0.3}


def test_at_a_terminal_and_for_machines(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    project, id = str(run.project.folder), row_id(revised(digest(refined_policy(run))))
    assert main(["trace", project, id[:4], "--run", run.id]) == 0
    told = capsys.readouterr().out
    for part in (
        f"Row {id}: a demonstration, in generate/data/sft/shard-00000.parquet",
        "a variation (place) of damp: damp~1; source: place, by templates",
        "Revision 1, after a critique by kind/2",
        "kind: ✗ violated → ✓ upheld (by check)",
        "model critic; weights abc; prompts def",
        "the refined policy of this run",
        "draft: Say that you are sorry first.",
        "note: Ada: people stop reading",
        "asked for: less stiff",
        "at the draft gate, round 1, Ada: request changes, “kind: not so stiff, please”",
        "data: nothing stands",
        "[bold]not markup[/bold]",
    ):
        assert part in told
    assert "\x1b" not in told and "\u202e" not in told
    assert main(["trace", project, "kind", "--limit", "1"]) == 0
    assert f"{id} (damp~1), and 1 more (--limit)" in capsys.readouterr().out
    for what in (id, "kind"):
        assert main(["trace", project, what, "--json"]) == 0
        printed = capsys.readouterr().out
        assert printed.isascii() and "\x1b" not in printed
        assert json.loads(printed)["run"] == run.id


@pytest.mark.parametrize(
    ("what", "line"),
    [
        (
            "knid",
            "'knid' is no clause of this run and no row; clauses: kind, kind/2; a row is named by 4 or more digits",
        ),
        ("abc", "'abc' is no clause of this run and no row"),
        ("xyzzy xyzzy", "clauses: kind, ask-when, kind/2;"),
    ],
)
def test_where_nothing_is_found_one_line_says_what_is_near(
    run: Run, what: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", str(run.project.folder), what]) == 2
    told = capsys.readouterr().err
    assert line in told and told.count("\n") == 1


def test_an_id_with_a_wrong_digit_names_the_nearest_and_a_beginning_of_several_all(run: Run) -> None:
    policy = digest(refined_policy(run))
    id = row_id(pair(policy))
    wrong = id[:5] + ("0" if id[5] != "0" else "1") + id[6:]
    with pytest.raises(InputError, match=f"the nearest: {id}"):
        trace(run, wrong, 20)
    many = [retained(policy, number) for number in range(1500)]  # of 65,536 beginnings, some are taken twice
    write_rows(many, run.stage_folder("generate") / SUPERVISED / shard_name(7))
    ids = sorted(row_id(row) for row in many)
    first, second = next((a, b) for a, b in pairwise(ids) if a[:4] == b[:4])
    with pytest.raises(InputError, match="several rows begin with") as caught:
        trace(run, first[:4], 20)
    assert first in str(caught.value) and second in str(caught.value)


def test_a_row_of_another_policy_says_so_and_a_row_in_two_places_is_one(run: Run) -> None:
    old = revised("of another day")
    for folder in (run.stage_folder("generate") / SUPERVISED, run.stage_folder("train") / "judged"):
        write_rows([old], folder / shard_name(8))
    found = trace(run, row_id(old), 20)
    assert isinstance(found, RowTrace) and not found.this_policy and found.file.startswith("generate/")


def test_an_answer_at_a_gate_that_did_not_count_is_not_what_people_said(run: Run) -> None:
    vote(run, "policy", "Eve", "reject", "kind is bad", refused="a wrong code")
    found = trace(run, "kind", 20)
    assert isinstance(found, ClauseTrace) and [entry.approver for entry in found.way.said] == ["Ada"]


def test_rows_are_spread_evenly_over_shards_and_read_whole(tmp_path: Path) -> None:
    rows = [retained("p", number) for number in range(700)]
    write_rows(rows[:600], tmp_path / shard_name(0))  # more than are read at once
    write_rows(rows[600:], tmp_path / shard_name(1))
    found = spread_rows(tmp_path, 8)
    assert found == [(row_id(rows[n]), rows[n]) for n in (0, 100, 200, 300, 399, 499, 599, 699)]
    assert [row for _, row in spread_rows(tmp_path, 10_000)] == rows
    assert spread_rows(tmp_path / "nothing", 3) == []


def test_before_there_are_rows_and_for_an_unknown_run(run: Run) -> None:
    run.stage_folder("generate").rename(run.folder / "generate.part")
    with pytest.raises(RatifyError, match="has no training rows yet; go on with"):
        trace(run, "kind", 20)
    assert main(["trace", str(run.project.folder), "kind", "--run", "../x"]) == 2


def test_rows_are_found_in_any_shard_and_memory_does_not_grow_with_them(tmp_path: Path) -> None:
    def peak(shards: int) -> int:
        folder = tmp_path / str(shards)
        for number in range(shards):
            write_rows(
                [retained("p", number * 100 + n) for n in range(99)] + [revised(f"p{number}")],
                folder / shard_name(number),
            )
        last = row_id(revised(f"p{shards - 1}"))
        rows_of_clause(folder, "kind", 1)  # what is loaded once is not counted
        tracemalloc.start()
        (found,) = ids_beginning([folder], last)
        assert read_row(found) == revised(f"p{shards - 1}")
        assert ids_near([folder], last)[0] == last
        counted = rows_of_clause(folder, "kind", 5)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (counted.rows, counted.revised, len(counted.shown)) == (shards, shards, min(5, shards))
        return most

    assert peak(30) < 1.5 * peak(3)
