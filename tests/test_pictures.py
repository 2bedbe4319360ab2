"""The pictures of a comparison: right numbers and marks, nothing foreign obeyed, usable when it is large."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.finetune.counts import DataCounts, counted
from prefect_ratify.finetune.dataset import PREFERENCES, SUPERVISED, row_id, shard_name, write_rows
from prefect_ratify.finetune.row_search import spread_rows
from prefect_ratify.flows import compare as comparing_stage
from prefect_ratify.flows import prototype, refine, regress
from prefect_ratify.flows.change_map import KINDS, change_map
from prefect_ratify.flows.compare import Final
from prefect_ratify.flows.evidence import comparison_table, details, summary
from prefect_ratify.flows.model_card import model_card
from prefect_ratify.flows.pages import signed_points
from prefect_ratify.flows.pictures import Arrow, Dot, lanes, looks, marker
from prefect_ratify.flows.plan_text import show_plan
from prefect_ratify.flows.project import Models, Settings
from prefect_ratify.flows.regressing import Measured, Regression
from prefect_ratify.flows.regression_markdown import markdown
from prefect_ratify.flows.regression_page import page
from prefect_ratify.flows.regression_text import show
from prefect_ratify.flows.regression_words import cautions, findable, regressed, turned
from prefect_ratify.flows.report import report_numbers
from prefect_ratify.flows.report_page import page as report_page
from prefect_ratify.flows.run_folder import Run, open_run
from prefect_ratify.flows.stages import run_stage
from prefect_ratify.flows.word_difference import word_differences
from prefect_ratify.policy import parse_policy
from prefect_ratify.records import Call, Message, Outcome, Policy, Response, Scenario, Verdict
from prefect_ratify.scenarios.comparing import Comparison, compare
from prefect_ratify.scenarios.planning import Plan
from prefect_ratify.scenarios.rules import examine, parse_rules
from prefect_ratify.scenarios.running import Evaluation, account
from prefect_ratify.scenarios.statistics import Interval
from prefect_ratify.store import read_record, write_json, write_record
from prefect_ratify.training_rows import Critique, Demonstration, PreferencePair, Provenance, Revision
from tests.fake_models import FakeModel

POLICY = parse_policy("# T\n\n## Clauses\n- [sorry] Say sorry.\n- [ask] Ask how long.\n- [rude] Never be rude.\n")
LETTERS: dict[str, Outcome] = {"u": "upheld", "v": "violated", "n": "not applicable", "?": "undecided"}
NASTY = "[red]x[/red] | <script>alert(1)</script> \x1b[2J \u202e"
Table = Sequence[str]  # a string a scenario; in it a letter a clause


def scenario(number: int, *, tags: tuple[str, ...] = (), text: str = "") -> Scenario:
    messages = (Message(role="user", content=text or f"query number {number}"),)
    return Scenario(id=f"s{number}", messages=messages, clause_ids=POLICY.clause_ids, split="develop", tags=tags)


def evaluation(
    name: str, table: Table, text: str = "an answer by", reason: str = "because", policy: Policy = POLICY
) -> Evaluation:
    responses = [
        Response(scenario_id=f"s{n}", condition=name, sample=0, text=f"{text} {name} to {n}", finished=True, model="m")
        for n in range(len(table))
    ]
    verdicts = [
        Verdict(
            scenario_id=f"s{n}",
            condition=name,
            sample=0,
            clause_id=clause_id,
            outcome=LETTERS[letter],
            confidence=1.0,
            reason=f"{reason} {name} {clause_id} s{n}",
            judge="check",
        )
        for n, letters in enumerate(table)
        for clause_id, letter in zip(policy.clause_ids, letters, strict=True)
    ]
    return Evaluation(responses, verdicts)


def regression(
    found: dict[str, Evaluation], scenarios: Sequence[Scenario], rules: str = "", policy: Policy = POLICY
) -> Regression:
    """The first against each of the others."""

    def against(first: str, second: str) -> Comparison:
        return compare(found[first].verdicts, found[second].verdicts, policy.clause_ids, scenarios)

    subject, *others = found
    comparisons = tuple(against(other, subject) for other in others)
    return Regression(
        split="develop",
        scenarios=len(scenarios),
        conditions=tuple(Measured(name=name, model="m", account=account(each)) for name, each in found.items()),
        comparisons=comparisons,
        between=tuple(against(a, b) for i, a in enumerate(others) for b in others[i + 1 :]),
        findings=tuple(tuple(examine(parse_rules(rules, policy.clause_ids), c)) for c in comparisons),
        not_run=0,
        dollars=0.0,
    )


# Ten scenarios. From old to new: *sorry* is fixed in nine and stays upheld in one; *ask* regresses in s0 and s1, is
# undecided (before) in s2, decided on neither side in s3, and violated in the rest; *rude* stays upheld.
OLD = ["vuu", "vuu", "v?u", "v?u", *["vvu"] * 5, "uvu"]
NEW = ["uvu", "uvu", "uvu", "u?u", *["uvu"] * 6]
TAGGED = [scenario(n, tags=("housing",) if n < 8 else ("debt",)) for n in range(10)]
RULES = "clause ask never worse; clause rude not worse by more than 0.5; total not worse"


@pytest.fixture
def two() -> Regression:
    return regression({"new": evaluation("new", NEW), "old": evaluation("old", OLD)}, TAGGED, RULES)


@pytest.fixture
def three() -> Regression:
    found = {name: evaluation(name, table) for name, table in (("new", NEW), ("old", OLD), ("third", OLD))}
    return regression(found, TAGGED, RULES)


def shown(
    regression: Regression, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    show(regression)
    return capsys.readouterr().out


def block(text: str, title: str) -> list[str]:
    """The lines under a title, to the next empty one."""
    lines = text.splitlines()
    start = lines.index(title)
    return lines[start + 1 : next(i for i in range(start, len(lines)) if not lines[i].strip())]


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_draws_each_dot_where_its_share_is(
    two: Regression, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(two, capsys, monkeypatch, width)
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= width
    old, new, difference, found = block(text, "sorry")
    scale = new.rindex("●")  # 100 %: the last column of the scale
    start = old.index("├")
    assert old.strip().startswith("○ old") and new.strip().startswith("● new")
    assert "10 % [1–48]" in " ".join(old.split()) and "100 % [72–100]" in " ".join(new.split())
    dots = [place for place, letter in enumerate(old) if letter == "○"]
    axis = next(line for line in text.splitlines() if line.strip().startswith("0 ") and line.strip().endswith("100 %"))
    assert axis[scale - 1 :].startswith("100 %"), "the scale's end stands under the dot of 100 %"
    zero = axis.index("0")
    assert dots[-1] == zero + round(0.1 * (scale - zero)) and start <= dots[-1]
    assert difference.split() == "▲ ● − ○ +90 points [+67, +100] better".split()
    assert found.strip().startswith("could have found a drop of")


def test_the_maps_marks_dress_nothing_else_that_is_open() -> None:
    """A dotted frame stood around each “not shown” of the report's tables."""
    rules = (Path(comparing_stage.__file__).parent / "change_map.css").read_text()
    dressed = [found.strip() for found in re.findall(r"[^{},]*\.open(?!ed)[^{},]*(?=[,{])", rules)]
    assert dressed and all(found.split()[0] in (".marks", ".ruling", "a.open") for found in dressed)


