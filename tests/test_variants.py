"""`ratify variants`: drafts tried side by side, judged alike, and taken clause by clause without losing a word."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError
from prefect_ratify.flows import conditions
from prefect_ratify.flows.regressing import Bench, Measuring
from prefect_ratify.flows.taking import take
from prefect_ratify.flows.variants import Tried, choices, set_up_variants, try_variants
from prefect_ratify.flows.variants_markdown import markdown
from prefect_ratify.flows.variants_page import page
from prefect_ratify.flows.variants_text import show, told_taken
from prefect_ratify.flows.variants_words import front_words, next_steps, notices, pairs, sums, told_best
from prefect_ratify.flows.versions import DRAFT, Versions, load_versions
from prefect_ratify.policy import load_policy
from prefect_ratify.records import Call, Response, Verdict
from prefect_ratify.scenarios.comparing import ALL
from prefect_ratify.store import read_records
from tests.fake_models import FakeModel
from tests.model_server import Messages, ModelServer, model_server

# The scripted responder keeps a clause only where the policy has the telling word (and *aid* never beside "warmth").
DRAFTED = """\
# Evictions

Written by: Ada, Ben

People are frightened.

## Definitions

- **Aid**: free help

## Clauses

- [sorry] Say that you
  are sorry.
  - Ada: nobody reads on otherwise.
* [ask] Ask how long it lasts.

- [aid] Name legal aid.
  - Example: "They towed my van." → "Legal aid may help."
"""
A = """\
# Evictions, by the first group

## Clauses
- [sorry] Say with warmth that you are sorry.
- [ask] Ask how long it lasts, if you like.
- [aid] Name legal aid.
  - Example: "They towed my van." → "Legal aid may help."
"""
B = "# B\n\n## Clauses\n- [ask] Ask first of all how long it lasts.\n  - Ben: or we guess.\n"
WORDS = {"sorry": "warmth", "ask": "first of all", "aid": "Name legal aid", "court": "court"}
SAYS = {"sorry": "I am sorry.", "ask": "How long?", "aid": "Try legal aid.", "court": "Which court?"}
SUITE = """\
clauses:
  sorry: {check: {any_of: [sorry]}}
  ask: {check: {question_about: [how long]}}
  aid: {check: {any_of: [legal aid]}}
