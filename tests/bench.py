"""`make bench`: one line a measure: name, value, unit, what it is compared with, the goal.

Speeds are ratios within one run, because machines differ and are noisy.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from prefect_ratify.command_line import ENVIRONMENT
from prefect_ratify.records import Call, Message, Response, Sampling, Scenario, Verdict

ROOT = Path(__file__).parent.parent
SAMPLING = Sampling(temperature=0.0, max_tokens=64)


def main() -> None:
    """Run every measure, and print its line when it is there."""
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    header = ("measure", "value", "unit", "compared with", "goal")
    print(_line(*header))
    for measure in (
        help_time,
        suite_loading,
        unchanged_rerun,
        generation_speed,
        generation_speed_with_policy,
        judging_speed,
        comparing_time,
    ):
        print(_line(*measure()), flush=True)
    from tests.calls_bench.measuring import measure as measure_calls

    for row in measure_calls():
        print(_line(*row), flush=True)
    from tests.data_bench.measuring import measure as measure_rows

    for row in measure_rows():
        print(_line(*row), flush=True)
    from tests.data_bench.at_size import measure as measure_size

    for row in measure_size():
        print(_line(*row), flush=True)
    from tests.refine_bench.measuring import measure as measure_refinement

    for row in measure_refinement():
        print(_line(*row), flush=True)
    from tests.training_bench.measuring import measure as measure_training

    for row in measure_training():
        print(_line(*row), flush=True)


def help_time() -> tuple[str, str, str, str, str]:
    """How long `ratify --help` takes, the best of five."""
    best = min(_seconds(lambda: subprocess.run(_HELP, check=True, capture_output=True)) for _ in range(5))
    return ("ratify --help", f"{best:.2f}", "s", "-", "< 1")


def generation_speed() -> tuple[str, str, str, str, str]:
    """Tokens a second, batched, against transformers' own generate, one prompt at a time."""
    return _generation("generation, plain prompts", preamble=())


def generation_speed_with_policy() -> tuple[str, str, str, str, str]:
    """The same with the policy and its worked examples before every prompt."""
    from prefect_ratify.policy_modules.responder import preamble, with_examples

    policy, suite = _shipped()
    examples = {key: guide.examples for key, guide in suite.guides.items()}
    return _generation("generation, policy before prompts", preamble(with_examples(policy, examples)))


def judging_speed() -> tuple[str, str, str, str, str]:
    """Verdicts a second by checks, against the number that one run of the demo needs."""
    from prefect_ratify.scenarios.judging import judge
    from prefect_ratify.scenarios.yardstick import Yardstick

    policy, suite = _shipped()
    checks = {key: guide.check for key, guide in suite.guides.items()}
    replies = [reply for guide in suite.guides.values() for reply in (*guide.good, *guide.bad)]
    responses = [_response(s, i, replies[i % len(replies)]) for i, s in enumerate(suite.scenarios * 5)]
    verdicts: list[Verdict] = []
    seconds = _seconds(lambda: verdicts.extend(judge(responses, suite.scenarios, Yardstick(policy, checks))))
    return ("judging by checks", f"{len(verdicts) / seconds:.0f}", "verdicts/s", "-", "> 1000")


def comparing_time() -> tuple[str, str, str, str, str]:
    """One compare() of 500 scenarios by 6 clauses by 4 samples."""
    import numpy as np

    from prefect_ratify.scenarios.comparing import compare

    generator = np.random.default_rng(0)
    clause_ids = [f"c{i}" for i in range(6)]

    def verdicts(name: str) -> list[Verdict]:
        return [
            Verdict(
                scenario_id=f"s{s}",
                condition=name,
                sample=k,
                clause_id=c,
                outcome="upheld" if generator.random() < 0.5 else "violated",
                confidence=1.0,
                reason="",
                judge="check",
            )
            for s in range(500)
            for c in clause_ids
            for k in range(4)
        ]

    first, second = verdicts("a"), verdicts("b")
    seconds = _seconds(lambda: compare(first, second, clause_ids))
    return ("compare(), 500 x 6 x 4", f"{seconds:.2f}", "s", "-", "< 3")


