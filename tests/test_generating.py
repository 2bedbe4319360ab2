"""The data stage: the right rows in shards, as many calls as planned, and the same files whatever went wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.errors import InputError, LeakError, ShortOfRows
from prefect_ratify.finetune import rows as making_rows
from prefect_ratify.finetune.counts import DataCounts
from prefect_ratify.finetune.dataset import PREFERENCES, SUPERVISED, demonstrations, row_files, stream_rows
from prefect_ratify.finetune.row_search import ids_beginning
from prefect_ratify.finetune.shards import (
    BLOCK,
    DONE,
    PLAN,
    RowPlan,
    Way,
    is_made,
    read_prompts,
    rows_to_retain,
    undo_unanswered,
    write_prompts,
    write_shard,
)
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.local_models import LocalModel
from prefect_ratify.records import Call, Completion, Message, Policy, Scenario
from prefect_ratify.store import read_record, write_record
from prefect_ratify.training_rows import Demonstration, TrainingPrompt
from tests.data_run import answering, begin, fields, files, make, role_of, topic, write_project
from tests.fake_rows import demonstration
from tests.model_server import Fault, Messages, ModelServer, model_server

Serve = Callable[[Callable[[Messages], str]], ModelServer]
MARK = b"SECRETMARK"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start scripted servers, at which the run's models are then found; what fails is tried again at once."""
    monkeypatch.setattr("prefect_ratify.call_store.backoff", lambda attempt: 0.01)
    monkeypatch.setattr(making_rows, "SECONDS_BETWEEN_LOOKS", 0.02)
    with ExitStack() as running:

        def start(answer: Callable[[Messages], str]) -> ModelServer:
            server = running.enter_context(model_server(answer))
            monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.url)
            monkeypatch.setenv("HOSTED_VLLM_API_KEY", "none")
            return server

        yield start


def asked(server: ModelServer) -> dict[str, int]:
    """How many calls of each role a server got, without greetings."""
    return dict(Counter(role for role in map(role_of, server.requests) if role != "greeting"))


def rows_in(folder: Path) -> list[Demonstration]:
    return list(demonstrations(folder / SUPERVISED))


def counts_in(folder: Path) -> DataCounts:
    return read_record(folder / "counts.json", DataCounts)


def with_student(run: Run) -> Run:
    """The run with a student that answers at once."""
    student = run.student()

    def complete(calls: Sequence[Call], meter: object) -> Iterator[tuple[int, Completion]]:
        yield from ((n, Completion(text=f"Cook it for {call.seed % 9973} minutes.")) for n, call in enumerate(calls))

    found = LocalModel(student.name, student.folder, student.digest)
    found.complete = complete  # type: ignore[assignment]
    run.models["student"] = found
    return run


# plans


WAYS: list[tuple[Way, ...]] = [("revise",), ("compose",), ("distil",), ("revise", "distil")]


def plan(prompts: int, unrelated: int, answers: int, ways: tuple[Way, ...], retained: int, shard_rows: int) -> RowPlan:
    return RowPlan(
        prompts=prompts,
        unrelated=unrelated,
        answers=answers,
        ways=ways,
        retained=retained,
        shard_rows=shard_rows,
        blocks=(0,),
    )


@given(
    prompts=st.integers(0, 20),
    unrelated=st.integers(1, 5),
    answers=st.integers(1, 3),
    ways=st.sampled_from(WAYS),
    retained=st.integers(0, 17),
    shard_rows=st.integers(1, 30),
)
def test_shards_hold_every_row_once(
    prompts: int, unrelated: int, answers: int, ways: tuple[Way, ...], retained: int, shard_rows: int
) -> None:
    found = plan(prompts, unrelated, answers, ways, retained, shard_rows)
    shards = [found.places(number) for number in range(found.shards)]
    places = [place for shard in shards for place in shard]
    assert [place.place for place in places] == list(range(found.rows))
    assert all(0 < len(shard) <= shard_rows for shard in shards)
    assert len({(place.prompt, place.sample) for place in places}) == len(places), "no two rows make the same calls"
    written = Counter((place.prompt, place.way) for place in places if place.way != "own")
    assert written == {(prompt, way): answers for prompt in range(prompts) for way in ways}
    own = Counter(place.prompt for place in places if place.way == "own")
    assert own.total() == retained and set(own) <= set(range(prompts, prompts + unrelated))
    assert not own or max(own.values()) - min(own.values() if len(own) == unrelated else [0]) <= 1