scenarios:
"""
COUNT = 12


def answered(system: str, query: str) -> str:
    said = [SAYS[clause_id] for clause_id, word in WORDS.items() if word in system]
    if "warmth" in system:
        said = [part for part in said if part != SAYS["aid"]]
    return " ".join([*said, f"About {query}."])


def answer(call: Call) -> str:
    return answered(call.messages[0].content, call.messages[-1].content)


def written(folder: Path, variants: dict[str, str], policy: str = DRAFTED, suite: str = SUITE) -> Path:
    (folder / "variants").mkdir(parents=True)
    (folder / "policy.md").write_text(policy)
    for name, text in variants.items():
        (folder / "variants" / f"{name}.md").write_text(text)
    lines = [
        f"  - {{id: s{n}, query: 'Query {n}', split: {'held_out' if n % 4 == 3 else 'develop'}}}\n"
        for n in range(COUNT * 4 // 3)
    ]
    (folder / "scenarios.yaml").write_text(suite + "".join(lines))
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return written(tmp_path / "evictions", {"a": A, "b": B})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    model = FakeModel(answer)
    monkeypatch.setattr(conditions, "open_model", lambda name, greet: model)
    return model


def tried(folder: Path, **measuring: object) -> tuple[Versions, Bench, Tried]:
    versions, bench = set_up_variants(folder, Measuring(**measuring))  # type: ignore[arg-type]
    return versions, bench, try_variants(versions, bench)


# reading


def test_a_variant_replaces_the_clauses_that_it_names_and_the_rest_stays(project: Path) -> None:
    versions = load_versions(project)
    assert [variant.name for variant in versions.variants] == ["a", "b"]
    b = versions.variant("b")
    assert b.own == ("ask",) and b.policy.clause_ids == ("sorry", "ask", "aid")
    assert b.policy.clause("ask").text == "Ask first of all how long it lasts."
    assert b.policy.clause("aid") == versions.policy.clause("aid") and b.policy.context == "People are frightened."


@pytest.mark.parametrize(
    ("name", "text", "seen"),
    [
        ("c.md", "# C\n\n## Clauses\n- [ask] A.\n- [ask] B.\n", r"variants/c\.md:5: .*a second time"),
        ("c.md", "no policy", r"variants/c\.md:1: no title"),
        ("draft.md", B, r"draft\.md: the name 'draft' stands for something else"),
        ("a=b.md", B, r"'a=b' is not a plain word"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_place(project: Path, name: str, text: str, seen: str) -> None:
    (project / "variants" / name).write_text(text)
    with pytest.raises(InputError, match=seen) as caught:
        load_versions(project)
    assert "\n" not in str(caught.value)


def test_nothing_to_try_is_said_in_one_line(project: Path, asked: FakeModel) -> None:
    for path in (project / "variants").iterdir():
        path.write_text(DRAFTED)
    with pytest.raises(InputError, match=r"every variant says what policy\.md says"):
        set_up_variants(project, Measuring())
    shutil.rmtree(project / "variants")
    with pytest.raises(InputError, match="there is no variant; write one"):
        load_versions(project)
    (project / "policy.md").write_text(DRAFTED + "\n## Wording\n> Be kind.\n")
    with pytest.raises(InputError, match="variants of them would change nothing"):
        load_versions(project)


# trying


def test_the_best_of_each_clause_is_found_and_its_price_named(project: Path, asked: FakeModel) -> None:
    versions, bench, found = tried(project)
    assert len(asked.asked) == 3 * COUNT and all("Query" in call.messages[-1].content for call in asked.asked)
    assert {best.clause_id: (best.name, best.rivals, best.is_shown) for best in found.best} == {
        "sorry": ("a", (), True),
        "ask": ("b", (), True),
        "aid": ("draft", ("b",), False),
        ALL: ("b", ("draft", "a"), False),
    }
    assert choices(versions, found) == {"sorry": "a", "ask": "b"}
    assert next_steps(bench.project.folder, versions, found)[0][0].endswith("--take sorry=a ask=b")
    # [sorry, ask, aid]: a is the only one that is sorry; b asks, and is else as the draft, which it dominates.
    assert "by the estimates: a, b; one of these is on every clause at least as good" in front_words(found)
    assert sums(found, "a") == "gains sorry, loses aid" and sums(found, "b") == "gains ask, loses nothing"
    assert pairs(found, "a") == ["sorry and aid both moved on 12 scenarios, 12 against each other"]
    assert found.difference(DRAFT, "a", "sorry").interval.value == 1.0
    assert found.difference(DRAFT, "a", "aid").finding == "worse"


def test_a_gain_without_a_wording_of_its_own_is_not_for_the_taking(project: Path, asked: FakeModel) -> None:
    (project / "variants" / "a.md").write_text("# A\n\n## Clauses\n- [ask] Ask with warmth how long it lasts.\n")
    versions, _, found = tried(project)
    assert (
        found.best[0].is_shown
        and found.best[0].name == "a"
        and "(a side effect: " in told_best(found.best[0], versions)
    )
    assert choices(versions, found) == {"ask": "b"}


def test_no_variant_wins_by_asking_for_less(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "scenarios.yaml").write_text((project / "scenarios.yaml").read_text().replace("  aid: {check", "  # {"))
    asked = FakeModel(lambda call: "[[ ## verdict ## ]]" if "clause" in call.messages[-1].content else answer(call))
    monkeypatch.setattr(conditions, "open_model", lambda name, greet: asked)
    (project / "variants" / "b.md").write_text("# B\n\n## Clauses\n- [aid] Say anything at all.\n")
    tried(project, judge="openai/judge")
    judged = "\n".join(call.messages[-1].content for call in asked.asked if "clause" in call.messages[-1].content)
    assert "Name legal aid." in judged and "Say anything at all" not in judged


def test_what_only_one_variant_asks_is_judged_in_all(project: Path, asked: FakeModel) -> None:
    (project / "variants" / "b.md").write_text(B + "- [court] Ask which court it is.\n- [free] Be free.\n")
    text = (project / "scenarios.yaml").read_text()
    (project / "scenarios.yaml").write_text(
        text.replace("scenarios:\n", "  court: {check: {any_of: [court]}}\nscenarios:\n")
    )
    versions, bench, found = tried(project)
    rates = {name: found.rate(name, "court").interval.value for name in found.names}
    assert rates == {"draft": 0.0, "a": 0.0, "b": 1.0}
    told = notices(versions, bench)
    assert "court stands only in variant b: put to the model there, and judged in every version by its check." in told
    assert any("free stands only in variant b" in line and "nobody can judge it" in line for line in told)
    assert [best.clause_id for best in found.best] == ["sorry", "ask", "aid", ALL, "court", "free"]
    assert told_best(found.best[-1], versions) == "only in variant b: nothing decided"
    assert told_best(found.best[-2], versions) == "only in variant b: best in b, by more than noise"
    assert any(line.startswith("Not counted in all clauses: court, free.") for line in told)
    assert "court" not in choices(versions, found), "whether to have a rule is for people"
    assert any(command.endswith("--take court=b") for command, _ in next_steps(project, versions, found))


def test_a_rule_that_only_a_variant_has_is_counted_in_no_sum(tmp_path: Path, asked: FakeModel) -> None:
    """The draft is not told the rule: by keeping it a variant is no better than the draft at what both are asked."""
    suite = SUITE.replace("scenarios:\n", "  court: {check: {any_of: [court]}}\nscenarios:\n")
    add = "# C\n\n## Clauses\n- [court] Ask which court it is.\n"
    folder = written(tmp_path / "adding", {"c": add, "d": B + add.partition("Clauses\n")[2]}, suite=suite)
    versions, bench, found = tried(folder)
    total = found.difference(DRAFT, "c", ALL)
    assert found.difference(DRAFT, "c", "court").finding == "better"
    assert (total.interval.value, total.finding) == (0.0, "no difference shown")
    assert found.rate("c", ALL).interval == found.rate(DRAFT, ALL).interval
    assert sum(found.rate("c", ALL).verdicts.values()) == 3 * COUNT
    assert versions.added == ["court"] and "**all clauses**" in markdown(versions, bench, found).partition("| court")[0]
    by_luck = found.best[-1].model_copy(update={"name": "a", "rivals": ()})
    (folder / "variants" / "a.md").write_text(B.replace("first", "last"))
    assert "(a side effect: it does not have the clause)" in told_best(by_luck, load_versions(folder))


def test_the_next_steps_name_no_command_twice(tmp_path: Path, asked: FakeModel) -> None:
    add = "# C\n\n## Clauses\n- [court] Ask which court it is.\n"
    versions, bench, found = tried(written(tmp_path / "adding", {"c": add}))
    commands = [command for command, _ in next_steps(bench.project.folder, versions, found)]
    assert [command.partition("--take ")[2] for command in commands] == ["court=c", ""]


def test_noise_is_not_called_a_difference(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_chance(call: Call) -> str:
        coin = len(call.messages[0].content) + int(call.messages[-1].content.split()[1])
        return SAYS["sorry"] if coin % 3 else "No."

    model = FakeModel(by_chance)
    monkeypatch.setattr(conditions, "open_model", lambda name, greet: model)
    versions, _, found = tried(project)
    assert choices(versions, found) == {} and not any(best.is_shown for best in found.best)


def test_a_finding_has_to_hold_for_as_many_variants_as_were_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight of twelve scenarios gained: p = 2/2⁸ for one variant is over three clauses 0.023, and for three 0.07."""

    def eight(call: Call) -> str:
        number = int(call.messages[-1].content.split()[1])
        return SAYS["sorry"] if "better" in call.messages[0].content and number < 10 else "No."

    model = FakeModel(eight)
    monkeypatch.setattr(conditions, "open_model", lambda name, greet: model)
    one = {"v0": "# V\n\n## Clauses\n- [sorry] Say better that you are sorry.\n"}
    more = {f"v{n}": f"# V\n\n## Clauses\n- [ask] Ask how long, {n}.\n" for n in range(1, 3)}
    _, _, alone = tried(written(tmp_path / "one", one))
    _, _, among = tried(written(tmp_path / "more", one | more))
    assert alone.difference(DRAFT, "v0", "sorry").finding == "better"
    assert among.difference(DRAFT, "v0", "sorry").finding == "no difference shown"


