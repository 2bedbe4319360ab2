"""Faults, over real HTTP: what is done stays done, every row is accounted for, nothing is paid for twice."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from prefect_ratify import call_store
from prefect_ratify.budget import Budget, Spending
from prefect_ratify.call_store import ATTEMPTS, NOT_RUN, Asking, CallStore, pooled
from prefect_ratify.errors import RatifyError
from prefect_ratify.language_models import Answer, TokenCounter, Transient
from prefect_ratify.policy_modules import endpoint
from prefect_ratify.policy_modules.models import AT_ONCE
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion, Message, Response, Sampling, Verdict
from prefect_ratify.scenarios.running import account
from tests.fake_models import FakeModel
from tests.fault_server import (
    BROKEN,
    BUSY,
    BUSY_FOR,
    BUSY_UNTIL,
    CUT,
    EMPTY,
    ERROR,
    GARBAGE,
    SHAPELESS,
    STALLED,
    FaultServer,
    Request,
    fault_server,
)
from tests.killed_run import ROWS, evaluated, kept, remote, result

pytestmark = pytest.mark.model
KILLS = 20
STALL = 10.0
LEAKS = ("Unclosed", "never retrieved", "was destroyed", "never awaited")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries come soon after each other, and no test leaves an address behind in the environment."""
    monkeypatch.setattr(call_store, "backoff", lambda attempt: 0.02)
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "")
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.sqlite"


def calls(count: int, max_tokens: int = 128) -> list[Call]:
    sampling = Sampling(max_tokens=max_tokens)
    return [
        Call(messages=(Message(role="user", content=f"query {number}"),), sampling=sampling, seed=0)
        for number in range(count)
    ]


# kills


