"""What a tuned model's own answers give to train it on further: a round's pairs, or judged answers."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ratify.finetune.leaks import require_no_leak
from prefect_ratify.finetune.on_policy import Samples, judged_completions, pairs_by_feedback, pairs_by_verdicts, sample
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.progress import say
from prefect_ratify.records import Scenario
from prefect_ratify.training_rows import Demonstration, JudgedCompletion, PreferencePair


def on_policy_pairs(run: Run, tuned: LanguageModel, number: int) -> list[PreferencePair]:
    """The pairs of round `number` (from 1); LeakError where one holds a held-out scenario.

    Where neither a check nor a judge decides anything about a scenario, the critic (if there is
    one) is asked which of two answers it prefers.
    """
    policy, seed = refined_policy(run), run.settings.seed + number
    groups = _sampled(run, tuned, seed)
    pairs, lost = pairs_by_verdicts(groups, policy, seed)
    _say_lost(lost)
    if run.settings.models.critic:
        more, lost = pairs_by_feedback(groups[0], policy, run.model("critic"), run.store, seed)
        pairs += more
        _say_lost(lost)
    require_no_leak(pairs, _held_out(run))
    return pairs


def on_policy_judged(run: Run, tuned: LanguageModel, number: int) -> list[JudgedCompletion]:
    """The same answers one by one, as KTO takes them; LeakError as above."""
    policy, seed = refined_policy(run), run.settings.seed + number
    rows, lost = judged_completions(_sampled(run, tuned, seed), policy, seed)
    _say_lost(lost)
    as_taught = [Demonstration(prompt=r.prompt, completion=r.completion, provenance=r.provenance) for r in rows]
    require_no_leak(as_taught, _held_out(run))
    return rows


def _sampled(run: Run, tuned: LanguageModel, seed: int) -> list[Samples]:
    settings = run.settings
    return sample(
        tuned,
        run.project.suite,
        run.yardstick(run.project.policy),
        run.store,
        sampling=settings.sampling,
        samples=settings.preference_samples,
        prompts=settings.preference_prompts,
        seed=seed,
    )


def _held_out(run: Run) -> Sequence[Scenario]:
    suite = run.project.suite
    return suite.split("held_out") + suite.unrelated_split("held_out")


def _say_lost(lost: dict[str, int]) -> None:
    if lost:
        say("  no row of " + "; ".join(f"{count} × {reason}" for reason, count in sorted(lost.items())))