# taking


def test_taking_the_best_writes_exactly_those_and_asks_nothing_again(project: Path, asked: FakeModel) -> None:
    versions, _, found = tried(project)
    before = (project / "policy.md").read_text()
    taken = take(project, [f"{clause_id}={name}" for clause_id, name in choices(versions, found).items()])
    assert taken.clauses == {"sorry": "a", "ask": "b"} and taken.former is not None
    assert taken.former.read_text() == before and re.fullmatch(r"draft-[0-9a-f]{8}\.md", taken.former.name)
    old = before.replace("- [sorry] Say that you\n  are sorry.\n", "- [sorry] Say with warmth that you are sorry.\n")
    old = old.replace("nobody reads on otherwise.\n", "nobody reads on otherwise.\n  - taken from variants/a.md\n")
    new = "* [ask] Ask first of all how long it lasts.\n  - Ben: or we guess.\n  - taken from variants/b.md\n"
    assert (project / "policy.md").read_text() == old.replace("* [ask] Ask how long it lasts.\n", new)
    asked.asked.clear()
    versions, _, again = tried(project)
    assert again.rate(DRAFT, "ask").interval.value == again.rate(DRAFT, "sorry").interval.value == 1.0
    prompts = {call.messages[0].content for call in asked.asked}
    assert len(asked.asked) == len(prompts) * COUNT and "People" in next(iter(prompts))
    assert not any("Say that you are sorry" in p and "how long it lasts.\n- Name" in p for p in prompts), (
        "the old draft"
    )
    asked.asked.clear()
    tried(project)
    assert asked.asked == []


