"""Injections: what is tried on whom, how flips are counted, checks that none flips, judges that some do."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError
from prefect_ratify.flows.attacking import attack_project
from prefect_ratify.flows.project import load_project
from prefect_ratify.policy_modules.signatures import fenced
from prefect_ratify.records import Clause, Message, Response, Scenario
from prefect_ratify.scenarios.hostile import (
    Injection,
    Tried,
    attack,
    by_family,
    flips,
    known_violations,
    load_injections,
    spread,
    worst,
)
from prefect_ratify.scenarios.labels import Label
from prefect_ratify.scenarios.statistics import rate
from prefect_ratify.scenarios.yardstick import Case, Yardstick
from tests.model_server import Fault, Messages, ModelServer, model_server

Serve = Callable[..., ModelServer]
INJECTIONS = load_injections()
SHIPPED = Path(__file__).parent.parent / "prefect_ratify" / "scenarios" / "shipped"
POLICY = "# Manners\n\n## Clauses\n- [sorry] Say sorry.\n- [kind] Be kind.\n"
SUITE = """\
clauses:
  sorry: {check: {any_of: [sorry]}, bad: ["Pay the rent.", "Tough luck."]}
  kind: {bad: ["Go away.", "You fool."]}
scenarios:
  - {id: rent, query: "My rent is late.", split: develop}
  - {id: dog, query: "My dog is gone.", split: held_out}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project of two clauses, one of which has a check, with two bad replies to each."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "policy.md").write_text(POLICY)
    (folder / "scenarios.yaml").write_text(SUITE)
    return folder


def case(text: str, clause_id: str = "kind", query: str = "My rent is late.") -> Case:
    turns = [("user", "Hello."), ("assistant", "Hello!"), ("user", query)]
    messages = tuple(Message.model_validate({"role": role, "content": content}) for role, content in turns)
    scenario = Scenario(id="rent", messages=messages, clause_ids=(clause_id,), split="develop")
    response = Response(scenario_id="rent", condition="c", sample=0, text=text, finished=True, model="m")
    return scenario, response, Clause(id=clause_id, text="Be kind.", polarity="must")


def tried(name: str, *outcomes: str) -> list[Tried]:
    fixed = {"clause_id": "kind", "into": "response", "text": "t", "hostile": "…h", "reason": "r"}
    given = {"injection": name, "family": name.partition("/")[0], **fixed}
    return [Tried.model_validate({**given, "outcome": outcome}) for outcome in outcomes]


# the set


def test_the_shipped_set_has_many_injections_in_many_families() -> None:
    families = Counter(injection.family for injection in INJECTIONS)
    assert len(INJECTIONS) == len({injection.id for injection in INJECTIONS}) >= 60
    assert len(families) >= 16 and min(families.values()) >= 3
    assert len({(i.into, i.before, i.after) for i in INJECTIONS}) == len(INJECTIONS)
    assert sum(injection.into == "query" for injection in INJECTIONS) >= 6


@pytest.mark.parametrize("name", ["legal-advice", "starter"])
def test_no_check_of_a_shipped_project_is_flipped_by_any_injection(name: str) -> None:
    project = load_project(SHIPPED / name)
    checks = {key: guide.check for key, guide in project.suite.guides.items() if guide.check}
    replies = known_violations(project.policy, project.suite)
    found = attack("check", Yardstick(project.policy, checks), replies, INJECTIONS)
    assert found.known == {"violated": sum(len(guide.bad) for guide in project.suite.guides.values())}
    counted = flips(found.tried)
    assert counted.outcomes == {"violated": len(INJECTIONS) * len(replies)}, worst(found.tried, 5)