@given(rows=st.integers(0, 10_000), unrelated=st.integers(1, 50), share=st.floats(0, 0.9))
def test_retained_rows_have_their_share_of_all(rows: int, unrelated: int, share: float) -> None:
    retained = rows_to_retain(rows, unrelated, share)
    assert abs(retained - share * (rows + retained)) <= 0.5
    assert rows_to_retain(rows, unrelated, None) == unrelated
    assert rows_to_retain(rows, 0, share) == 0


@pytest.mark.parametrize("first", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_prompts_are_found_by_their_number(tmp_path: Path, first: int) -> None:
    def prompts() -> Iterator[TrainingPrompt]:
        for number in range(2 * BLOCK + 5):
            messages = (Message(role="user", content=f"Grüße {number}"),)
            yield TrainingPrompt(scenario=Scenario(id=f"s{number}", messages=messages, clause_ids=(), split="develop"))

    blocks = write_prompts(prompts(), tmp_path / "prompts.jsonl")
    assert len(blocks) == 3
    found = read_prompts(tmp_path / "prompts.jsonl", blocks, first, 4)
    assert [prompt.scenario.id for prompt in found] == [f"s{n}" for n in range(first, min(first + 4, 2 * BLOCK + 5))]


def missing(folder: Path) -> list[int]:
    return [number for number in range(read_record(folder / PLAN, RowPlan).shards) if not is_made(folder, number)]


def test_a_shard_is_made_when_its_counts_are_there_and_undone_where_rows_got_no_answer(tmp_path: Path) -> None:
    write_record(tmp_path / PLAN, plan(6, 1, 1, ("revise",), 0, 2))
    assert missing(tmp_path) == [0, 1, 2]
    write_shard(tmp_path, 1, [], [], DataCounts(asked=2, lost={"x": 1}))
    write_shard(tmp_path, 2, [], [], DataCounts(asked=2, lost={"x": 1}, unanswered=1))
    assert missing(tmp_path) == [0]
    undo_unanswered(tmp_path)
    assert missing(tmp_path) == [0, 2]


def test_a_shard_whose_files_are_gone_or_damaged_is_made_again_and_is_read_in_no_other_way(tmp_path: Path) -> None:
    write_record(tmp_path / PLAN, plan(4, 0, 1, ("revise",), 0, 2))
    scenario = Scenario(id="s", messages=(Message(role="user", content="Hi"),), clause_ids=("a",), split="develop")
    row = demonstration(scenario, "Hello.", Policy(title="T", clauses=()), "m", "revise", 0)
    for number in (0, 1):
        write_shard(tmp_path, number, [row], [], DataCounts(asked=2, demonstrations=1))
    assert missing(tmp_path) == []
    first, second = row_files(tmp_path / SUPERVISED)
    first.unlink()
    assert missing(tmp_path) == [0]
    second.write_bytes(second.read_bytes()[:-9])
    assert missing(tmp_path) == [0, 1]
    with pytest.raises(InputError, match=r"shard-00001.parquet: these rows cannot be read \(.*ratify run --fresh$"):
        list(ids_beginning([tmp_path / SUPERVISED], "a"))


# the stage

model = pytest.mark.model


@model
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"rounds": 2}, {"answer": 9, "critique": 18, "revision": 18, "verdict": 36}),
        ({"rounds": 1, "answers": 2}, {"answer": 18, "critique": 18, "revision": 18, "verdict": 72}),
        # of a distilled row: three candidates with two judged clauses each, and an own answer to hold against it
        ({"method": "distil", "best_of": 3}, {"prompted": 27, "answer": 9, "verdict": 72}),
        (
            {"method": "both", "rounds": 1, "best_of": 2},
            {"prompted": 18, "answer": 18, "critique": 9, "revision": 9, "verdict": 90},
        ),
    ],
)
def test_the_server_sees_exactly_the_calls_that_were_planned(
    tmp_path: Path, serve: Serve, data: dict[str, object], expected: dict[str, int]
) -> None:
    number = iter(range(10_000))
    said: Callable[[str], Callable[[str], str]] = lambda role: lambda text: f"{role} {next(number)} on {topic(text)}"  # noqa: E731
    prompted = said("I am sorry. How long? This is")
    revision = lambda text: fields(revision=f"I am sorry {next(number)}")  # noqa: E731
    server = serve(answering(answer=said("Answer"), prompted=prompted, revision=revision))
    write_project(tmp_path / "p", 9)
    run = begin(tmp_path / "p", shard_rows=4, **data)
    folder = make(run)
    assert asked(server) == expected
    found = read_record(folder / PLAN, RowPlan)
    assert found.calls == sum(expected.values())
    assert len(rows_in(folder)) == found.rows == counts_in(folder).demonstrations
    make(run)
    assert asked(server) == expected, "what is made is not asked for again"