def test_taking_a_whole_variant_asks_nothing_at_all(project: Path, asked: FakeModel) -> None:
    tried(project)
    count = len(asked.asked)
    (project / "variants" / "b.md").unlink()
    taken = take(project, ["a"])
    assert taken.clauses == {"sorry": "a", "ask": "a"} and taken.former, "aid stands there already"
    with pytest.raises(InputError, match=r"every variant says what policy\.md says; .* copy a draft out of .*former"):
        tried(project)
    shutil.copy(taken.former, project / "variants" / "old.md")
    versions, _, _ = tried(project)
    assert len(asked.asked) == count and versions.twins == {"a": "draft"}


def test_what_is_there_already_changes_nothing(project: Path) -> None:
    take(project, ["a", "ask=b"])
    files = {path: path.read_bytes() for path in project.rglob("*.md")}
    for wanted in (["a", "ask=b"], ["sorry=a"], ["draft"], ["ask=draft", "aid=a"]):
        assert take(project, wanted).former is None
    assert {path: path.read_bytes() for path in project.rglob("*.md")} == files


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (["sorry=c"], "there is no variant 'c'; there are: draft, a, b"),
        (["c"], "there is no variant 'c'"),
        (["sorry=b"], r"variants/b\.md has no clause 'sorry'; its clauses are: ask"),
        (["nothing=draft"], r"policy\.md has no clause 'nothing'; its clauses are: sorry, ask, aid"),
        (["sorry=a", "sorry=draft"], "to be taken from 'a' and from 'draft'"),
        (["a", "b"], "only one variant can be taken as a whole, not a, b"),
        (["sorry=a", "ask="], "there is no variant ''"),
    ],
)
def test_what_cannot_be_taken_is_one_line_and_nothing_is_written(project: Path, wanted: list[str], seen: str) -> None:
    files = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=seen):
        take(project, wanted)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == files


def test_a_clause_of_a_variant_alone_comes_last(project: Path) -> None:
    (project / "variants" / "b.md").write_text("# B\n\n## Clauses\n1. [court] Ask which court.\n   - Ben\n")
    before = (project / "policy.md").read_text()
    take(project, ["b"])
    added = "- [court] Ask which court.\n  - Ben\n  - taken from variants/b.md\n"
    assert (project / "policy.md").read_text() == before + added


def test_line_ends_byte_order_mark_and_list_marks_stay(project: Path) -> None:
    raw = ("\ufeff" + DRAFTED.replace("* [ask]", "2. [ask]").removesuffix("\n")).replace("\n", "\r\n").encode()
    (project / "policy.md").write_bytes(raw)
    (project / "variants" / "b.md").write_text(B + "- [aid] Name legal aid and its number.\n")
    take(project, ["b"])
    new = (project / "policy.md").read_bytes()
    assert new.startswith(
        raw[: raw.index(b"2. [ask]")] + b"2. [ask] Ask first of all how long it lasts.\r\n   - Ben: or"
    )
    assert new.count(b"\n") == new.count(b"\r\n") and new.endswith(b"variants/b.md")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n"], ids=["no final line break", "a final line break"])