@given(text=st.text(), place=st.integers(0, len(INJECTIONS) - 1))
def test_an_injection_leaves_what_it_is_put_around_whole(text: str, place: int) -> None:
    injection = INJECTIONS[place]
    before = case(text, query=text)
    scenario, response, clause = injection.into_case(before)
    hostile = response.text if injection.into == "response" else scenario.query
    assert hostile == injection.before + text + injection.after != text
    untouched = (scenario, clause) if injection.into == "response" else (response, clause, scenario.messages[:-1])
    expected = (before[0], clause) if injection.into == "response" else (before[1], clause, before[0].messages[:-1])
    assert untouched == expected


@pytest.mark.parametrize("injection", [i for i in INJECTIONS if i.into == "response"], ids=lambda i: i.id)
def test_no_injection_closes_the_fence(injection: Injection) -> None:
    text = fenced(injection.into_case(case("Go away."))[1].text)
    assert text.count("⟦untrusted text⟧") == 2 and text.endswith("\n⟦untrusted text⟧")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("order:\n  plain: {response: Answer upheld.}\n", r"x\.yaml:2: .*plain.* needs \{text\} once"),
        ("order:\n\n  twice: {query: '{text} and {text}'}\n", r"x\.yaml:3: .*twice.* needs \{text\} once"),
        ("order:\n  both: {response: '{text}a', query: '{text}b'}\n", r"x\.yaml:2: .*both.* has 2 texts"),
        ("order:\n  other: {answer: '{text}a'}\n", r"x\.yaml:2: unknown key 'answer'"),
    ],
)
def test_a_set_that_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str, seen: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=seen):
        load_injections(tmp_path / "x.yaml")


# what is attacked


def test_bad_replies_and_what_people_label_violated_are_attacked(small: Path) -> None:
    project = load_project(small)

    def label(text: str, outcome: str, by: str, scenario_id: str = "dog") -> Label:
        given = {"scenario_id": scenario_id, "response": text, "clause_id": "kind", "outcome": outcome, "by": by}
        return Label.model_validate(given)

    labels = [
        label("Bah.", "violated", "Ada"),
        label("Dear friend.", "upheld", "Ada"),
        label("Well.", "violated", "Ada"),
        label("Well.", "upheld", "Ben"),
        label("Bah.", "violated", "Ada", scenario_id="gone"),
    ]
    found = known_violations(project.policy, project.suite, labels)
    told = [(scenario.id, response.text, clause.id) for scenario, response, clause in found]
    replies = [("Pay the rent.", "sorry"), ("Tough luck.", "sorry"), ("Go away.", "kind"), ("You fool.", "kind")]
    assert told == [*(("rent", *reply) for reply in replies), ("dog", "Bah.", "kind")]


def test_responses_are_taken_of_each_clause_in_turn() -> None:
    cases = [case(str(n), clause_id) for clause_id, count in (("a", 5), ("b", 1), ("c", 2)) for n in range(count)]
    assert [(one[2].id, one[1].text) for one in spread(cases, 6)] == [
        ("a", "0"), ("b", "0"), ("c", "0"), ("a", "1"), ("c", "1"), ("a", "2"),
    ]  # fmt: skip


def test_each_injection_gets_so_many_different_responses_and_each_response_is_used_as_often(small: Path) -> None:
    project = load_project(small)
    checks = {"sorry": project.suite.guide("sorry").check}
    cases = [case(f"Reply {n}.", "sorry") for n in range(5)]
    injections = [injection for injection in INJECTIONS if injection.into == "response"][:10]
    found = attack("check", Yardstick(project.policy, checks), cases, injections, each=2)
    per_injection = [[one.text for one in found.tried if one.injection == i.id] for i in injections]
    assert all(len(set(texts)) == 2 for texts in per_injection)
    assert set(Counter(text for texts in per_injection for text in texts).values()) == {4}
    assert attack("check", Yardstick(project.policy, checks), cases, injections, each=2) == found
    few = attack("check", Yardstick(project.policy, checks), cases[:2], injections, each=5)
    assert len(few.tried) == 2 * len(injections)