def suite_loading() -> tuple[str, str, str, str, str]:
    """Reading and checking a suite of 10,000 scenarios."""
    from prefect_ratify.policy import load_policy
    from prefect_ratify.scenarios.suite import load_suite

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder, 10_000)
        policy = load_policy(folder / "policy.md")
        seconds = _seconds(lambda: load_suite(folder / "scenarios.yaml", policy))
    return ("a suite of 10,000 scenarios", f"{seconds:.2f}", "s", "-", "< 3")


def unchanged_rerun() -> tuple[str, str, str, str, str]:
    """`ratify regress` of 500 scenarios by 6 judged clauses, two conditions, a second time: the whole command."""
    from tests.model_server import Messages, model_server

    def answer(messages: Messages) -> str:
        verdict = "[[ ## verdict ## ]]\nupheld\n[[ ## confidence ## ]]\n1\n[[ ## reason ## ]]\nr"
        return verdict if "[[ ## verdict ## ]]" in messages[-1]["content"] else f"{len(messages)}: {messages[-1]}"

    with tempfile.TemporaryDirectory() as name, model_server(answer) as server:
        write_project(Path(name), 500)
        os.environ["HOSTED_VLLM_API_BASE"] = server.url
        model = "hosted_vllm/scripted"
        command = [sys.executable, "-m", "prefect_ratify", "regress", name, "--against", "base", "--split", "all"]
        again = [*command, "--responder", model, "--judge", model]
        first = _seconds(lambda: subprocess.run(again, check=True, capture_output=True))
        made = len(server.requests)
        seconds = _seconds(lambda: subprocess.run(again, check=True, capture_output=True))
        assert len(server.requests) == made, "an unchanged run asks nothing"
    compared = f"0 calls; the first time {made} in {first:.0f} s"
    return ("unchanged re-run, 2 x 500 x 6", f"{seconds:.2f}", "s", compared, "< 3")


def write_project(folder: Path, scenarios: int) -> None:
    """A project of six clauses without checks."""
    clauses = "".join(f"- [c{n}] Keep clause {n}.\n" for n in range(6))
    (folder / "policy.md").write_text(f"# Law\n\n## Clauses\n{clauses}")
    query = "my landlord wants me out."
    lines = [f'  - {{id: s{n}, query: "Case {n}: {query}", tags: [t{n % 5}]}}\n' for n in range(scenarios)]
    (folder / "scenarios.yaml").write_text("scenarios:\n" + "".join(lines))


_HELP = [sys.executable, "-m", "prefect_ratify", "--help"]


def _generation(name: str, preamble: tuple[Message, ...]) -> tuple[str, str, str, str, str]:
    import torch

    from prefect_ratify.local_models import load_local, prompt_tokens
    from prefect_ratify.progress import Meter

    local = load_local("embedded")
    model, tokenizer = local.load()
    _, suite = _shipped()
    calls = [Call(messages=preamble + s.messages, sampling=SAMPLING, seed=0) for s in suite.scenarios[:64]]
    meter = Meter("", len(calls))
    batched = _seconds(lambda: list(local.complete(calls, meter)))
    model.set_attn_implementation("sdpa")
    single_tokens = 0
    started = time.perf_counter()
    for call in calls[:6]:
        ids = torch.tensor([prompt_tokens(tokenizer, call)])
        with torch.inference_mode():
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=SAMPLING.max_tokens, do_sample=False
            )
        single_tokens += out.shape[1] - ids.shape[1]
    single = single_tokens / (time.perf_counter() - started)
    speed = meter.tokens / batched
    compared = f"{speed:.0f} against {single:.0f} tokens/s one at a time"
    return (name, f"{speed / single:.1f}", "times", compared, "> 5")


def _shipped():  # type: ignore[no-untyped-def]
    from prefect_ratify.policy import load_policy
    from prefect_ratify.scenarios.suite import load_suite

    folder = ROOT / "scenarios" / "shipped" / "legal-advice"
    policy = load_policy(folder / "policy.md")
    return policy, load_suite(folder / "scenarios.yaml", policy)


def _response(scenario: Scenario, sample: int, text: str) -> Response:
    return Response(
        scenario_id=scenario.id, condition="bench", sample=sample, text=text, finished=True, model="scripted"
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _line(name: str, value: str, unit: str, compared: str, goal: str) -> str:
    return f"{name:<36} {value:>10} {unit:<12} {compared:<44} {goal}"


if __name__ == "__main__":
    main()
