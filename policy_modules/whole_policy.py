"""A policy reworded as a whole: its system prompt is one instruction, which DSPy's optimisers search.

Clauses lose their ids in it, so that nobody can follow theirs; where that matters, refine clause by clause.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from prefect_ratify.budget import Spending
from prefect_ratify.call_store import CallStore
from prefect_ratify.errors import InputError
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.answer_fields import cleaned
from prefect_ratify.policy_modules.judge import conversation
from prefect_ratify.policy_modules.optimiser_engine import Ended, StoreEngine, lenient_adapter, quietly
from prefect_ratify.policy_modules.refiner import Follow, Followed, cut_short, outcomes, share_upheld
from prefect_ratify.policy_modules.responder import instructions
from prefect_ratify.records import Policy, Response, Scenario, Verdict

DEPTH = 3  # rounds in which COPRO learns from the wordings before
FEWEST_TRIALS = 2 * DEPTH

Optimiser = Literal["miprov2", "copro"]


@dataclass(frozen=True)
class Trial:
    """A wording that was tried on every scenario, and what came of it.

    `score` is the mean over scenarios of the share of decided clauses that were upheld, from 0 to
    1; None where nothing was decided. `undecided` counts verdicts.
    """

    wording: str
    score: float | None
    undecided: int


def refine_whole(
    draft: Policy,
    scenarios: Sequence[Scenario],
    follow: Follow,
    model: LanguageModel,
    store: CallStore,
    *,
    trials: int,
    optimiser: Optimiser = "miprov2",
    room: Callable[[], bool] = lambda: True,
    spending: Spending | None = None,
    seed: int = 0,
) -> tuple[str, list[Trial]]:
    """Reword a policy's system prompt on development scenarios; returns the best wording and all that was tried.

    MIPROv2 (Opsahl-Ong et al. 2024, arXiv 2406.11695, section 4) has the model propose wordings,
    grounded in the scenarios and in answers to them, and tries them in an order that a Bayesian
    search (TPE) gives. COPRO (DSPy, Khattab et al. 2023, arXiv 2310.03714) climbs: each round
    proposes from the best wordings so far and their scores. Neither puts examples before the model.

    `follow` answers scenarios under a policy (the draft, with a `wording`) and judges the answers by
    the draft's clauses. At most `trials` wordings are followed, the draft first: it comes back where
    none does better. `model` is asked about once for each wording, and by MIPROv2 once more for
    every ten scenarios. The search ends early where there is no more `room`, or a call found none
    in the budget; what `follow` raises ends it too. It has no state of its own: after a kill it
    goes the same way again, by its seed, with the answers that are in the store.

    InputError where optuna is not installed, which MIPROv2 needs, or for too few trials;
    RatifyError where the model answered nothing.
    """
    _require(optimiser, trials)
    import dspy

    tried, engine = _Tried(draft, scenarios, _aloud(follow), room), StoreEngine(model, store, spending, seed)
    prompt_model = dspy.LM("openai/any", engine=engine, cache=False, num_retries=0)
    try:
        tried.under(instructions(draft))
        with quietly(), dspy.context(lm=prompt_model, adapter=lenient_adapter()):
            _SEARCHES[optimiser](_program(tried), _examples(scenarios), prompt_model, trials, seed)
    except Ended as ended:
        if ended.error:
            raise ended.error from None
    engine.require_some()
    found = [outcome.trial for outcome in tried.outcomes.values()]
    scored = [trial for trial in found if trial.score is not None]
    best = max(scored, key=lambda trial: trial.score or 0.0, default=None)  # of equals the first
    return best.wording if best else instructions(draft), found


def require_optuna() -> None:
    """InputError where MIPROv2's search is not installed."""
    if find_spec("optuna") is None:
        raise InputError("MIPROv2 needs optuna, which is not installed", "pip install 'prefect-ratify[mipro]'")


def _require(optimiser: Optimiser, trials: int) -> None:
    if trials < FEWEST_TRIALS:
        raise InputError(f"{trials} wordings are too few to choose from", f"let it try at least {FEWEST_TRIALS}")
    if optimiser == "miprov2":
        require_optuna()


def _mipro(program: Any, examples: list[Any], prompt_model: Any, trials: int, seed: int) -> None:
    # One trial and a half for each candidate is what DSPy recommends; a wording is followed once all the same.
    # Its description of the program is left out: of Python code that only hands the wording on.
    from dspy.teleprompt import MIPROv2

    optimiser = MIPROv2(
        metric=_score,
        prompt_model=prompt_model,
        task_model=prompt_model,
        max_bootstrapped_demos=0,
        max_labeled_demos=0,
        auto=None,
        num_candidates=trials,
        num_threads=1,  # with several it asks again for what takes long
        seed=seed,
    )
    optimiser.compile(
        program,
        trainset=examples,
        valset=examples,
        num_trials=trials * 3 // 2,
        minibatch=False,
        program_aware_proposer=False,
    )