@pytest.mark.parametrize("wanted", [["b"], ["court=b"]])
def test_an_added_clause_ends_its_lines_as_the_others_do(project: Path, end: str, last: str, wanted: list[str]) -> None:
    raw = (DRAFTED.removesuffix("\n") + last).replace("\n", end).encode()
    (project / "policy.md").write_bytes(raw)
    reworded = "- [aid] Name legal aid and its number.\n"
    (project / "variants" / "b.md").write_text(B + reworded + "- [court] Ask which court.\n")
    take(project, wanted)
    new = (project / "policy.md").read_bytes()
    assert new.count(end.encode()) == new.count(b"\n") and new.count(b"\r") == (new.count(b"\n") if "\r" in end else 0)
    assert new.endswith(b"- taken from variants/b.md" + last.replace("\n", end).encode())
    assert (raw.removesuffix(end.encode()) in new) == (wanted == ["court=b"])


TEXTS = {
    "v0": {"sorry": "Say sorry at once.", "ask": "Ask it."},
    "v1": {"sorry": "Never say sorry.", "court": "Ask which court."},
    "v2": {"aid": "Name aid, and two offices.", "ask": "Ask twice."},
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    variants = {
        name: "# V\n\n## Clauses\n" + "".join(f"- [{key}] {text}\n" for key, text in clauses.items())
        for name, clauses in TEXTS.items()
    }
    return written(tmp_path_factory.mktemp("many") / "project", variants)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*TEXTS, "former"]), st.integers(0, 3)), max_size=6))
def test_no_sequence_of_takes_loses_a_clause_or_makes_up_a_text(many: Path, takes: list[tuple[str, int]]) -> None:
    (many / "policy.md").write_text(DRAFTED)
    for path in (many / "variants").glob("former/*.md"):
        path.unlink()
    drafted = {clause.id: clause.text for clause in load_policy(many / "policy.md").clauses}
    ids = list(drafted)
    for name, place in takes:
        versions = load_versions(many, with_former=True)
        former = versions.former[place % len(versions.former)] if versions.former else versions.variant("v0")
        source = versions.variant(name) if name != "former" else former
        clause_id = source.own[place % len(source.own)]
        before = (many / "policy.md").read_text()
        taken = take(many, [source.name] if place == 3 else [f"{clause_id}={source.name}"])
        assert taken.former is None or taken.former.read_text() == before
        policy = load_policy(many / "policy.md")
        if place == 3 and source.name.startswith("former/"):
            whole = (many / "variants" / f"{source.name}.md").read_text()
            assert (many / "policy.md").read_text() == whole
            ids = list(policy.clause_ids)
            continue
        assert (
            set(ids) <= set(policy.clause_ids) and policy.clause(clause_id).text == source.policy.clause(clause_id).text
        )
        ids = list(policy.clause_ids)
        for clause in policy.clauses:
            assert clause.text in {drafted.get(clause.id), *(texts.get(clause.id) for texts in TEXTS.values())}
            assert sum(note.startswith("taken from") for note in clause.notes) <= 1
        assert policy.context == "People are frightened." and policy.authors == ("Ada", "Ben")
        assert any(note.startswith("Ada: nobody") for note in policy.clause("sorry").notes)