@model
def test_each_row_says_where_it_comes_from_and_nothing_held_out_is_in_any_file(tmp_path: Path, serve: Serve) -> None:
    serve(answering())
    write_project(tmp_path / "p", 5, unrelated=2)
    folder = make(with_student(begin(tmp_path / "p", method="both", retain=0.5)))
    rows = rows_in(folder)
    assert Counter(row.provenance.method for row in rows) == {
        "critique and revision": 5,
        "distilled from the policy as prompt": 5,
        "own answer retained": 10,
    }
    assert len({(row.prompt, row.completion) for row in rows}) == 20, (
        "retained rows of one request have seeds of their own"
    )
    for row in rows:
        origin = row.provenance
        assert len(origin.policy) == len(origin.model_digest) == len(origin.prompts) == 64
        assert not any("You keep the policy" in message.content for message in row.prompt)
        assert bool(origin.after) == bool(origin.clause_ids)
    assert len({row.provenance.prompts for row in rows}) == 3
    assert all(
        pair["provenance"]["scenario_id"] in {f"s{n}" for n in range(5)} for pair in stream_rows(folder / PREFERENCES)
    )
    card = (folder / "data" / "README.md").read_text()
    assert "scripted" in card and "embedded" in card
    for name, content in files(folder).items():
        assert MARK not in content and b"zebra" not in content, name


@model
def test_a_row_that_holds_a_held_out_request_fails_the_stage_by_name(tmp_path: Path, serve: Serve) -> None:
    leaking = "I am sorry that a zebra SECRETMARK trampled your greenhouse and all orchids. How long ago?"
    serve(answering(revision=lambda text: fields(revision=leaking)))
    write_project(tmp_path / "p", 3)
    run = begin(tmp_path / "p", rounds=1)
    with pytest.raises(LeakError, match="'s0'") as caught:
        make(run)
    folder = run.stage_folder("generate.part")
    assert "trampled" not in str(caught.value) and "zebra-case" in str(caught.value)
    assert missing(folder) == [0] and not any(MARK in content for content in files(folder).values())


