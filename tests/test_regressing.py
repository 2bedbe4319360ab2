"""`ratify regress` and `ratify try --watch`: names, plans that come true, budgets, rules, what an edit moves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from prefect_ratify.budget import Budget
from prefect_ratify.call_store import CallStore
from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError
from prefect_ratify.flows import conditions
from prefect_ratify.flows import watching as flows_watching
from prefect_ratify.flows.conditions import Conditions
from prefect_ratify.flows.evidence import summary
from prefect_ratify.flows.project import Models, Settings, load_project
from prefect_ratify.flows.prototype import find_gaps
from prefect_ratify.flows.regressing import Bench, Measuring, Regression, plans, regress, set_up
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.watching import Look, Outcomes, edited_clauses, first_touched, shards
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.judge import judge_with
from prefect_ratify.records import Call, Clause, Message, Precedent, Scenario, Verdict, digest
from prefect_ratify.scenarios.calibration import Calibration, ClauseCalibration
from prefect_ratify.scenarios.similarity import Embed
from prefect_ratify.scenarios.statistics import Interval
from prefect_ratify.store import read_record, read_records, write_record
from tests.fake_models import FakeModel
from tests.gate_server import until
from tests.model_server import Messages, ModelServer, model_server

POLICY = "# Manners\n\n## Clauses\n- [sorry] Say sorry.\n- [ask] Ask how long.\n- [kind] Be kind.\n"
SUITE = """\
clauses:
  sorry: {check: {any_of: [sorry]}}
  ask: {check: {question_about: [how long]}}