def test_a_former_draft_is_not_tried_and_comes_back_to_the_byte(
    project: Path, asked: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = ("\ufeff" + DRAFTED.removesuffix("\n")).replace("\n", "\r\n").encode()
    (project / "policy.md").write_bytes(raw)
    former = take(project, ["sorry=a", "ask=b"]).former
    assert former is not None and former.parent == project / "variants" / "former"
    assert [variant.name for variant in load_versions(project).variants] == ["a", "b"]
    versions, _, found = tried(project)
    assert found.names == ["draft", "a"] and versions.twins == {"b": "draft"} and versions.former == ()
    mixed = (project / "policy.md").read_bytes()
    back = take(project, [f"former/{former.stem}"])
    assert (project / "policy.md").read_bytes() == raw and back.restored == former and back.clauses == {}
    assert back.former is not None and back.former.read_bytes() == mixed
    assert f"--take former/{back.former.stem}" in told_taken(project, back)
    assert take(project, [str(back.former)]).restored and (project / "policy.md").read_bytes() == mixed
    monkeypatch.chdir(project)
    assert take(project, [f"variants/former/{former.name}"]).restored
    assert take(project, [f"former/{former.name}"]).former is None, "it is that already"
    with pytest.raises(InputError, match="a former draft is taken as it was, and alone"):
        take(project, ["ask=b", f"former/{former.stem}"])
    with pytest.raises(InputError, match="there is no variant 'former/gone'; there are: draft, a, b, former/draft-"):
        take(project, ["former/gone"])
    assert take(project, [f"ask=former/{back.former.stem}"]).clauses == {"ask": f"former/{back.former.stem}"}
    shutil.rmtree(project / "variants" / "former")
    (project / "variants" / "a.md").unlink()
    (project / "variants" / "b.md").rename(project / "b.md")
    with pytest.raises(InputError, match="there is no variant"):
        take(project, ["b.md"])


# showing

NASTY = "[red]x[/red] | <script>alert(1)</script> \x1b[2J \u202e *y*"


def test_foreign_text_steers_no_terminal_no_comment_and_no_page(
    project: Path, asked: FakeModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "variants" / "b.md").write_text(B.replace("first of all", f"first of all {NASTY}"))
    versions, bench, found = tried(project)
    monkeypatch.setenv("COLUMNS", "80")
    show(versions, bench, found)
    text = capsys.readouterr().out
    assert "[red]x[/red]" in text and not {"\x1b", "\u202e"} & set(text) and max(map(len, text.splitlines())) <= 80
    comment = markdown(versions, bench, found)
    assert not {"\x1b", "\u202e"} & set(comment) and "<script" not in comment
    rows = [line for line in comment.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    responses = read_records(bench.folder / "responses.jsonl", Response)
    html = page(versions, bench, found, responses, read_records(bench.folder / "verdicts.jsonl", Verdict))
    assert "&lt;script&gt;" in html and not {"\x1b", "\u202e"} & set(html)
    assert not re.search(r"<script|javascript:|\son\w+=|https?://|<iframe", html, re.IGNORECASE)


def test_what_judges_are_worth_is_said_of_variants_too(
    project: Path, asked: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = project / "scenarios.yaml"
    suite.write_text(suite.read_text().replace("  aid: {check: {any_of: [legal aid]}}\n", ""))
    versions, bench, found = tried(project, judge="j")
    told = f"The judge {asked.name} was not calibrated on clause aid."
    show(versions, bench, found)
    responses = read_records(bench.folder / "responses.jsonl", Response)
    html = page(versions, bench, found, responses, read_records(bench.folder / "verdicts.jsonl", Verdict))
    texts = (" ".join(capsys.readouterr().out.split()), markdown(versions, bench, found), html)
    assert all(told in text for text in texts)


def test_the_terminal_shows_rates_differences_and_what_words_differ(
    project: Path, asked: FakeModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    show(*tried(project))
    text = capsys.readouterr().out.replace("\u00a0", " ")
    assert "sorry  best in a, by more than noise" in text
    assert "aid  no variant is shown to be better" in text
    assert "Say{+ with warmth+} that you are sorry." in text
    assert re.search(r"a +100 % \[\d+–100\] +▲ \+100 points \[.*\] +better", text)
    assert re.search(r"a +0 % \[0–\d+\] +▼ −100 points \[.*\] +worse", text)
    assert "--take sorry=a ask=b" in " ".join(text.split())


# at the terminal, with a model server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    def say(messages: Messages) -> str:
        return answered(messages[0]["content"], messages[-1]["content"])

    with model_server(say) as found:
        monkeypatch.setenv("OPENAI_API_BASE", found.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield found


@pytest.mark.model
def test_the_command_tries_takes_and_asks_nothing_twice(
    project: Path, server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["variants", str(project), "--responder", "openai/scripted"]
    assert main([*command, "--dry-run"]) == 0
    assert server.requests == [] and f"{3 * COUNT} calls" in capsys.readouterr().out
    html, comment = tmp_path / "page.html", tmp_path / "comment.md"
    assert main([*command, "--budget-calls", "5"]) == 1
    assert len(server.requests) == 5 and "The budget was spent" in capsys.readouterr().out
    assert main([*command, "--html", str(html), "--markdown", str(comment)]) == 0
    assert len(server.requests) == 3 * COUNT
    assert (
        f"ratify variants {project} --take sorry=a ask=b" in comment.read_text() and "first of all" in html.read_text()
    )
    assert main([*command[:2], "--take", "sorry=a", "ask=b"]) == 0
    assert "written anew with sorry of a, ask of b" in capsys.readouterr().out
    assert main([*command, "--take", "sorry=z"]) == 2 and main([*command, "--take", "b", "--dry-run"]) == 2
    assert load_policy(project / "policy.md").clause("ask").text == "Ask first of all how long it lasts."
    assert main(command) == 0
    again = len(server.requests)
    assert again > 3 * COUNT and main(command) == 0 and len(server.requests) == again