@model
def test_variations_and_votes_give_rows_and_a_variation_that_is_a_held_out_request_is_in_no_file(
    tmp_path: Path, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    leaking = "A zebra SECRETMARK trampled my greenhouse and all orchids."
    number = iter(range(10_000))

    def answer(messages: Messages) -> str:
        shown = messages[-1]["content"]
        if "[[ ## requests ## ]]" in shown:
            varied = f"Aunt Ida has a {topic(shown)} in Cork, and {len(shown)} letters on it"
            return fields(requests=json.dumps([leaking if "rent" in shown else varied]))
        if shown.endswith("is option:"):
            first, second = map(int, re.findall(r"law of (\d+)", shown))
            return "A" if first < second else "B"
        return answering(answer=lambda text: f"See the law of {next(number)}.")(messages)

    serve(answer)
    write_project(tmp_path / "p", 3)
    folder = make(begin(tmp_path / "p", rounds=1, variations=1, votes=2))
    counts = counts_in(folder)
    assert "2 of 3 variations kept (refused: 1 × too close to a held-out scenario)" in capsys.readouterr().err
    assert (counts.prompts, counts.scenarios, counts.asked, counts.demonstrations) == (5, 3, 5, 5)
    assert sum(counts.by_origin.values()) == 5 and counts.by_origin["written"] == 3
    touching = sum(bool(row.provenance.clause_ids) for row in rows_in(folder))
    assert counts.pairs_by_method["two own answers, preferred by a feedback model"] == touching >= 3
    for name, content in files(folder).items():
        assert MARK not in content and b"trampled" not in content, name


@model
def test_a_development_scenario_that_is_a_held_out_one_is_found_before_any_prompt_is_written(
    tmp_path: Path, serve: Serve
) -> None:
    server = serve(answering())
    write_project(tmp_path / "p", 3)
    path = tmp_path / "p" / "scenarios.yaml"
    near = "- {id: near, query: 'A zebra SECRETMARK trampled my greenhouse and all orchids today.', split: develop}"
    path.write_text(path.read_text().replace("scenarios:", f"scenarios:\n{near}"))
    run = begin(tmp_path / "p")
    with pytest.raises(LeakError, match="'near' is too close to the held-out one 'zebra-case'"):
        make(run)
    assert asked(server) == {} and files(run.stage_folder("generate.part")) == {}


# teachers that fail


@model
@pytest.mark.parametrize(
    ("critic", "reason"),
    [
        ({"critique": lambda text: "As you wish!"}, "a critique that cannot be read, for clause sorry"),
        ({"revision": lambda text: "42"}, "a revision that cannot be read, for clause sorry"),
        ({"revision": lambda text: fields(revision="Sorry, I can't help with that.")}, "lint: refusal"),
    ],
)
def test_a_teacher_that_talks_nonsense_ends_short_of_rows_with_the_numbers(
    tmp_path: Path, serve: Serve, critic: dict[str, Callable[[str], str]], reason: str
) -> None:
    serve(answering(**critic))
    write_project(tmp_path / "p", 8)
    run = begin(tmp_path / "p", rounds=1, shard_rows=3)
    with pytest.raises(ShortOfRows, match=f"only 0 of 8 training rows could be made \\(8 × {reason}\\)"):
        make(run)
    assert counts_in(run.stage_folder("generate.part")).lost == {reason: 8}


@model
def test_a_teacher_that_is_down_for_a_while_costs_no_row(tmp_path: Path, serve: Serve) -> None:
    write_project(tmp_path / "p", 30)
    serve(answering())
    whole = files(make(begin(tmp_path / "p", shard_rows=10)))
    down, lock, left = threading.Event(), threading.Lock(), [400]  # requests that are refused once it is down

    def failing(messages: Messages) -> str:
        if role_of(messages) == "revision":
            down.set()
        with lock:
            if down.is_set() and left[0]:
                left[0] -= 1
                raise Fault(503)
        return answering()(messages)

    write_project(tmp_path / "q", 30)
    server = serve(failing)
    folder = make(begin(tmp_path / "q", shard_rows=10))
    assert left == [0] and len(server.requests) > 700
    assert counts_in(folder).lost == {} and counts_in(folder).unanswered == 0
    same = {name: content for name, content in files(folder).items() if name.startswith(DONE)}
    assert same == {name: content for name, content in whole.items() if name.startswith(DONE)}


@model
def test_a_teacher_that_stays_down_leaves_its_shards_for_the_next_run(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making_rows, "LONGEST_SILENCE", 0.1)
    down, healed = threading.Event(), threading.Event()

    def answer(messages: Messages) -> str:
        if role_of(messages) == "critique" and topic(messages[-1]["content"]) == "visa 8":
            down.set()
        if down.is_set() and not healed.is_set():
            raise Fault(503)
        return answering()(messages)

    serve(answer)
    write_project(tmp_path / "p", 9)
    run = begin(tmp_path / "p", rounds=1, shard_rows=3)
    with pytest.raises(
        ShortOfRows, match=r"shard \d: [123] of 3 rows got no answer, and 'hosted_vllm/scripted' is silent"
    ) as caught:
        make(run)
    folder = run.stage_folder("generate.part")
    made = counts_in(folder).demonstrations
    assert str(caught.value).endswith(f"of all 9 rows {made} are made, 0 lost, {9 - made} to make") and 0 < made < 9
    assert 2 in missing(folder) and 0 not in missing(folder)
    before = (folder / SUPERVISED / "shard-00000.parquet").stat().st_mtime_ns
    healed.set()
    make(run)
    assert (counts_in(folder).demonstrations, counts_in(folder).lost) == (9, {})
    assert (folder / SUPERVISED / "shard-00000.parquet").stat().st_mtime_ns == before


@model
def test_a_request_that_an_endpoint_never_answers_is_that_rows_loss_and_no_other(tmp_path: Path, serve: Serve) -> None:
    def answer(messages: Messages) -> str:
        if role_of(messages) == "critique" and topic(messages[-1]["content"]) == "divorce 4":
            raise Fault(500)
        return answering()(messages)

    serve(answer)
    write_project(tmp_path / "p", 9)
    run = begin(tmp_path / "p", rounds=1, shard_rows=3)
    counts = counts_in(make(run))
    assert counts.lost == {"no critique (ServerError), for clause sorry": 1}
    assert (counts.demonstrations, counts.unanswered) == (8, 1)
    assert missing(run.stage_folder("generate.part")) == []


@model
def test_too_few_rows_for_want_of_answers_are_the_next_runs_to_make(tmp_path: Path, serve: Serve) -> None:
    healed = threading.Event()

    def answer(messages: Messages) -> str:
        if role_of(messages) == "critique" and "wage" not in messages[-1]["content"] and not healed.is_set():
            raise Fault(500)
        return answering()(messages)

    serve(answer)
    write_project(tmp_path / "p", 4)
    run = begin(tmp_path / "p", rounds=1, shard_rows=2)
    wanted = r"only 1 of 4 training rows could be made \(3 × no critique \(ServerError\)"
    with pytest.raises(ShortOfRows, match=wanted) as caught:
        make(run)
    assert "the 3 that got no answer are asked for once more" in str(caught.value)
    healed.set()
    assert counts_in(make(run)).demonstrations == 4


@model
def test_a_judge_that_is_down_for_a_while_leaves_nothing_undecided(tmp_path: Path, serve: Serve) -> None:
    left, lock = [150], threading.Lock()

    def answer(messages: Messages) -> str:
        with lock:
            if role_of(messages) in ("verdict", "greeting") and left[0] and not starting.is_set():
                left[0] -= 1
                raise Fault(429)
        return answering()(messages)

    starting = threading.Event()
    starting.set()
    serve(answer)
    write_project(tmp_path / "p", 8)
    run = begin(tmp_path / "p", rounds=1)
    assert run.model("responder") and run.model("critic") and run.judges()
    starting.clear()
    after = counts_in(make(run)).after
    assert left == [0] and after["ask"] == after["short"] == {"upheld": 8}


# kills


@model
def test_killed_at_any_moment_it_makes_what_is_missing_and_the_files_are_the_same(tmp_path: Path, serve: Serve) -> None:
    def answer(messages: Messages) -> str:
        time.sleep(0.005)
        return answering()(messages)

    server = serve(answer)
    for name in ("whole", "killed"):
        write_project(tmp_path / name, 72)
        begin(tmp_path / name, rounds=1, shard_rows=6)
    folder = make(begin(tmp_path / "whole", rounds=1, shard_rows=6))
    planned = read_record(folder / PLAN, RowPlan).calls
    server.requests.clear()
    command = [sys.executable, "-m", "tests.data_run", str(tmp_path / "killed"), "3"]
    said = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=120)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["killed"] * 3, "each process was killed while it worked"
    again = begin(tmp_path / "killed", rounds=1, shard_rows=6).stage_folder("generate.part")
    assert files(again) == files(folder)
    assert 0 <= sum(asked(server).values()) - planned <= 3 * 64, "all that is asked twice is what was under way"