def _copro(program: Any, examples: list[Any], prompt_model: Any, trials: int, seed: int) -> None:
    from dspy.teleprompt import COPRO

    optimiser = COPRO(prompt_model=prompt_model, metric=_score, breadth=trials // DEPTH, depth=DEPTH)
    optimiser.compile(program, trainset=examples, eval_kwargs={"num_threads": 1, "display_progress": False})


_SEARCHES = {"miprov2": _mipro, "copro": _copro}


@dataclass(frozen=True)
class _Outcome:
    """A wording's trial, and the responses and scores by scenario that it is made of."""

    trial: Trial
    responses: dict[str, str]
    scores: dict[str, float]

    def score(self, scenario_id: str) -> float:
        """A scenario's score; the mean of the others stands for one of which nothing was decided."""
        return self.scores.get(scenario_id, self.trial.score or 0.0)


class _Tried:
    """What was tried. DSPy asks for one scenario at a time; a wording that is new is followed on all at once."""

    def __init__(self, draft: Policy, scenarios: Sequence[Scenario], follow: Follow, room: Callable[[], bool]) -> None:
        self.draft, self.scenarios, self.follow, self.room = draft, scenarios, follow, room
        self.outcomes: dict[str, _Outcome] = {}

    def under(self, wording: str) -> _Outcome:
        """What comes of a wording; of an empty one nothing, and it is not followed."""
        text = cleaned(wording)
        if not text:
            return _outcome("", [], [])
        if text not in self.outcomes:
            self.outcomes[text] = self._followed(text)
        return self.outcomes[text]

    def _followed(self, text: str) -> _Outcome:
        drafted = text == cleaned(instructions(self.draft))
        policy = self.draft if drafted else self.draft.model_copy(update={"wording": text})
        if not drafted and not self.room():
            raise Ended
        try:
            found = self.follow(policy, self.scenarios)
        except Exception as error:
            raise Ended(error) from None
        if cut_short(found):
            raise Ended
        return _outcome(instructions(policy), *found)


def _outcome(wording: str, responses: Sequence[Response], verdicts: Sequence[Verdict]) -> _Outcome:
    by_scenario: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_scenario.setdefault(verdict.scenario_id, []).append(verdict)
    decided = {scenario_id: share_upheld(outcomes(given)) for scenario_id, given in by_scenario.items()}
    scores = {scenario_id: share for scenario_id, share in decided.items() if share is not None}
    mean = sum(scores.values()) / len(scores) if scores else None
    undecided = sum(verdict.outcome == "undecided" for verdict in verdicts)
    texts = {response.scenario_id: response.text for response in responses}
    return _Outcome(Trial(wording, mean, undecided), texts, scores)


def _program(tried: _Tried) -> Any:
    """A DSPy module of one predictor, whose instruction is the wording."""
    import dspy

    from prefect_ratify.policy_modules.signatures import fenced

    unsaid = dspy.Signature("query -> response").instructions  # what DSPy puts in the place of an empty one

    class Responder(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.respond = dspy.Predict(dspy.Signature("query -> response", instructions(tried.draft)))

        def forward(self, id: str, query: str) -> Any:
            wording = self.respond.signature.instructions
            outcome = tried.under("" if wording == unsaid else wording)
            response = dspy.Prediction(response=fenced(outcome.responses.get(id, "")))
            # As a predictor does that is called: MIPROv2 shows the model what was answered.
            dspy.settings.trace.append((self.respond, {"query": query}, response))
            return dspy.Prediction(score=outcome.score(id))

    return Responder()


def _examples(scenarios: Sequence[Scenario]) -> list[Any]:
    import dspy

    from prefect_ratify.policy_modules.signatures import fenced

    return [dspy.Example(id=s.id, query=fenced(conversation(s))).with_inputs("id", "query") for s in scenarios]


def _score(example: Any, prediction: Any, trace: Any = None) -> float:
    return float(prediction.score)


def _aloud(follow: Follow) -> Follow:
    """The same, with its own lines of progress on standard error as ever."""
    stream = sys.stderr

    def loud(policy: Policy, scenarios: Sequence[Scenario]) -> Followed:
        with redirect_stderr(stream):
            return follow(policy, scenarios)

    return loud