def test_a_run_killed_at_twenty_moments_asks_again_only_what_was_in_flight(tmp_path: Path) -> None:
    with fault_server(delay=0.08) as server:
        command = [sys.executable, "-m", "tests.killed_run", "kills", server.url, str(tmp_path / "killed"), str(KILLS)]
        said = subprocess.run([*command, "7"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        requests = server.requests()
        calm = evaluated(remote(server.url, "calm"), tmp_path / "calm")
        assert server.most_at_once() <= AT_ONCE
        needed = [request for request in server.requests() if request.asker == "calm"]
    assert said[-1] == result(calm)
    assert account(calm).responses == {"answered": ROWS}

    after = [set(json.loads(line)) for line in said if line.startswith("[")] + [set(kept(tmp_path / "killed"))]
    assert len(after) == KILLS + 1
    assert len(after[-1]) == len(needed) == 2 * ROWS
    before: set[str] = set()
    lost = []
    for number, held in enumerate(after):
        asked = [request.call for request in requests if request.asker == f"killed {number}"]
        assert len(set(asked)) == len(asked), "a process asks nothing twice"
        assert not before & set(asked), "nothing that was kept is asked again"
        assert before <= held
        lost.append(len(set(asked) - held))
        before = held
    assert max(lost) <= AT_ONCE and lost[-1] == 0
    assert sum(count > 0 for count in lost) >= KILLS / 4, "kills hit calls in flight"
    assert len(requests) == len(needed) + sum(lost)


@pytest.mark.parametrize("mode", ["remote", "notebook"])
def test_ctrl_c_ends_a_run_of_a_remote_model_and_keeps_what_was_done(path: Path, mode: str) -> None:
    with fault_server(delay=0.3, faults={STALLED: 0.1}, stall=60.0) as server:
        interrupted(mode, server.url, str(path), until=lambda: len(server.requests()) > 3 * AT_ONCE)
        requests = server.requests()
    answered = {request.call for request in requests if request.given}
    assert 0 < len(kept(path)) < ROWS
    assert set(kept(path)) <= answered
    assert len(requests) - len(kept(path)) <= AT_ONCE


def test_ctrl_c_ends_a_run_of_a_model_in_process_and_keeps_what_was_done(path: Path) -> None:
    said, pressed = interrupted("batch", str(path), seconds=2.0)
    made = [float(line) for line in said.splitlines()]
    again = FakeModel(lambda call: "sorry")
    found = evaluated(again, path, judged=False)
    assert account(found).responses == {"answered": ROWS}
    done = ROWS - len(again.asked)
    assert 0 < sum(at < pressed - 1 for at in made) <= done <= len(made), "all but those of the last moment"


def interrupted(
    mode: str, *arguments: str, seconds: float = 0.0, until: Callable[[], bool] = lambda: True
) -> tuple[str, float]:
    """Start a run and press Ctrl-C; what it said, and when that was. It ends within two seconds, nothing left open."""
    command = [sys.executable, "-m", "tests.killed_run", mode, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        while process.poll() is None and not until():
            time.sleep(0.05)
        pressed = time.time()
        process.send_signal(signal.SIGINT)
        said, complaints = process.communicate(timeout=20)
        took = time.time() - pressed
    assert process.returncode == -signal.SIGINT
    assert took < 2.0
    assert complaints.rstrip().endswith("KeyboardInterrupt")
    assert not any(leak in complaints for leak in LEAKS), complaints
    return first + said, pressed


# faults


FAULTS = {BUSY: 0.08, BUSY_FOR: 0.06, BROKEN: 0.06, CUT: 0.03, GARBAGE: 0.03, SHAPELESS: 0.02, EMPTY: 0.01}


def test_with_every_third_try_failing_each_row_is_accounted_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_store, "ATTEMPTS", 3)  # so that some calls fail for good
    rows, heard = 300, dict[str, float]()

    def hear(response: Response, verdicts: Sequence[Verdict]) -> None:
        assert response.scenario_id not in heard
        heard[response.scenario_id] = time.time()

    with fault_server(delay=0.02, faults={STALLED: 0.01, **FAULTS}, stall=STALL, seed=5) as server:
        found = evaluated(remote(server.url), path, rows, heard=hear)
        requests = server.requests()
        assert server.most_at_once() <= AT_ONCE
    given = [request for request in requests if request.given]
    lost = for_good(requests)
    counts = account(found)

    assert {request.outcome for request in requests} >= {STALLED, *FAULTS}
    assert sum(counts.responses.values()) == rows == len(found.responses) == len(heard)
    assert sum(counts.verdicts.values()) == 2 * rows
    errors = Counter(f"failed ({ERROR[request.outcome]})" for request in lost if not request.judging)
    answered = sum(not request.judging for request in given)
    assert counts.responses == {"answered": answered, **errors} and errors
    assert counts.verdicts["undecided (no response)"] == 2 * errors.total()
    unjudged = sum(request.judging and (request in lost or request.outcome == EMPTY) for request in requests)
    undecided = [verdict.judge for verdict in found.verdicts if verdict.outcome == "undecided"]
    assert undecided.count("hosted_vllm/scripted") == unjudged > 0

    assert len({request.call for request in given}) == len(given), "no call was answered twice"
    assert not {request.call for request in given} & {request.call for request in lost}
    assert kept(path) == sorted(request.call for request in given if request.outcome != EMPTY)

    stalled = [request for request in requests if request.outcome == STALLED]
    held_up = {name for name in heard if touches(name, found.responses, found.verdicts, stalled)}
    assert len(held_up) == len(stalled) > 2
    first_ended = min(request.began for request in stalled) + STALL
    assert all((at >= first_ended) == (name in held_up) for name, at in heard.items())


def for_good(requests: Sequence[Request]) -> list[Request]:
    """The last try of each call that was never answered."""
    last = {request.call: request for request in requests}
    return [request for request in last.values() if not request.given]


def touches(name: str, responses: Sequence[Response], verdicts: Sequence[Verdict], some: Sequence[Request]) -> bool:
    """Whether the row of that scenario came from one of these requests."""
    texts = [r.text for r in responses if r.scenario_id == name]
    texts += [v.reason for v in verdicts if v.scenario_id == name]
    return any(f"#{request.call}" in text for request in some for text in texts)


@pytest.mark.parametrize("fault", [BUSY_FOR, BUSY_UNTIL])
def test_a_busy_endpoint_is_asked_again_when_it_said_and_not_before(path: Path, fault: str) -> None:
    with fault_server(faults={fault: 1.0}, failing=1, wait=0.4) as server:
        found = CallStore(path).complete(remote(server.url), calls(8))
        requests = server.requests()
    assert not any(answer.error for answer in found)
    first, second = ([r for r in requests if r.attempt == attempt] for attempt in (1, 2))
    assert len(first) == len(second) == 8
    began = {request.call: request.began for request in first}
    for request in second:
        assert 0.39 <= request.began - began[request.call] < 5.0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("0", 0.0), ("7", 7.0), ("0.4", 0.4), (" 3 ", 3.0), ("-5", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_retry_after_is_read(said: str, seconds: float) -> None:
    assert endpoint.seconds_asked_for(said) == seconds


@pytest.mark.parametrize(
    "form", [lambda at: format_datetime(at, usegmt=True), lambda at: at.strftime("%a %b %d %H:%M:%S %Y")]
)
def test_retry_after_is_read_as_a_date(form: Callable[[datetime], str]) -> None:
    asked = endpoint.seconds_asked_for(form(datetime.now(UTC) + timedelta(seconds=60)))
    assert asked is not None and 50 < asked <= 60


@pytest.mark.parametrize(
    "said",
    [
        "",
        "soon",
        "nan",
        "inf",
        "-inf",
        "1 s",
        "Wed, 21 Oct 99999 07:28:00 GMT",
        "Wed, 21 Oct 2015 07:28:00 -" + "9" * 30,
    ],
)
def test_a_retry_after_that_says_nothing_of_use_is_none(said: str) -> None:
    assert endpoint.seconds_asked_for(said) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": ["x"]}}]}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1e999}}',
    ],
)
def test_an_answer_that_cannot_be_read_may_pass(body: bytes) -> None:
    with pytest.raises(Transient, match="UnreadableAnswerError"):
        endpoint._read(body)


def test_half_a_character_does_not_keep_an_answer_from_being_kept(path: Path) -> None:
    answer = endpoint._read(b'{"choices": [{"message": {"content": "a \\ud83d"}}]}')
    CallStore(path).keep("key", answer)
    assert CallStore(path).find("key", Completion) == answer == Completion(text="a ?")


# an endpoint that is down


@pytest.fixture(params=["broken", "gone"])
def down(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer | str]:
    """A server that always fails, or the address of one that is not there; taken to be down after 20 calls."""
    monkeypatch.setattr(call_store, "HOPELESS", 20)
    with fault_server(faults={BROKEN: 1.0}) as server:
        if request.param == "broken":
            yield server
            return
    yield server.url


def test_an_endpoint_that_is_down_is_not_asked_for_the_rest(path: Path, down: FaultServer | str) -> None:
    url = down if isinstance(down, str) else down.url
    errors = Counter(answer.error for answer in CallStore(path).complete(remote(url), calls(500)))
    failed = errors["ConnectionError" if isinstance(down, str) else "ServerError"]
    assert 20 <= failed <= 20 + AT_ONCE
    assert errors[NOT_RUN] == 500 - failed
    if isinstance(down, FaultServer):
        requests = down.requests()
        assert len({request.call for request in requests}) == failed, "what was not run was not sent"
        assert len(requests) <= failed * ATTEMPTS


def test_a_run_that_an_endpoint_answered_nothing_of_is_an_error(path: Path, down: FaultServer | str) -> None:
    with pytest.raises(RatifyError, match="answered none of 500 calls"):
        evaluated(remote(down if isinstance(down, str) else down.url), path, 500)


def test_a_short_run_that_an_endpoint_answered_nothing_of_is_an_error(path: Path, down: FaultServer | str) -> None:
    with pytest.raises(RatifyError, match="answered none of 15 calls"):
        evaluated(remote(down if isinstance(down, str) else down.url), path, 15)


def test_calls_that_a_budget_refused_do_not_make_an_endpoint_hopeless(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_store, "HOPELESS", 3)
    spending, model = Spending(Budget(tokens=200)), FakeModel(lambda call: "yes")

    async def work() -> list[str]:
        async with Asking(CallStore(path), Meter("", 0), spending) as asking:
            large = [await asking.ask(model, call) for call in calls(5, max_tokens=500)]
            return [answer.error for answer in (*large, await asking.ask(model, calls(1)[0]))]

    assert asyncio.run(work()) == [NOT_RUN] * 5 + [""]


# at the same time


def test_the_same_call_at_the_same_time_is_one_call(path: Path) -> None:
    with fault_server(delay=0.1) as server:
        found = CallStore(path).complete(remote(server.url), calls(3) * 20)
        assert len(server.requests()) == 3
    assert found[:3] * 20 == found


class SlowToOpen(FakeModel):
    """A model whose connection takes a moment."""

    opened = 0

    @asynccontextmanager
    async def connect(self, meter: Meter) -> AsyncIterator[Answer]:
        self.opened += 1
        await asyncio.sleep(0.05)
        async with super().connect(meter) as answer:
            yield answer


def test_a_model_that_is_slow_to_open_is_opened_once_and_asked_the_same_thing_once(path: Path) -> None:
    model = SlowToOpen(lambda call: "yes")
    assert len(CallStore(path).complete(model, calls(2) * 5)) == 10
    assert (model.opened, len(model.asked)) == (1, 2)


def test_a_budget_of_calls_is_the_number_of_requests_that_the_endpoint_got(path: Path) -> None:
    with fault_server(delay=0.02, faults=FAULTS, seed=2) as server:
        spending = Spending(Budget(calls=250))
        some = account(evaluated(remote(server.url), path, 200, spending=spending))
        assert len(server.requests()) == spending.calls == 250
        done = {request.call for request in server.requests() if request.given}
        rest = evaluated(remote(server.url), path, 200)
        later = server.requests()[250:]
    assert spending.refused > 0
    assert sum(some.responses.values()) == 200 and sum(some.verdicts.values()) == 400
    assert "not run" not in account(rest).responses
    assert not done & {request.call for request in later}


def test_where_one_piece_of_work_fails_the_others_are_ended() -> None:
    done: list[int] = []

    async def one(number: int) -> None:
        await asyncio.sleep(0.01 * number)
        if number == 1:
            raise ValueError("one")
        done.append(number)

    async def work() -> None:
        with pytest.raises(ValueError, match="one"):
            await pooled(one, range(8), 4)
        assert len(asyncio.all_tasks()) == 1
        await asyncio.sleep(0.1)

    asyncio.run(work())
    assert done == [0]


class Forgetful(FakeModel):
    """A model that leaves a call out, against what is asked of models."""

    def complete(self, calls: Sequence[Call], meter: TokenCounter) -> Iterator[tuple[int, Completion]]:
        return super().complete(calls[1:], meter)


def test_a_model_in_process_that_leaves_a_call_out_is_an_error_and_not_a_wait_for_ever(path: Path) -> None:
    with pytest.raises(RuntimeError, match="gave no answer to a call"):
        CallStore(path).complete(Forgetful(lambda call: "yes"), calls(3))


def test_a_store_that_another_process_is_making_is_waited_for(path: Path) -> None:
    # SQLite itself refuses at once to change the journal of a file that is being written.
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE calls (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.2, other.execute, ("COMMIT",)).start()
    CallStore(path).keep("key", Completion(text="x"))
    assert CallStore(path).find("key", Completion) == Completion(text="x")
