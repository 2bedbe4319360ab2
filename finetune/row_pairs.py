"""The preference pairs that a supervised row brings with it.

After Bai et al. 2022 (arXiv 2212.08073):

* the row's answer against the one that it was made from (section 3.1's revisions as section 4's
  pairs), where verdicts say that it is better;
* two own answers to the row's request, of which a feedback model prefers one (section 4.1). They
  are the responder's, which is the student where nothing else answers: a student in process
  writes some hundred times slower than an endpoint, and has its turn on policy (on_policy.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_ratify.call_store import Asking
from prefect_ratify.finetune.clause_sampling import drawn_clauses
from prefect_ratify.finetune.preferences import judged, model_name, pair, preferred, unfit, whole
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.feedback import CALLS_A_VOTE, feedback, soft_label, wording_digest
from prefect_ratify.records import Clause, Completion, Sampling, Scenario, seed_from
from prefect_ratify.scenarios.judging import verdicts_on
from prefect_ratify.scenarios.running import Condition, call_for, response_to
from prefect_ratify.scenarios.yardstick import Yardstick
from prefect_ratify.training_rows import ClauseVote, Demonstration, Judged, PreferencePair, Provenance

AGAINST_ORIGINAL = "revision against the original"
AGAINST_OWN = "training answer against an own one"
BY_FEEDBACK = "two own answers, preferred by a feedback model"


@dataclass(frozen=True)
class Pairing:
    """What pairs are made with, the same for all rows of a shard.

    `by` gives the verdicts, `own` the model's plain answers (no policy before them). With a
    `feedback` model and `votes`, two own answers are held against each other by so many of the
    `clauses`.
    """

    clauses: tuple[Clause, ...]
    by: Yardstick
    own: Condition
    sampling: Sampling
    seed: int
    feedback: LanguageModel | None = None
    votes: int = 0


def planned_pair_calls(touched: int, votes: int, has_original: bool) -> int:
    """The calls at most that the pairs of a row take, whose scenario touches so many clauses; judges' calls apart."""
    if not touched:
        return 0
    return (not has_original) + (1 + CALLS_A_VOTE * min(votes, touched) if votes else 0)


async def pairs_of_row(
    row: Demonstration, scenario: Scenario, place: int, by: Pairing, asking: Asking
) -> list[PreferencePair | str]:
    """The pairs that go with the supervised row at `place`; a text says why one is missing.

    One of its answer against its original, and, with votes, one of two own answers. None for a
    request that the policy is not about. Never fails on an answer.
    """
    if not scenario.clause_ids:
        return []
    found = [await _against_original(row, scenario, by, asking)]
    if by.feedback is not None and by.votes:
        found.append(await _by_feedback(row, scenario, place, by, by.feedback, asking))
    return found


async def _against_original(
    row: Demonstration, scenario: Scenario, by: Pairing, asking: Asking
) -> PreferencePair | str:
    """The row's answer, chosen, and what it was made from; where nothing was, the model's own answer."""
    origin, chosen = row.provenance, row.completion[-1].content
    if origin.original:
        origin, rejected = origin.model_copy(update={"method": AGAINST_ORIGINAL}), origin.original
    else:
        answer = await _own_answer(scenario, origin.sample, by, by.seed, asking)
        rejected = whole(answer)
        if not rejected:
            return "no own answer to reject"
        response = response_to(scenario, origin.sample, by.own, answer)
        before = judged(await verdicts_on(response, scenario, by.by, asking))
        origin = origin.model_copy(update={"method": AGAINST_OWN, "before": before})
    why_not = "it is the same as the original" if chosen == rejected else _why_not(origin.before, origin.after)
    return why_not or pair(scenario, chosen, rejected, origin)


def _why_not(before: Sequence[Judged], after: Sequence[Judged]) -> str:
    """Why an answer is not to be preferred to its original; empty where it is, or where no verdict says anything."""
    if any(verdict.outcome == "violated" for verdict in after):
        return "the answer violates a clause"
    if any(verdict.outcome == "violated" for verdict in before):
        return ""
    decided = any(verdict.outcome != "undecided" for verdict in (*before, *after))
    return "the original violates no clause" if decided else ""


async def _by_feedback(
    row: Demonstration, scenario: Scenario, place: int, by: Pairing, model: LanguageModel, asking: Asking
) -> PreferencePair | str:
    """Two own answers, of which the feedback model prefers one."""
    sample = row.provenance.sample
    first = row.provenance.original or whole(await _own_answer(scenario, sample, by, by.seed, asking))
    second = whole(await _own_answer(scenario, sample, by, seed_from(by.seed, "second"), asking))
    if not first or not second:
        return "no two own answers"
    if first == second:
        return "both own answers are the same"
    votes = await feedback(scenario, first, second, _voting(scenario, place, by), model, asking)
    found = preferred(first, second, votes)
    if isinstance(found, str):
        return found
    chosen, rejected, votes = found
    made = pair(scenario, chosen, rejected, _by_own_model(row.provenance, by.own.model, votes))
    return unfit(made) or made


def _voting(scenario: Scenario, place: int, by: Pairing) -> list[Clause]:
    """The clauses that vote on the pair at `place`."""
    clauses = {clause.id: clause for clause in by.clauses}
    seed = seed_from(by.seed, "votes")  # else a row would be voted on by the clauses that it was revised by
    drawn = drawn_clauses(tuple(clauses), scenario.clause_ids, place, seed, count=by.votes)
    return [clauses[clause_id] for clause_id in drawn]


def _by_own_model(row: Provenance, model: LanguageModel, votes: tuple[ClauseVote, ...]) -> Provenance:
    return Provenance(
        scenario_id=row.scenario_id,
        clause_ids=row.clause_ids,
        policy=row.policy,
        model=model_name(model.name),
        model_digest=model.digest,
        method=BY_FEEDBACK,
        prompts=wording_digest(),
        seed=row.seed,
        sample=row.sample,
        varied_from=row.varied_from,
        how=row.how,
        votes=votes,
        soft_label=soft_label(votes),
    )


async def _own_answer(scenario: Scenario, sample: int, by: Pairing, seed: int, asking: Asking) -> Completion:
    asking.meter.expect(1)
    return await asking.ask(by.own.model, call_for(scenario, sample, by.own, by.sampling, seed))