def test_a_bound_that_rounds_to_nothing_still_says_on_which_side_of_it_it_lies() -> None:
    shares = (0.09, 0.004, 0.0, 1e-17, -0.004, -0.09)
    assert [signed_points(share) for share in shares] == ["+9", "+0", "0", "0", "−0", "−9"]


def test_the_terminal_names_what_regressed_and_accounts_for_every_row(
    two: Regression, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(two, capsys, monkeypatch, 80)
    assert "▲ 9 fixed   ▼ 2 regressed   · 17 unchanged   ? 1 undecided" in text
    assert "▼ s0: ask 100 % → 0 %" in text and "▼ s1: ask 100 % → 0 %" in text and "▼ s2" not in text
    rows = {line.strip().rsplit(maxsplit=2)[0]: line.split()[-2:] for line in block(text, "Every row")[1:]}
    assert rows["answers in all"] == ["10", "10"] and rows["verdicts in all"] == ["30", "30"]
    assert [sum(int(rows[kind][side]) for kind in rows if " in all" not in kind) for side in (0, 1)] == [40, 40]
    assert rows["upheld"] == ["20", "13"]
    assert "✗ broken: clause ask never worse" in text and "ask on s0, ask on s1" in text
    assert "? not shown: total not worse" not in text and "✓ kept: total not worse" in text
    ask = " ".join(" ".join(block(text, "ask")).split())
    assert "undecided: ○ 2 of 10, 20 % to 40 % if all fell one way; ● 1 of 10, 0 % to 10 %" in ask
    assert "−40 to −10 if undecided verdicts fell one way" in ask
    assert "debt (2):" in text, "a tag of two scenarios gets a line"


def test_no_difference_shown_is_not_read_as_no_regression(
    two: Regression, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = two.comparisons[0]
    ask = next(d for d in comparison.differences if d.clause_id == "ask")
    assert ask.finding == "no difference shown" and ask.smallest_found is not None and ask.smallest_found > 0.1
    points = findable(ask).removeprefix("could have found a drop of ")
    warning = shown(two, capsys, monkeypatch, 80).splitlines()
    at = next(i for i, line in enumerate(warning) if line.startswith("! “No difference shown” is not “no regression”"))
    assert f"ask {points}" in " ".join(" ".join(warning[at:]).split())
    for text in (markdown(two), page(two, POLICY, TAGGED, [], [])):
        assert "is not “no regression”" in text and f"ask {points}" in text
    sure = comparison.model_copy(
        update={"differences": tuple(d.model_copy(update={"smallest_found": 0.05}) for d in comparison.differences)}
    )
    assert not [line for line in cautions(sure) if "not “no regression”" in line]


def test_a_finding_that_undecided_verdicts_could_undo_is_said_to_be_so(two: Regression) -> None:
    comparison = two.comparisons[0]
    sorry = comparison.differences[0].model_copy(update={"if_undecided": (-0.1, 0.9)})
    shaky = comparison.model_copy(update={"differences": (sorry, *comparison.differences[1:])})
    assert any(line.startswith("sorry: better, but not if") for line in cautions(shaky))
    assert not any(line.startswith("sorry:") for line in cautions(comparison))


def test_more_than_two_conditions_are_drawn_with_marks_of_their_own_and_a_matrix(
    three: Regression, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(three, capsys, monkeypatch, 80)
    sorry = block(text, "sorry")
    assert [line.split()[:2] for line in sorry[:3]] == [["○", "old"], ["◇", "third"], ["●", "new"]]
    assert sum(line.strip().startswith("▲ ● − ") for line in sorry) == 2
    total = three.comparisons[0].total().interval.value
    assert total is not None
    matrix = block(text, "All clauses together, in points: the row minus the column")
    sign = f"+{round(total * 100)}"
    assert matrix[1].split()[:2] == ["●", "new"] and matrix[1].count(sign) == 2
    assert matrix[2].count(sign.replace("+", "−")) == 1 and matrix[3].split()[-2:] == ["0", "·"]
    assert f"| old | ▼ {sign.replace('+', '−')} | · | 0 |" in markdown(
        three
    ) or f"| old | {sign.replace('+', '−')} |" in (markdown(three))


def test_a_difference_turned_round_says_the_opposite(two: Regression) -> None:
    sorry = two.comparisons[0].differences[0]
    other = turned(sorry)
    assert (other.first, other.second, other.finding) == ("new", "old", "worse")
    assert other.interval.value == -0.9 and other.interval.low == -1.0
    assert turned(other).interval == sorry.interval


def test_a_plan_is_shown_with_its_sums(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    plans = [
        Plan(condition="new on openai/gpt-4o", answers_known=7, answers_missing=3, tokens=120_400, dollars=0.5),
        Plan(condition=NASTY, answers_missing=10, judgements_known=2, judgements_missing=4, tokens=100, dollars=0.25),
    ]
    show_plan(plans)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80 and "\x1b" not in text
    total = next(line for line in text.splitlines() if line.strip().startswith("total"))
    assert total.split() == ["total", "7", "13", "2", "4", "120,500", "0.75"]
    assert "17 calls would be made" in text


def hostile() -> tuple[Regression, list[Scenario], list[Response], list[Verdict]]:
    names = (f"new {NASTY}", f"old {NASTY}")
    found = {
        names[0]: evaluation(names[0], ["uvu"] * 8, NASTY, NASTY),
        names[1]: evaluation(names[1], ["vuu"] * 8, NASTY, NASTY),
    }
    scenarios = [scenario(n, tags=(NASTY,), text=NASTY) for n in range(8)]
    responses = [response for each in found.values() for response in each.responses]
    verdicts = [verdict for each in found.values() for verdict in each.verdicts]
    return regression(found, scenarios, RULES), scenarios, responses, verdicts


def test_foreign_text_steers_no_terminal_no_comment_and_no_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, scenarios, responses, verdicts = hostile()
    text = shown(given, capsys, monkeypatch, 80)
    assert "[red]x[/red]" in text and not {"\x1b", "\u202e"} & set(text)
    comment = markdown(given)
    assert not {"\x1b", "\u202e"} & set(comment) and "<script" not in comment
    rows = [line for line in comment.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    assert set(widths) <= {4, 7} and "\\|" in comment, "no name adds a column"
    html = page(given, POLICY, scenarios, responses, verdicts)
    assert "&lt;script&gt;" in html and not {"\x1b", "\u202e"} & set(html)
    assert not re.search(r"<script|javascript:|\son\w+=|https?://|<iframe|<object", html, re.IGNORECASE)


def test_the_comment_has_the_rules_first_and_the_regressed_scenarios_folded_away(two: Regression) -> None:
    text = markdown(two)
    assert text.index("| regression rule |") < text.index("| clause |") < text.index("<details>")
    assert "**✗ broken**" in text and "**▼ 1 rule is broken.**" in text
    row = next(line for line in text.splitlines() if line.startswith("| sorry |"))
    assert "▲ **+90**" in row and "better" in row and "10% [1, 48]" in row and "100% [72, 100]" in row
    assert "▲ 9 fixed, ▼ 2 regressed, · 17 unchanged, ? 1 undecided" in text
    folded = text[text.index("2 scenarios have regressed") :]
    assert "- ▼ **s0**: ask 100 % → 0 %".replace(" %", "\u00a0%") in folded and "**s2**" not in folded
    assert text.count("<details>") == text.count("</details>")


def test_the_comment_fits_github_however_much_has_regressed() -> None:
    count = 2000
    found = {"new": evaluation("new", ["vvv"] * count), "old": evaluation("old", ["uuu"] * count)}
    text = markdown(regression(found, [scenario(n) for n in range(count)]))
    assert len(text) < 65_536 and "and 1800 more" in text


def read_map(html: str) -> Counter[str]:
    """How many cells of each look the map has."""
    cells = re.findall(r'<td><a class="(\w+)" href="#([\w-]+)" title="([^"]+)">(.)</a></td>', html)
    for kind, target, told, sign in cells:
        assert KINDS[kind][0] == sign and told.startswith(KINDS[kind][1])
        assert html.count(f'id="{target}"') == 1, "each cell opens what is there once"
    return Counter(kind for kind, _, _, _ in cells)


def test_the_map_counts_what_the_comparison_counts_and_opens_both_answers(two: Regression) -> None:
    found = [evaluation("new", NEW), evaluation("old", OLD)]
    responses = [response for each in found for response in each.responses]
    verdicts = [verdict for each in found for verdict in each.verdicts]
    html = page(two, POLICY, TAGGED, responses, verdicts)
    comparison, cells = two.comparisons[0], read_map(html)
    assert cells["fixed"] == comparison.count("fixed") == 9
    assert cells["regressed"] == comparison.count("regressed") == 2
    assert cells["open"] == comparison.count("undecided") == 1
    assert cells["kept"] + cells["failing"] + cells["partly"] == comparison.count("unchanged") == 17
    assert (cells["kept"], cells["failing"], cells["neither"]) == (11, 6, 1)
    for response in responses:
        name, number = response.condition, response.scenario_id[1:]
        assert len(re.findall(rf"{name}</(?:del|ins)> to {number}<", html)) == 1, "each answer stands there once"
    opened = html[html.index('id="m0-0"') : html.index("</article>", html.index('id="m0-0"'))]
    assert "query number 0" in opened and "Ask how long." in opened and "housing" in opened
    assert "✗ violated: because new ask s0" in opened and "✓ upheld: because old ask s0" in opened
    assert "<del>old</del>" in opened and "<ins>new</ins>" in opened
    assert html.index("Worse on a clause (2)") < html.index("Better on a clause, worse on none (7)")


def test_the_page_draws_an_arrow_for_what_moved_and_none_for_what_did_not(two: Regression) -> None:
    html = page(two, POLICY, TAGGED, [], [])
    drawn = {name: html[html.index(f'aria-label="{name}: old') :].split("</svg><", 1)[0] for name in POLICY.clause_ids}
    assert 'marker-end="url(#better)"' in drawn["sorry"] and "url(#worse)" not in html
    assert 'x1="10.0%"' in drawn["sorry"] and 'x2="100.0%"' in drawn["sorry"]
    assert "marker-end" not in drawn["ask"].split('aria-label="rude')[0]
    assert "▲ +90\u00a0points" in html and "1 regression rule is broken" in html
    for kind, count in (("upheld", (20, 13)), ("total", (30, 30))):
        assert re.search(rf'{kind}</th><td class="num">{count[0]}</td><td class="num">{count[1]}</td>', html)


def test_what_failed_is_said_in_its_place() -> None:
    new = evaluation("new", ["uuu", "uuu"])
    failed = new.responses[0].model_copy(update={"text": "", "error": "Timeout"})
    cut = new.responses[1].model_copy(update={"finished": False})
    old = evaluation("old", ["uuu", "uuu"])
    scenarios = [scenario(0), scenario(1)]
    html = page(
        regression({"new": new, "old": old}, scenarios),
        POLICY,
        scenarios,
        [failed, cut, *old.responses[:1]],
        [*new.verdicts, *old.verdicts],
    )
    assert "There is no answer (Timeout)." in html and "There is no answer." in html and "cut off" in html
    assert "No rule was given" in html


def test_several_answers_to_a_scenario_are_shown_as_long_as_there_is_room() -> None:
    def twice(found: Evaluation) -> tuple[list[Response], list[Verdict]]:
        again = [r.model_copy(update={"sample": 1, "text": f"{r.text}, again"}) for r in found.responses]
        more = [v.model_copy(update={"sample": 1, "outcome": "violated"}) for v in found.verdicts]
        return [*again, *found.responses], [*more, *found.verdicts]

    new, old = twice(evaluation("new", ["uuu"])), twice(evaluation("old", ["uuu"]))
    laid = change_map(
        compare(old[1], new[1], POLICY.clause_ids), POLICY, [scenario(0)], [*old[0], *new[0]], [*old[1], *new[1]]
    )
    assert (laid.samples, laid.shown) == (2, 2)
    assert [pair.sample for pair in laid.opened[0].pairs] == [0, 1]
    mark = laid.groups[0][1][0].marks[0]
    assert mark is not None and (mark.sign, mark.told.replace("\u00a0", " ")) == (
        "~",
        "unchanged, upheld at times: 50 % → 50 %",
    )
    assert [v.outcome for v in laid.opened[0].rulings[0].first] == ["upheld", "violated"]


@pytest.mark.model
def test_five_hundred_scenarios_make_a_page_that_opens() -> None:
    policy = parse_policy(
        "# T\n\n## Clauses\n" + "".join(f"- [c{n}] {'A clause of some words. ' * 3}\n" for n in range(6))
    )
    count, words = 500, "some words that a model might well have said about the matter at hand here, "
    tables = [["uvuvuv", "vuuvuu"][n % 2] for n in range(count)], [["vvuvuu", "uuuvvu"][n % 2] for n in range(count)]
    new = evaluation("new", tables[0], words * 8, "a reason of a few words", policy)
    old = evaluation("old", tables[1], words * 4 + "or others, " + words * 4, "a reason of a few words", policy)
    scenarios = [scenario(n) for n in range(count)]
    given = regression({"new": new, "old": old}, scenarios, policy=policy)
    html = page(given, policy, scenarios, [*new.responses, *old.responses], [*new.verdicts, *old.verdicts])
    assert len(html.encode()) < 3_000_000
    assert sum(read_map(html).values()) == 3000


def test_words_that_differ_are_marked_and_both_texts_stay_whole() -> None:
    first, second = "Please call a lawyer today, and rest.", "Please call a doctor now, and rest."
    left, right = word_differences(first, second)
    assert "".join(p.text for p in left) == first and "".join(p.text for p in right) == second
    assert [p.text for p in left if p.tone] == ["lawyer today,"] and [p.text for p in right if p.tone] == [
        "doctor now,"
    ]
    apart = word_differences("One two three four.", "Nothing of this is there, at all.")
    assert not any(piece.tone for side in apart for piece in side), "marks on everything show nothing"


@given(st.text("ab \n", max_size=30), st.text("ab \n", max_size=30))
@settings(deadline=None)
def test_no_word_is_lost_between_two_texts(first: str, second: str) -> None:
    left, right = word_differences(first, second)
    assert "".join(piece.text for piece in left) == first and "".join(piece.text for piece in right) == second


def test_dots_lie_at_their_shares_and_conditions_are_told_apart_by_shape() -> None:
    dots = [
        Dot("draft", "a", Interval(value=0.25, low=0.1, high=0.5, scenarios=9)),
        Dot("other", "<b>", Interval(value=0.75, low=0.5, high=1.0, scenarios=9)),
    ]
    drawn = str(lanes("a <clause>", dots, [Arrow(0, 1, "better")]))
    assert '<svg x="25.0%"' in drawn and '<svg x="75.0%"' in drawn and "<clause>" not in drawn and "<b>" not in drawn
    assert 'x1="10.0%" x2="50.0%"' in drawn and 'x1="25.0%"' in drawn and 'class="moved better"' in drawn
    names = ["refined", "refined@abc", "git:main", "openai/gpt-4o", "policy.md", NASTY, "base on m", "base"]
    found = looks(names)
    assert found["refined"] == "refined" and found["base on m"] == "base" and len(set(found.values())) == len(names)
    assert len({str(marker(look)) for look in found.values()}) == len(names)
    assert len(looks([f"git:{n}" for n in range(30)])) == 30, "there are more names than shapes"


def test_what_judges_are_worth_is_said_wherever_a_regression_is_shown(
    two: Regression, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = two.model_copy(update={"judge_words": ("The judge j was not calibrated on clause ask.",)})
    for text in (shown(given, capsys, monkeypatch, 80), markdown(given), page(given, POLICY, TAGGED, [], [])):
        assert "The judge j was not calibrated on clause ask." in text


def without_new_fields(comparison: Comparison) -> Comparison:
    """As a run of an earlier version wrote it."""
    written = comparison.model_dump(mode="json", exclude={"tag_rates", "tag_differences"})
    for item in (*written["rates"], *written["differences"]):
        for name in ("tag", "if_undecided", "smallest_found"):
            item.pop(name, None)
    return Comparison.model_validate(json.loads(json.dumps(written)))


def test_a_comparison_of_an_older_run_can_be_shown(
    two: Regression, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = without_new_fields(two.comparisons[0])
    given = two.model_copy(update={"comparisons": (old,)})
    texts = [shown(given, capsys, monkeypatch, 80), markdown(given), page(given, POLICY, TAGGED, [], [])]
    texts.append(comparison_table(old))
    assert all("could have found" not in text and "by tag" not in text.lower() for text in texts)
    assert cautions(old) == [] and list(regressed(old)) == ["s0", "s1"]


ANSWER = "I'm sorry that this happened to you. How long has it lasted? Please see a licensed attorney."


def taught(scenario: Scenario, text: str, method: str) -> Demonstration:
    """A training row."""
    return Demonstration(
        prompt=scenario.messages,
        completion=(Message(role="assistant", content=text),),
        provenance=Provenance(
            scenario_id=scenario.id,
            clause_ids=scenario.clause_ids,
            policy="digest",
            model="fake",
            method=method,
            seed=0,
        ),
    )


@pytest.fixture
def finished(project: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of models that answer at once, with all its stages; its rules name single scenarios."""
    (project / "stakeholders.yaml").write_text(
        "regression: clause cost never worse; clause short not worse by more than 0.9 with 95 % confidence\n"
    )

    def answer(call: Call) -> str:
        policy = call.messages[0].content if call.messages[0].role == "system" else ""
        return f"{ANSWER} Can you afford a lawyer? Free legal aid may help." if "kindly" not in policy else ANSWER

    run = open_run(project, Settings(scenario_limit=6, samples=2, refine_budget=8))
    run.models.update(responder=FakeModel(answer), student=FakeModel(lambda call: "The law is complicated."))
    monkeypatch.setattr(Run, "student", lambda self: self.model("student"))
    monkeypatch.setattr(comparing_stage, "tuned_model", lambda run: FakeModel(lambda call: ANSWER, name="finetuned"))

    def generate(run: Run, folder: Path) -> None:
        develop = run.project.suite.split("develop")
        rows = [taught(s, ANSWER, "quick") for s in develop]
        write_rows(rows, folder / SUPERVISED / shard_name(0))
        counts = DataCounts(scenarios=len(rows), demonstrations=len(rows), retained=0, lost={}, sentences={})
        write_record(folder / "counts.json", counts)

    def train(run: Run, folder: Path) -> None:
        write_json(folder / "training.json", {"pairs": 0, "preference_training": False})

    stages = {
        "prototype": prototype.prototype,
        "refine": refine.refine,
        "regress": regress.regress,
        "generate": generate,
        "train": train,
        "compare": comparing_stage.compare,
    }
    for name, work in stages.items():
        run_stage(run, name, work)
    return run


def worsened(run: Run) -> None:
    """The regress stage's comparison, written again with *cost* lost on a development and on held-out scenarios."""
    path = run.stage_folder("regress") / "comparison.json"
    found, suite = read_record(path, Comparison), run.project.suite
    lost = {scenario.id for scenario in (*suite.split("develop")[:1], *suite.split("held_out")[:3])}
    cells = [
        c.model_copy(update={"first": 1.0, "second": 0.0, "change": "regressed"})
        if c.clause_id == "cost" and c.scenario_id in lost
        else c
        for c in found.cells
    ]
    write_record(path, found.model_copy(update={"cells": tuple(cells)}))


@pytest.mark.model
def test_the_policy_gate_says_what_the_rules_find_and_names_no_held_out_scenario(finished: Run) -> None:
    worsened(finished)
    text = summary(finished, "policy")
    assert "| regression rule |" in text and "**✗ broken**" in text
    assert "could have found a drop of" in text or "could have found no drop of any size" in text
    everything = text + details(finished, "policy")
    suite = finished.project.suite
    for held_out in suite.split("held_out"):
        assert held_out.id not in everything.replace("\\", "") and held_out.query not in everything.replace("\\", "")
    assert f"cost on {suite.split('develop')[0].id}" in text and text.count("cost on held-out scenario") == 3


@pytest.mark.model
def test_the_release_gate_holds_the_rules_against_what_is_released(finished: Run) -> None:
    text = summary(finished, "release")
    assert text.count("| regression rule |") == 2, "against the base model and against the refined prompt"
    final = read_record(finished.stage_folder("compare") / "comparison.json", Final)
    against = next(c for c in final.comparisons if c.first == "refined")
    lost = sum(cell.clause_id == "cost" and cell.change == "regressed" for cell in against.cells)
    assert lost and "**✗ broken**" in text, "finetuned does not speak of cost, the prompted model does"


@pytest.mark.model
def test_a_project_without_rules_gets_no_table_of_them(finished: Run) -> None:
    table = comparison_table(read_record(finished.stage_folder("regress") / "comparison.json", Comparison))
    assert "regression rule" not in table
    assert [line.count("|") for line in table.splitlines() if line.startswith("|")] == [7] * 9


@pytest.mark.model
def test_the_model_card_says_what_judges_are_worth(finished: Run) -> None:
    assert "calibrated" not in model_card(finished), "checks decide all"
    suite = replace(finished.project.suite, guides={})
    judged = finished.settings.model_copy(update={"models": Models(judge="a, b")})
    card = model_card(replace(finished, project=replace(finished.project, suite=suite), settings=judged))
    assert "- The judge a was not calibrated on clauses " in card and "- The judge b was" in card


@pytest.mark.model
def test_the_report_has_the_map_of_what_finetuning_changed(finished: Run) -> None:
    html = report_page(finished)
    final = read_record(finished.stage_folder("compare") / "comparison.json", Final)
    against = next(c for c in final.comparisons if c.first == "refined")
    cells = read_map(html)
    assert cells["regressed"] == against.count("regressed") > 0 and cells["fixed"] == against.count("fixed")
    assert cells["open"] == against.count("undecided")
    assert "<script" not in html and "From prompted, refined to finetuned." in html
    first = next(cell for cell in against.cells if cell.change == "regressed")
    assert f">{first.scenario_id}</a></th>" in html
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', html))
    assert sum(final.accounts["finetuned"].verdicts.values()) == 6 * 2 * 6
    assert html.count('<tr class="total"><th scope="row">total</th>') == 2


@pytest.mark.model
def test_the_report_shows_evasion_the_rows_with_their_ids_and_how_to_trace_them(finished: Run) -> None:
    html, numbers = report_page(finished), report_numbers(finished)
    assert html.count("0 non-answers of 12") == 5, "five conditions, six held-out requests, twice"
    assert html.count(" non-answers of ") == 10, "and the same on unrelated requests"
    evaded = numbers["conditions"]["finetuned"]["evasion"]
    assert evaded["held_out"]["rate"]["value"] == 0.0 and evaded["unrelated"]["answers"] > 0
    assert "ratify trace PROJECT ROW" in html
    rows = spread_rows(finished.stage_folder("generate") / SUPERVISED, 6)
    assert len(rows) == 6 and all(f"row <code>{id}</code> · written" in html for id, _ in rows)
    counts = finished.stage_folder("generate") / "counts.json"
    found = counted([row for _, row in rows if isinstance(row, Demonstration)], [])
    write_record(counts, found.model_copy(update={"lint": {"too <long>": 2}}))
    html = report_page(finished)
    assert "variations of them" not in html
    assert "Kept with a finding: 2 × too &lt;long&gt;." in html and '<th scope="row">made by: quick</th>' in html


@pytest.mark.model
def test_the_data_gate_shows_counts_losses_and_rows_of_every_clause(finished: Run) -> None:
    folder = finished.stage_folder("generate")
    hostile = "<script>alert(1)</script> | **no** \x1b[31m"
    (scenario,) = finished.project.suite.split("develop")[:1]
    plain = taught(scenario, ANSWER, "critique and revision")
    critique = Critique(clause_id="cost", text=hostile)
    more = {"original": "No idea.", "revisions": (Revision(critique=critique, text=ANSWER),), "round": 1}
    row = plain.model_copy(update={"provenance": plain.provenance.model_copy(update=more)})
    own = Scenario(id="pasta", messages=scenario.messages, clause_ids=(), split="develop")
    pasta = taught(own, "Ten minutes.", "own answer retained")
    pair = PreferencePair(
        prompt=scenario.messages,
        chosen=row.completion,
        rejected=(Message(role="assistant", content="Buy one."),),
        provenance=plain.provenance,
    )
    write_rows([plain, row, pasta], folder / SUPERVISED / shard_name(0))
    write_rows([pair], folder / PREFERENCES / shard_name(0))
    found = counted([plain, row, pasta], [pair])
    write_record(
        folder / "counts.json", found.model_copy(update={"lost": {hostile: 3}, "lint": {"too long": 2}, "scenarios": 1})
    )
    text = summary(finished, "data")
    assert "2 answers to learn from 1 scenarios; 1 retain rows (33% of the rows)" in text
    assert "![Rows by clause](data:image/svg+xml;base64," in text
    assert "| cost | 2 | 1 |" in text, "two rows touch it, one of them was revised by it"
    assert "lost: 3 × &lt;script&gt;" in text and "kept, but look at it: 2 × too long" in text
    shown = details(finished, "data")
    assert shown.index("> *answered before:* No idea.") < shown.index("> *critique by cost:*")
    assert "> *rejected:* Buy one." in shown and "> *answer to learn:* Ten minutes." in shown
    assert all(f"`{row_id(each)}`" in shown for each in (plain, row, pasta, pair))
    for part in (text, shown):
        assert "<script" not in part and "\x1b" not in part and "**no**" not in part