scenarios:
"""
COUNT = 9


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project of three clauses, one of which needs a judge, and nine scenarios of which three are held out."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "policy.md").write_text(POLICY)
    lines = [
        f"  - {{id: s{n}, query: 'Query {n}', tags: [t{n % 2}], split: {'held_out' if n % 3 == 2 else 'develop'}}}\n"
        for n in range(COUNT)
    ]
    (folder / "scenarios.yaml").write_text(SUITE + "".join(lines))
    return folder


def answer(call: Call) -> str:
    """Sorry where the system prompt asks for it; `how long?` always."""
    system = " ".join(m.content for m in call.messages if m.role == "system")
    return ("I'm sorry. " if "Say sorry" in system else "") + f"How long? {call.messages[-1].content}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """What opens in place of every model."""
    model = FakeModel(answer)
    monkeypatch.setattr(conditions, "open_model", lambda name, greet: model)
    return model


# names


def test_every_kind_of_name_opens(small: Path, asked: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    (small / "older.md").write_text(POLICY.replace("Say sorry.", "Apologise."))
    opened = Conditions(load_project(small))
    assert opened.open("base").preamble == ()
    assert "Say sorry." in opened.open("draft").preamble[0].content
    assert "Apologise." in opened.open(str(small / "older.md")).preamble[0].content
    assert "Say sorry." in opened.open("openai/gpt-4o").preamble[0].content
    assert opened.open("base on openai/gpt-4o").preamble == ()
    names: list[str] = []

    def remember(name: str, greet: bool) -> LanguageModel:
        names.append(name)
        return asked

    monkeypatch.setattr(conditions, "open_model", remember)
    opened = Conditions(load_project(small))
    opened.open("draft"), opened.open("embedded"), opened.open("draft on openai/x"), opened.open("./weights/")
    assert names == ["embedded", "openai/x", "./weights/"]


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("nonsense", "nothing to compare"),
        ("refined", "there is no run yet"),
        ("finetuned@abc", "0 runs have an id that begins with 'abc'"),
        ("finetuned on openai/x", "names two models"),
        ("gone.md", "gone.md"),
        ("git:HEAD", "git knows no policy.md"),
        ("git:--output=x", "git knows no policy.md"),
    ],
)
def test_a_name_that_stands_for_nothing_is_one_line_of_error(
    small: Path, asked: FakeModel, name: str, seen: str
) -> None:
    with pytest.raises(InputError, match=seen) as caught:
        Conditions(load_project(small)).open(name)
    assert "\n" not in str(caught.value)


def test_a_revision_is_a_version_of_the_policy(small: Path, asked: FakeModel) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(small), *command], check=True)
    (small / "policy.md").write_text(POLICY.replace("Say sorry.", "Apologise."))
    opened = Conditions(load_project(small))
    assert "Apologise." in opened.open("draft").preamble[0].content
    assert "Say sorry." in opened.open("git:HEAD").preamble[0].content


def test_a_run_stands_for_what_it_came_to(small: Path, asked: FakeModel) -> None:
    runs = small / ".ratify" / "runs"
    for name, stage in (("abc1", "train"), ("abd2", "refine")):
        (runs / name / stage).mkdir(parents=True)
        (runs / name / "inputs").mkdir()
        for file in ("policy.md", "scenarios.yaml"):
            shutil.copy(small / file, runs / name / "inputs" / file)
        write_record(runs / name / "settings.json", Settings())
    opened = Conditions(load_project(small))
    assert [opened.resolved(name) for name in ("abc1", "abd", "draft")] == ["finetuned@abc1", "refined@abd", "draft"]
    with pytest.raises(InputError, match="2 runs have an id that begins with 'ab'; there are: abc1, abd2"):
        opened.resolved("ab")


# measuring


def bench(small: Path, *names: str, rule: str = "", **measuring: object) -> Bench:
    return set_up(small, names or ("draft", "base"), Measuring(**measuring), rule)  # type: ignore[arg-type]


def test_a_plan_comes_true_and_the_second_time_it_is_nothing(small: Path, asked: FakeModel) -> None:
    planned = plans(bench(small, samples=2))
    assert [(p.answers_missing, p.judgements_missing) for p in planned] == [(12, 0), (12, 0)]
    assert all(p.tokens > 12 * 144 for p in planned) and asked.asked == []
    regress(bench(small, samples=2))
    assert len(asked.asked) == 24
    assert [(p.answers_known, p.calls) for p in plans(bench(small, samples=2))] == [(12, 0), (12, 0)]
    (small / "scenarios.yaml").write_text(
        (small / "scenarios.yaml").read_text() + "  - {id: new, query: New, split: develop}\n"
    )
    assert [p.calls for p in plans(bench(small, samples=2))] == [2, 2]
    (small / "policy.md").write_text(POLICY.replace("Be kind.", "Be kind and brief."))
    assert [p.calls for p in plans(bench(small, samples=2))] == [14, 2], "the base model sees no policy"


def test_editing_a_check_asks_nothing(small: Path, asked: FakeModel) -> None:
    before = regress(bench(small))
    (small / "scenarios.yaml").write_text((small / "scenarios.yaml").read_text().replace("[sorry]", "[apolog]", 1))
    after = regress(bench(small))
    assert len(asked.asked) == 12
    assert rate(before, "sorry") == 1.0 and rate(after, "sorry") == 0.0


def rate(found: Regression, clause_id: str) -> float | None:
    rates = {(r.condition, r.clause_id): r.interval.value for r in found.comparisons[0].rates}
    return rates["draft", clause_id]


def test_what_is_compared_adds_up(small: Path, asked: FakeModel) -> None:
    found = regress(bench(small, "draft", "base", str(small / "policy.md"), samples=3))
    assert [(c.first, c.second) for c in found.comparisons] == [("base", "draft"), (str(small / "policy.md"), "draft")]
    assert [(c.first, c.second) for c in found.between] == [("base", str(small / "policy.md"))]
    assert found.split == "develop" and found.scenarios == 6
    for measured in found.conditions:
        assert measured.account.responses == {"answered": 18}
        assert measured.account.verdicts["undecided (nobody to decide)"] == 18
        assert sum(measured.account.verdicts.values()) == 54
    better = {d.clause_id: d.interval.value for d in found.comparisons[0].differences}
    assert better == {"sorry": 1.0, "ask": 0.0, "kind": None, "all clauses": 0.5}
    assert {d.tag for d in found.comparisons[0].tag_differences} == {"t0", "t1"}
    assert (
        read_record(
            bench(small, "draft", "base", str(small / "policy.md"), samples=3).folder / "regression.json", Regression
        )
        == found
    )


def test_a_budget_stops_cleanly_and_the_rest_is_named(small: Path, asked: FakeModel) -> None:
    found = regress(bench(small, budget=Budget(calls=8)))
    assert len(asked.asked) == 8 and found.not_run == 4 and found.fails()
    assert [m.account.responses for m in found.conditions] == [{"answered": 6}, {"answered": 2, "not run": 4}]
    again = regress(bench(small))
    assert len(asked.asked) == 12 and not again.not_run


def test_rules_decide_the_exit_status(small: Path, asked: FakeModel) -> None:
    found = regress(bench(small, "base", "draft", rule="clause sorry never worse; clause ask never worse"))
    assert [[f.outcome for f in each] for each in found.findings] == [["broken", "kept"]]
    assert found.fails()
    unsure = regress(bench(small, rule="clause ask not worse by more than 0.01"))
    assert [f.outcome for f in unsure.findings[0]] == ["not shown"]
    assert not unsure.fails() and unsure.fails(strict=True)


def test_held_out_scenarios_are_for_finetuned_models_alone_unless_asked_for(
    small: Path, asked: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Conditions, "_finetuned", lambda self, run_id: asked)
    assert [len(bench(small, *names).scenarios) for names in (("draft", "base"), ("finetuned", "draft"))] == [6, 3]
    assert len(bench(small, split="all").scenarios) == COUNT
    with pytest.raises(InputError, match="compared with itself"):
        bench(small, "draft", "draft")


# at the terminal, with a model server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    def say(messages: Messages) -> str:
        if "[[ ## verdict ## ]]" in messages[-1]["content"]:
            return (
                "[[ ## verdict ## ]]\nupheld\n[[ ## confidence ## ]]\n1\n[[ ## reason ## ]]\nr\n[[ ## completed ## ]]"
            )
        return answer(Call(messages=tuple(Message(**m) for m in messages), sampling={}, seed=0))  # type: ignore[arg-type]

    with model_server(say) as found:
        monkeypatch.setenv("OPENAI_API_BASE", found.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield found


def test_what_is_known_of_the_judges_goes_with_the_figures(small: Path, asked: FakeModel) -> None:
    clause = load_project(small).policy.clause("kind")
    write_record(small / "calibration.json", Calibration(clauses=(barred(asked.name, clause),)))
    bench = set_up(small, ["draft", "base"], Measuring(judge="j"))
    words = (f"The judge {asked.name} may not decide clause kind: not shown to be better than chance.",)
    assert regress(bench).judge_words == words, "of the clause that no check decides alone"
    assert regress(set_up(small, ["draft", "base"], Measuring())).judge_words == ()


def test_a_barred_judge_is_not_called_no_judge_at_the_draft_gate(small: Path, asked: FakeModel, tmp_path: Path) -> None:
    clause = load_project(small).policy.clause("kind")
    write_record(small / "calibration.json", Calibration(clauses=(barred(asked.name, clause),)))
    bench = set_up(small, ["draft", "base"], Measuring(judge="j"))
    regress(bench)
    verdicts = read_records(bench.folder / "verdicts.jsonl", Verdict)
    write_record(bench.folder / "gaps.json", find_gaps(bench.scenarios, verdicts, bench.project.policy.clause_ids))
    run = SimpleNamespace(
        project=bench.project,
        settings=Settings(models=Models(judge=asked.name)),
        stage_folder=lambda stage: bench.folder,
    )
    shown = summary(cast(Run, run), "draft")
    assert f"The judge {asked.name} may not decide clause kind" in shown
    assert "Nobody can decide these clauses (no check, and no judge that may): kind." in shown


def barred(judge: str, clause: Clause) -> ClauseCalibration:
    none = Interval(value=None, low=None, high=None, scenarios=0)
    figures = ("decided", "agreement", "kappa", "accuracy", "auc_right", "auc_upheld")
    return ClauseCalibration(
        judge=judge,
        clause_id=clause.id,
        clause=digest(clause.text),
        labels=8,
        confusion={},
        p_value=0.5,
        state="barred",
        why="not shown to be better than chance",
        made="",
        labels_digest="",
        **dict.fromkeys(figures, none),
    )


@pytest.mark.model
def test_the_command_says_what_it_would_ask_asks_it_once_and_writes_its_pages(
    small: Path, server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--responder", "openai/scripted", "--judge", "openai/scripted"]
    command = ["regress", str(small), "--against", "base", *models]
    assert main([*command, "--dry-run"]) == 0
    assert server.requests == [] and "24 calls" in capsys.readouterr().out
    page, comment = tmp_path / "page.html", tmp_path / "comment.md"
    assert main([*command, "--html", str(page), "--markdown", str(comment)]) == 0
    assert len(server.requests) == 24
    assert "draft against base" in capsys.readouterr().out
    assert "<script" not in page.read_text() and "sorry" in page.read_text()
    assert "sorry" in comment.read_text()
    assert main(command) == 0
    assert len(server.requests) == 24, "nothing is paid for twice"
    assert main([*command[:2], "base", "--against", "draft", *command[4:], "--rule", "clause sorry never worse"]) == 1
    assert main([*command, "--rule", "no nonsense"]) == 2


@pytest.mark.model
def test_who_tries_a_query_is_told_what_judges_are_worth(
    small: Path, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--responder", "openai/scripted", "--judge", "openai/scripted"]
    assert main(["try", str(small), "Query", *models]) == 0
    assert "The judge openai/scripted was not calibrated on clause kind." in capsys.readouterr().err


# watching


def test_the_edited_clauses_are_those_whose_text_or_check_changed(small: Path) -> None:
    before = load_project(small)
    assert edited_clauses(None, before) == ("sorry", "ask", "kind")
    (small / "policy.md").write_text(POLICY.replace("Be kind.", "Be kind and brief."))
    assert edited_clauses(before, load_project(small)) == ("kind",)
    (small / "scenarios.yaml").write_text((small / "scenarios.yaml").read_text().replace("[sorry]", "[apolog]", 1))
    assert edited_clauses(before, load_project(small)) == ("sorry", "kind")
    (small / "policy.md").write_text(POLICY.replace("# Manners", "# Good manners"))
    assert edited_clauses(before, load_project(small)) == ("sorry", "ask", "kind")


def test_scenarios_of_the_edited_clause_come_first_and_few_at_first() -> None:
    def scenario(name: str, clauses: tuple[str, ...], *tags: str) -> Scenario:
        messages = (Message(role="user", content=name),)
        return Scenario(id=name, messages=messages, clause_ids=clauses, split="develop", tags=tags)

    listed = [
        scenario("all", ("a", "b")),
        scenario("b", ("b",)),
        scenario("tagged", ("a", "b"), "a"),
        scenario("a", ("a",)),
    ]
    assert [s.id for s in first_touched(listed, ["a"])] == ["tagged", "a", "all", "b"]
    assert [len(shard) for shard in shards(listed * 5)] == [2, 6, 12]
    assert [len(shard) for shard in shards(listed)] == [2, 2]


def test_an_edit_shows_what_moved_and_its_side_effects(small: Path, tmp_path: Path) -> None:
    store, lines = CallStore(tmp_path / "calls.sqlite"), list[str]()
    settings = Settings()
    before = load_project(small)
    first = Look(before, edited_clauses(None, before), Outcomes(), lines.append)
    first.run(FakeModel(answer), (), store, settings, lambda: False)
    assert len(lines) == 6 and not any("fixed" in line or "regressed" in line for line in lines)
    (small / "policy.md").write_text(
        POLICY.replace("Be kind.", "Be kind and never say sorry.").replace("Say sorry", "No")
    )
    now = load_project(small)
    second = Look(now, ["kind"], first.outcomes, lines.append)
    second.run(FakeModel(answer), (), store, settings, lambda: False)
    assert all("regressed, a side effect" in line for line in lines[6:])
    assert "0 fixed, 6 regressed" in second.summary()
    assert "side effects on clauses that were not edited: 6 (sorry)" in second.summary()


def test_watching_finds_similar_precedents_by_the_embedder(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[str] = []

    def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
        embedded.extend(texts)
        return np.ones((len(texts), 2), dtype=np.float32)

    monkeypatch.setattr(flows_watching, "open_embedder", lambda name, store: Embed(vectors) if name == "e" else None)
    ruled = Precedent(scenario_id="s0", response="No.", clause_id="kind", outcome="violated", by="Ada")
    (small / "precedents.jsonl").write_text(ruled.model_dump_json() + "\n")
    judge = FakeModel(lambda call: '{"verdict": "upheld", "confidence": 1, "reason": "r"}', digest="judge")
    look = Look(load_project(small), (), Outcomes(), lambda line: None)
    store = CallStore(tmp_path / "calls.sqlite")
    look.run(FakeModel(answer), (judge_with(judge),), store, Settings(models=Models(embedder="e")), lambda: False)
    assert "Query 0 No." in embedded and len(set(embedded)) == 1 + 6
    assert "Ada ruled that this response is violated" in judge.asked[0].messages[-1].content


@pytest.mark.model
def test_watching_goes_on_through_wrong_files_until_it_is_ended(
    small: Path, server: ModelServer, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "prefect_ratify", "try", str(small), "--watch", "--responder", "openai/scripted"]
    with log.open("w") as output:
        watching = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ)
    try:
        until(lambda: log.read_text().count("watching;") == 1, 30)
        (small / "policy.md").write_text("no policy at all")
        until(lambda: "not read:" in log.read_text(), 10)
        (small / "policy.md").write_text(POLICY.replace("Say sorry.", "Never mind."))
        until(lambda: log.read_text().count("watching;") == 2, 10)
        assert "6 regressed" in log.read_text()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 0
    finally:
        watching.kill()