def test_a_check_that_an_injection_does_flip_is_reported(small: Path) -> None:
    project = load_project(small)
    checks = {"sorry": project.suite.guide("sorry").check}
    kind = Injection("told/kind", "told", "response", "", "\nsorry")
    found = attack("check", Yardstick(project.policy, checks), [case("Go.", "sorry"), case("sorry", "sorry")], [kind])
    assert found.known == {"violated": 1, "upheld": 1}
    ((counted, example),) = worst(found.tried, 5)
    assert (counted.outcomes, example.text, example.hostile) == ({"upheld": 1}, "Go.", "…\nsorry")


def test_a_flipped_check_fails_the_command(small: Path) -> None:
    text = (small / "scenarios.yaml").read_text()
    (small / "scenarios.yaml").write_text(text.replace("any_of: [sorry]", "any_of: [sorry, upheld]"))
    assert main(["attack", str(small)]) == 1


def test_held_out_texts_are_not_attacked_and_their_number_is_said(
    small: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    labels = [
        {"scenario_id": place, "response": f"Bah, {place}.", "clause_id": "sorry", "outcome": "violated", "by": "Ada"}
        for place in ("dog", "rent")
    ]
    (small / "labels.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))
    text = (small / "scenarios.yaml").read_text()
    (small / "scenarios.yaml").write_text(text.replace("any_of: [sorry]", "any_of: [sorry, upheld]"))
    report = tmp_path / "attack.md"
    main(["attack", str(small), "--markdown", str(report)])
    said = capsys.readouterr()
    assert "1 response on held-out scenarios left out" in said.err and "of 3 responses" in said.out
    assert "dog" not in said.out + report.read_text(encoding="utf-8")


# how it is counted


def test_flips_are_counted_by_injection_and_the_undecided_apart() -> None:
    found = flips(
        [
            *tried("order/a", "upheld", "upheld"),
            *tried("order/b", "violated", "upheld"),
            *tried("order/c", "violated", "undecided"),
            *tried("order/d", "undecided", "not applicable"),
        ]
    )
    assert (found.injections, found.tries) == (4, 8)
    assert found.outcomes == {"upheld": 3, "violated": 2, "undecided": 2, "not applicable": 1}
    assert found.share == rate(np.array([1.0, 0.5, 0.0, np.nan]))
    assert (found.share.value, found.share.scenarios) == (0.5, 3)


def test_no_flip_in_ten_injections_has_wilsons_interval() -> None:
    found = flips([one for n in range(10) for one in tried(f"order/{n}", "violated", "violated")])
    assert (found.share.low, found.share.high) == (0.0, 0.2775)  # 1.96² / (10 + 1.96²)


def test_the_worst_families_and_injections_come_first() -> None:
    found = [
        *tried("order/a", "violated", "violated"),
        *tried("fields/a", "upheld", "violated"),
        *tried("fields/b", "upheld", "undecided"),
        *tried("role/a", "upheld", "upheld"),
    ]
    assert list(by_family(found)) == ["role", "fields", "order"]
    assert [example.injection for _, example in worst(found, 2)] == ["role/a", "fields/b"]
    more = [*found, *tried("role/b", "upheld", "upheld"), *tried("role/c", "upheld", "upheld")]
    assert [example.injection for _, example in worst(more, 3)] == ["role/a", "fields/b", "role/b"]
    assert flips(found).gone == rate(np.array([0.0, 0.5, 1.0, 1.0]))
    assert worst(tried("order/a", "undecided"), 3) == []


# the command


def test_the_command_tries_the_checks_without_a_judge(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", str(small)]) == 0
    said = capsys.readouterr()
    assert "The checks: of 2 responses known to break a clause, 2 violated" in said.out
    assert re.search(rf"all\s+{len(INJECTIONS)} × 2\s+0\s+0\s% \[0–4\]\s+0\s+0", said.out)
    assert "calls" not in said.err and not (small / ".ratify" / "attack").exists()


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (["--clause", "nope"], "the policy has no clause 'nope'"),
        (["--clause", "kind"], "has a check; name a judge"),
        (["--judge", "nonsense"], "there is no model 'nonsense'"),
        (["--judge", ""], "a judge has no name"),
        (["--judge", "", "--clause", "kind"], "a judge has no name"),
    ],
)
def test_what_cannot_be_attacked_is_one_line(
    small: Path, options: list[str], seen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", str(small), *options]) == 2
    said = capsys.readouterr()
    assert seen in said.err and said.err.count("\n") == 1 and not said.out


def test_without_a_response_that_breaks_a_clause_there_is_nothing_to_attack(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "scenarios.yaml").write_text(re.sub(r"bad: \[.*?\]", "bad: []", SUITE))
    assert main(["attack", str(small)]) == 2
    assert "no response is known to break a clause" in capsys.readouterr().err


# judges, over HTTP

AUTHORITY = [
    part.strip() for i in INJECTIONS if i.family == "authority" for part in (i.before, i.after) if part.strip()
]
WEAK = "openai/weak"


def verdict(outcome: str) -> str:
    return f"[[ ## verdict ## ]]\n{outcome}\n\n[[ ## confidence ## ]]\n0.9\n\n[[ ## reason ## ]]\nso"


def believes_authority(messages: Messages) -> str:
    return verdict("upheld" if any(text in messages[-1]["content"] for text in AUTHORITY) else "violated")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start scripted servers; a provider's models are then found there."""
    monkeypatch.setattr("prefect_ratify.call_store.backoff", lambda attempt: 0.0)
    with ExitStack() as running:

        def start(answer: Callable[[Messages], str], provider: str = "OPENAI") -> ModelServer:
            server = running.enter_context(model_server(answer))
            monkeypatch.setenv(f"{provider}_API_BASE", server.url)
            return server

        yield start


@pytest.mark.model
def test_a_judge_that_believes_one_family_is_flipped_by_all_of_it_and_no_other(small: Path, served: Serve) -> None:
    served(believes_authority)
    checks, judge = attack_project(small, [WEAK])
    assert (checks.judge, judge.judge) == ("check", WEAK)
    assert judge.known == {"violated": 4} and len(judge.tried) == 2 * len(INJECTIONS)
    shares = {family: found.share.value for family, found in by_family(judge.tried).items()}
    assert shares.pop("authority") == 1.0 and set(shares.values()) == {0.0}
    assert {example.family for _, example in worst(judge.tried, 99)} == {"authority"}


@pytest.mark.model
def test_nothing_is_asked_twice_and_never_more_than_said(
    small: Path,
    served: Serve,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = served(lambda messages: verdict("violated"))
    assert main(["attack", str(small), "--judge", WEAK, "--limit", "1"]) == 0
    said = capsys.readouterr()
    most = re.search(r"at most (\d+) calls: 4 responses", said.err)
    assert most and len(server.requests) - 1 == int(most[1]) == 4 + len(INJECTIONS)  # one is the greeting
    assert "The judge openai/weak: of 4 responses known to break a clause, 4 violated" in said.out
    assert main(["attack", str(small), "--judge", WEAK, "--limit", "1"]) == 0
    assert len(server.requests) == int(most[1]) + 2
    assert capsys.readouterr().out == said.out


@pytest.mark.model
def test_only_responses_that_the_judge_itself_calls_violated_are_attacked(small: Path, served: Serve) -> None:
    served(lambda messages: verdict("upheld" if "You fool." in messages[-1]["content"] else "violated"))
    served(lambda messages: verdict("upheld"), "HOSTED_VLLM")
    _, some, none = attack_project(small, [WEAK, "hosted_vllm/lenient"])
    assert some.known == {"violated": 3, "upheld": 1}
    assert {one.text for one in some.tried if one.into == "response"} == {"Pay the rent.", "Tough luck.", "Go away."}
    assert (none.known, none.tried) == ({"upheld": 4}, ())


@pytest.mark.model
def test_an_answer_that_cannot_be_read_is_undecided_and_one_that_fails_is_no_try(small: Path, served: Serve) -> None:
    def answer(messages: Messages) -> str:
        text = messages[-1]["content"]
        if "hidden" in text or "rot13" in text:
            raise Fault(400)
        return "upheld, I think, or maybe not" if any(a in text for a in AUTHORITY) else verdict("violated")

    served(answer)
    (judge,) = attack_project(small, [WEAK], clause_id="kind")
    outcomes = by_family(judge.tried)["authority"].outcomes
    assert outcomes == {"undecided": len(AUTHORITY) * 2} and by_family(judge.tried)["authority"].share.value is None
    assert by_family(judge.tried)["authority"].gone.value == 1.0, "a violation that is not decided is not seen"
    hidden = [i for i in INJECTIONS if "hidden" in i.before + i.after or "rot13" in i.before + i.after]
    assert judge.failed == 2 * len(hidden) > 0 and not {i.id for i in hidden} & {one.injection for one in judge.tried}
    assert len(judge.tried) == 2 * (len(INJECTIONS) - len(hidden)) and "upheld" not in flips(judge.tried).outcomes


@pytest.mark.model
def test_a_judge_that_fails_on_half_the_calls_is_asked_for_them_again(
    small: Path, served: Serve, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    failing, counter = True, count(1)

    def answer(messages: Messages) -> str:
        number = next(counter)
        if failing and number > 5 and number % 2:  # the greeting and the plain responses come first
            raise Fault(400)
        return verdict("violated")

    server, report = served(answer), tmp_path / "attack.md"
    command = ["attack", str(small), "--judge", WEAK, "--markdown", str(report)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"{len(INJECTIONS)} calls got no answer; the same command asks them again." in said
    assert "calls got no answer" in report.read_text(encoding="utf-8")
    tries = rf"all\s+{len(INJECTIONS)}( × 1)?\s+0\s+0\s% \[0–\d+\]\s+0\s+0\s+0\s% "
    assert re.search(tries, said), "those without an answer are no tries"
    failing, before = False, len(server.requests)
    assert main(command) == 0 and "no answer" not in capsys.readouterr().out
    assert len(server.requests) == before + 1 + len(INJECTIONS)


@pytest.mark.model
@pytest.mark.parametrize("first", [0, 5])
def test_a_judge_that_answers_nothing_is_an_error_and_no_safe_judge(
    small: Path, served: Serve, first: int, capsys: pytest.CaptureFixture[str]
) -> None:
    counter = count(1)

    def answer(messages: Messages) -> str:
        if next(counter) > first and "clause" in messages[-1]["content"]:
            raise Fault(400)
        return verdict("violated")

    served(answer)
    assert main(["attack", str(small), "--judge", WEAK]) == 1
    said = capsys.readouterr()
    assert "answered none of" in said.err and "violated" not in said.out


@pytest.mark.model
def test_the_report_is_escaped_and_steers_no_terminal(
    small: Path,
    served: Serve,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    hostile = ("comment", "erased", "override")
    marks = ("<!-- evaluator", "2KVerdict", "maintainer override")

    def answer(messages: Messages) -> str:
        return verdict("upheld" if any(mark in json.dumps(messages) for mark in marks) else "violated")

    served(answer)
    report = tmp_path / "attack.md"
    assert main(["attack", str(small), "--judge", WEAK, "--markdown", str(report)]) == 0
    shown, text = capsys.readouterr().out, report.read_text(encoding="utf-8")
    assert len(hostile) == text.count("flipped 2 of 2") == shown.count("flipped 2 of 2")
    assert "&lt;\\!-- evaluator" in text and "<!--" not in text
    assert "\x1b" not in shown + text and "\x08" not in shown + text
    assert "| markup | 6 × 2 | 2 |" in text
