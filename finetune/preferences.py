"""Preference data from verdicts: pairs for DPO, and judged answers for KTO.

After Bai et al. 2022 (arXiv 2212.08073, section 4.1), with the clauses' verdicts in place of
a feedback model. Pairs from the untuned model were tried and broke the student: its answers
lie too far from the chosen ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from prefect_ratify.finetune.composing import whole_sentences
from prefect_ratify.finetune.distilling import share_upheld
from prefect_ratify.finetune.lint import LOSES, lint
from prefect_ratify.policy_modules.feedback import soft_label, turned_votes
from prefect_ratify.records import Completion, Message, Policy, Response, Scenario, Verdict, digest
from prefect_ratify.training_rows import ClauseVote, Judged, JudgedCompletion, PreferencePair, Provenance

BY_VERDICTS = "sampled from the tuned model, ranked by verdicts"
JUDGED = "sampled from the tuned model, judged"
# DPO takes a label as certain, and of pairs nearer to one half than this the feedback model itself
# expects four in ten or more to be the wrong way round.
NEAR_TIE = 0.1


def prefer(
    scenarios: Sequence[Scenario],
    responses: Sequence[Response],
    verdicts: Sequence[Verdict],
    policy: Policy,
    seed: int,
    model_digest: str = "",
) -> list[PreferencePair]:
    """For each scenario, its best answer against its worst, where they differ in clauses upheld.

    An answer that the token limit cut ends with its last whole sentence: as it stands it would
    teach the model not to end.
    """
    said = _by_answer(verdicts)
    answers: dict[str, list[Response]] = defaultdict(list)
    for response in usable(responses):
        answers[response.scenario_id].append(response)
    pairs = []
    for scenario in scenarios:
        ranked = sorted(answers[scenario.id], key=lambda r: (share_upheld(said[r.scenario_id, r.sample]), -r.sample))
        if ranked:
            worst, best = (said[each.scenario_id, each.sample] for each in (ranked[0], ranked[-1]))
            if share_upheld(best) > share_upheld(worst):
                origin = origin_of(scenario, ranked[-1], policy, seed, model_digest, BY_VERDICTS)
                origin = origin.model_copy(update={"before": judged(worst), "after": judged(best)})
                pairs.append(pair(scenario, ranked[-1].text, ranked[0].text, origin))
    return pairs


def kto_rows(
    scenarios: Sequence[Scenario],
    responses: Sequence[Response],
    verdicts: Sequence[Verdict],
    policy: Policy,
    seed: int,
    model_digest: str = "",
) -> tuple[list[JudgedCompletion], dict[str, int]]:
    """Answers that are desirable or not, for KTO (Ethayarajh et al. 2024, arXiv 2402.01306); the lost, by reason.

    Undesirable is what violates any clause; desirable what upholds one and violates none. What no
    verdict decides is lost. Cut answers are treated as by `prefer`.
    """
    by_id, said = {scenario.id: scenario for scenario in scenarios}, _by_answer(verdicts)
    answers = list(usable(responses))
    rows = []
    for response in answers:
        scenario, after = by_id[response.scenario_id], judged(said[response.scenario_id, response.sample])
        origin = origin_of(scenario, response, policy, seed, model_digest, JUDGED)
        row = _judged_row(scenario.messages, response.text, origin.model_copy(update={"after": after}))
        rows += [row] if row else []
    lost = {"no usable answer": len(responses) - len(answers), "no verdict decides": len(answers) - len(rows)}
    return rows, {reason: count for reason, count in lost.items() if count}


def preferred(first: str, second: str, votes: Sequence[ClauseVote]) -> tuple[str, str, tuple[ClauseVote, ...]] | str:
    """The chosen and the rejected of two answers by a feedback model's votes, and the votes as the chosen one's.

    `votes` are as if the first were chosen. A text says why neither is: nothing usable, or too near to a tie.
    """
    label = soft_label(votes)
    if label is None:
        return "the feedback model gave no vote that can be used"
    if round(abs(label - 0.5), 6) < NEAR_TIE:
        return "the feedback model prefers neither answer"
    return (first, second, tuple(votes)) if label > 0.5 else (second, first, turned_votes(votes))


def turned_round(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts on unrelated requests, where a clause's behaviour is what should not show."""
    other = {"upheld": "violated", "violated": "upheld"}
    return [v.model_copy(update={"outcome": other.get(v.outcome, v.outcome)}) for v in verdicts]


def judged(verdicts: Sequence[Verdict]) -> tuple[Judged, ...]:
    """Verdicts as a row keeps them."""
    return tuple(Judged(clause_id=v.clause_id, outcome=v.outcome, judge=v.judge) for v in verdicts)


def pair(scenario: Scenario, chosen: str, rejected: str, origin: Provenance) -> PreferencePair:
    """Two answers to a scenario, as a row."""
    return PreferencePair(prompt=scenario.messages, chosen=_turn(chosen), rejected=_turn(rejected), provenance=origin)


def whole(answer: Completion | Response) -> str:
    """An answer's text; up to its last whole sentence, where the token limit cut it."""
    return answer.text if answer.finished else whole_sentences(answer.text)


def unfit(found: PreferencePair) -> str:
    """Why what a pair prefers must not be learned all the same; empty where lint finds nothing that loses a row."""
    prompt = "\n".join(message.content for message in found.prompt)
    findings = [finding for finding in lint(prompt, found.chosen[-1].content) if finding in LOSES]
    return f"the chosen answer is unfit ({findings[0]})" if findings else ""


def model_name(name: str) -> str:
    """A model's name as rows have it: of a checkpoint folder the last part, since rows leave this machine."""
    return Path(name).name if Path(name).is_dir() else name


def usable(responses: Sequence[Response]) -> Iterator[Response]:
    """The answers that are there, each whole."""
    for response in responses:
        text = "" if response.error else whole(response)
        if text:
            yield response if text == response.text else response.model_copy(update={"text": text})


def origin_of(
    scenario: Scenario, response: Response, policy: Policy, seed: int, model_digest: str, method: str
) -> Provenance:
    """Where a row comes from that a tuned model answered."""
    return Provenance(
        scenario_id=scenario.id,
        clause_ids=scenario.clause_ids,
        policy=digest(policy),
        model=model_name(response.model),
        model_digest=model_digest,
        method=method,
        seed=seed,
        sample=response.sample,
    )


def _judged_row(prompt: tuple[Message, ...], text: str, origin: Provenance) -> JudgedCompletion | None:
    """An answer by the verdicts `after` in its provenance; None where none of them is decided."""
    outcomes = {verdict.outcome for verdict in origin.after}
    if not outcomes & {"upheld", "violated"}:
        return None
    label = "violated" not in outcomes
    return JudgedCompletion(prompt=prompt, completion=_turn(text), label=label, provenance=origin)


def _by_answer(verdicts: Sequence[Verdict]) -> dict[tuple[str, int], list[Verdict]]:
    """Verdicts by scenario id and sample; none where there are none."""
    found: dict[tuple[str, int], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        found[verdict.scenario_id, verdict.sample].append(verdict)
    return found


def _turn(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)
