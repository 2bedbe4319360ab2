"""Regression rules: what can be written, and what each comes to on cases worked by hand."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.errors import InputError
from prefect_ratify.flows.project import load_project
from prefect_ratify.scenarios.comparing import ALL, Comparison, compare
from prefect_ratify.scenarios.rules import RuleFinding, examine, parse_rules
from tests.test_comparing import verdicts

CLAUSES = ("a", "b")


def comparison(before: dict[str, str], after: dict[str, str]) -> Comparison:
    """`{clause: letters}`, a letter a scenario."""
    tables = [
        {(f"s{n}", clause): letter for clause, letters in given.items() for n, letter in enumerate(letters)}
        for given in (before, after)
    ]
    return compare(verdicts("x", tables[0]), verdicts("y", tables[1]), CLAUSES)


def outcome(rule: str, found: Comparison) -> RuleFinding:
    (finding,) = examine(parse_rules(rule, CLAUSES), found)
    return finding


@pytest.mark.parametrize(
    ("text", "clause_id", "margin", "level"),
    [
        ("no clause worse by more than 0.05 with 95 % confidence", "", 0.05, 0.95),
        ("no clause worse by more than 5 points", "", 0.05, 0.95),
        ("no clause worse by more than 5%", "", 0.05, 0.95),
        ("no clause worse", "", 0.0, 0.95),
        ("no clause ever worse", "", None, 0.95),
        ("clause a never worse", "a", None, 0.95),
        ("clause b not worse with 90% confidence", "b", 0.0, 0.9),
        ("total not worse by more than .1", ALL, 0.1, 0.95),
    ],
)
def test_rules_are_read_as_they_are_written(text: str, clause_id: str, margin: float | None, level: float) -> None:
    (rule,) = parse_rules(f"  {text}. ", CLAUSES)
    assert (rule.clause_id, rule.margin, rule.level) == (clause_id, margin, level)


def test_several_rules_stand_in_one_text() -> None:
    assert [rule.clause_id for rule in parse_rules("no clause worse;\nclause a never worse;", CLAUSES)] == ["", "a"]
    assert parse_rules("", CLAUSES) == ()


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("nothing worse", "cannot be understood"),
        ("no clause better", "cannot be understood"),
        ("clause c never worse", "names no clause"),
        ("no clause worse by more than 1.5", "out of range"),
        ("no clause worse with 100 % confidence", "out of range"),
    ],
)
def test_a_rule_that_cannot_be_read_is_one_line_of_error(text: str, seen: str) -> None:
    with pytest.raises(InputError, match=seen) as caught:
        parse_rules(text, CLAUSES)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        parse_rules(text, CLAUSES)


def test_a_rule_in_stakeholders_is_checked_with_the_project(project: Path) -> None:
    (project / "stakeholders.yaml").write_text("regression: clause nosuch never worse\n")
    with pytest.raises(InputError, match=r"stakeholders.yaml: the rule 'clause nosuch never worse' names no clause"):
        load_project(project)


def test_a_sure_drop_breaks_a_rule_and_six_scenarios_keep_none() -> None:
    # 40 scenarios, all upheld, of which 20 fall: -0.5 ± 0.16 (95 %), for two clauses ± 0.19
    fall = comparison({"a": "u" * 40, "b": "u" * 40}, {"a": "u" * 20 + "v" * 20, "b": "u" * 40})
    assert outcome("no clause worse by more than 0.1", fall).outcome == "broken"
    assert "a -0.50" in outcome("no clause worse by more than 0.1", fall).reason
    assert outcome("no clause worse by more than 0.5", fall).outcome == "not shown"
    assert outcome("clause b not worse by more than 0.1", fall).outcome == "kept"
    few = comparison({"a": "u" * 6, "b": "u" * 6}, {"a": "u" * 6, "b": "u" * 6})
    assert outcome("no clause worse by more than 0.05", few).outcome == "not shown"
    assert outcome("total not worse by more than 0.6", few).outcome == "kept"


def test_never_worse_looks_at_each_scenario() -> None:
    one = comparison({"a": "uuv", "b": "uuu"}, {"a": "uvu", "b": "uuu"})
    assert outcome("clause a never worse", one) == RuleFinding(
        rule="clause a never worse", outcome="broken", reason="a on s1"
    )
    assert outcome("clause b never worse", one).outcome == "kept"
    assert outcome("no clause ever worse", one).outcome == "broken"
    nothing = comparison({"a": "???"}, {"a": "uuu"})
    assert outcome("clause a never worse", nothing).outcome == "not shown"
