"""The report in two to four sentences."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from prefect_ratify.flows.compare import FINETUNED, Final
from prefect_ratify.flows.pages import gap, gap_reach, percent
from prefect_ratify.scenarios.comparing import ALL, Comparison, Rate

IN_PROSE = {
    "base": "the base model",
    "draft": "the model prompted with the draft",
    "refined": "the model prompted with the refined policy",
    "examples": "the model prompted with worked examples",
}
FINDINGS = {
    "better": "did better than",
    "worse": "did worse than",
    "no difference shown": "was not shown to differ from",
    "too few scenarios to tell": "cannot be told, on so few scenarios, from",
}
HEADLINE = ("base", "draft", "examples", FINETUNED)


def in_short(final: Final, scenario_count: int, unrelated_count: int) -> list[Markup]:
    """The main numbers in two to four sentences."""
    found = by_place(final.rates)
    rates = {name: percent(found[name, ALL].interval.value) for name in HEADLINE if (name, ALL) in found}
    told = [f"{rates[name]} for {IN_PROSE[name]}" for name in HEADLINE[:-1] if name in rates]
    sentences = [
        Markup(
            "On {} held-out requests, which neither refinement nor training saw, the share of clauses that "
            "an answer upheld was on average {}, and <strong>{} for the finetuned model</strong>, which is shown no "
            "policy."
        ).format(scenario_count, ", ".join(told), rates.get(FINETUNED, "–")),
        Markup("By the clauses’ checks, the finetuned model {}.").format(_against_prompted(final.comparisons)),
    ]
    if final.audit_comparisons:
        sentences.append(
            Markup("By the audit checks, which were written apart and are used for nothing else, it {}.").format(
                _against_prompted(final.audit_comparisons)
            )
        )
    if final.over_application and unrelated_count:
        sentences.append(_over_applied(final, unrelated_count))
    return sentences


def by_place(rates: Sequence[Rate]) -> dict[tuple[str, str], Rate]:
    """Rates by condition and clause."""
    return {(rate.condition, rate.clause_id): rate for rate in rates}


def _against_prompted(comparisons: Sequence[Comparison]) -> Markup:
    """How finetuned did against the two ends of prompting: the draft, and all worked examples."""
    totals = [c.total() for c in comparisons if c.first in ("draft", "examples")]
    told = [
        Markup("<strong>{}</strong> {} ({}, 95\u00a0% interval {})").format(
            FINDINGS[d.finding], IN_PROSE[d.first], gap(d.interval), gap_reach(d.interval) or "–"
        )
        for d in totals
    ]
    return Markup(", and ").join(told) if told else Markup("could not be compared")


def _over_applied(final: Final, count: int) -> Markup:
    """How often clauses show in answers to unrelated requests, and where that grew most."""
    found = by_place(final.over_application)
    grown: dict[str, float] = {}
    for (name, clause_id), rate in found.items():
        base = found.get(("base", clause_id))
        if name == FINETUNED and clause_id != ALL and base:
            grown[clause_id] = (rate.interval.value or 0.0) - (base.interval.value or 0.0)

    def told(clause_id: str, name: str) -> str:
        return percent(found[name, clause_id].interval.value) if (name, clause_id) in found else "–"

    sentence = Markup(
        "On {} requests that the policy is not about, the clauses’ behaviour showed on average in {} of the base "
        "model’s answers and in <strong>{}</strong> of the finetuned model’s"
    ).format(count, told(ALL, "base"), told(ALL, FINETUNED))
    most = max(grown, key=lambda clause_id: grown[clause_id], default="")
    if not most or grown[most] <= 0:
        return sentence + "; no clause shows there more often than before."
    return sentence + Markup("; it grew most for “{}”, from {} to {}.").format(
        most, told(most, "base"), told(most, FINETUNED)
    )
