"""The example project collective-assistant: made of its export, whole, without a leak, and marked as made up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from prefect_ratify.command_line import main
from prefect_ratify.finetune.leaks import leak_check
from prefect_ratify.finetune.lint import lint
from prefect_ratify.flows.importing_votes import import_votes
from prefect_ratify.flows.project import Project, load_project, require_ready
from prefect_ratify.policy import load_policy
from prefect_ratify.records import Split
from prefect_ratify.scenarios.collective import collective
from prefect_ratify.scenarios.opinion_groups import adjusted_rand_index
from prefect_ratify.scenarios.precedents import dangling
from prefect_ratify.scenarios.votes import load_votes
from tests.collective_votes import TOPIC, files, people

FOLDER = Path(__file__).parent.parent / "scenarios" / "shipped" / "collective-assistant"
SPLITS: tuple[Split, Split] = ("develop", "held_out")


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project(FOLDER)


def test_it_is_copied_and_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "demo"), "--example", "collective-assistant"]) == 0
    assert main(["check", str(tmp_path / "demo")]) == 0
    answered = capsys.readouterr()
    assert answered.err == ""
    assert "6 clauses; 48 develop and 24 held-out scenarios; 56 unrelated requests" in answered.out


def test_its_export_is_what_the_program_draws() -> None:
    for name, text in files().items():
        assert (FOLDER / "votes" / name).read_text(encoding="utf-8") == text


def test_its_export_gives_its_clauses_and_its_votes(tmp_path: Path) -> None:
    draft = import_votes(tmp_path, FOLDER / "votes", top=6)
    shipped = load_policy(FOLDER / "policy.md")
    assert {clause.id: clause for clause in draft.policy.clauses} == {clause.id: clause for clause in shipped.clauses}
    assert draft.policy.contested == shipped.contested
    assert len(shipped.contested) == 6
    for name in ("votes.jsonl", "votes.md"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (FOLDER / name).read_text(encoding="utf-8")


def test_its_votes_show_the_groups_that_they_were_drawn_from() -> None:
    drawn = np.unique(people(), return_inverse=True)[1]
    found = collective(load_votes(FOLDER / "votes")).groups
    assert len(found.sizes) == 3
    assert adjusted_rand_index(found.labels, drawn.astype(np.intp)) > 0.9


def test_no_development_request_is_taken_for_a_held_out_one(project: Project) -> None:
    require_ready(project)
    suite = project.suite
    check = leak_check(suite.split("held_out") + suite.unrelated_split("held_out"))
    asked = suite.split("develop") + suite.unrelated_split("develop")
    assert len(asked) == 88
    assert [scenario.id for scenario in asked if check(scenario)] == []


def test_an_answer_composed_of_worked_examples_keeps_every_clause_by_both_checks(project: Project) -> None:
    suite = project.suite
    assert set(suite.guides) == set(suite.audits) == set(project.policy.clause_ids)
    shown = [guide.examples for guide in suite.guides.values() if guide.examples]
    assert [len(examples) for examples in shown] == [3, 3, 3, 3]
    for case in zip(*shown, strict=True):
        answer = " ".join(example.sentence for example in case)
        assert lint(case[0].query, answer) == ()
        for clause_id, audit in suite.audits.items():
            check = suite.guides[clause_id].check
            assert check is not None and check(answer).holds is audit(answer).holds is True, clause_id


def test_its_audits_judge_the_replies_of_the_checks_as_they_do(project: Project) -> None:
    wrong = [
        (clause_id, reply)
        for clause_id, guide in project.suite.guides.items()
        for reply in (*guide.good, *guide.bad)
        if project.suite.audits[clause_id](reply).holds is not (reply in guide.good)
    ]
    assert wrong == []


def test_each_juror_has_ruled_on_texts_of_both_splits(project: Project) -> None:
    splits = {scenario.id: scenario.split for scenario in project.suite.scenarios}
    assert dangling(project.precedents, project.policy.clause_ids, splits) == []
    ruled = Counter((precedent.by, splits[precedent.scenario_id]) for precedent in project.precedents)
    names = sorted({name for name, _ in ruled})
    assert names == ["Ana (made up)", "Bo (made up)", "Chi (made up)"]
    assert all(ruled[name, split] >= 30 for name in names for split in SPLITS)


def test_what_its_people_find_reasonable_is_found_by_the_checks(project: Project) -> None:
    plan = project.pluralism
    assert (len(plan.reasonable), len(plan.attributes), len(plan.weightings), len(plan.questions)) == (12, 3, 3, 5)
    answers = [answer for each in plan.reasonable for answer in each.answers]
    assert {answer.by for answer in answers} == {"group A", "group B", "group C"}
    assert [answer.text for answer in answers if not answer.check or not answer.check(answer.text).holds] == []


def test_it_says_wherever_votes_or_people_show_that_they_are_made_up(project: Project) -> None:
    assert "made up" in TOPIC
    assert TOPIC in project.policy.title
    assert "all of these are made up" in " ".join(project.policy.context.split())
    assert "made up" in (FOLDER / "votes.md").read_text(encoding="utf-8").split("\n")[0]
    assert all("(made up)" in juror.name for juror in project.stakeholders.jurors)
    for name in ("votes/README.md", "pluralism.yaml", "scenarios.yaml"):
        assert "made up" in (FOLDER / name).read_text(encoding="utf-8")
