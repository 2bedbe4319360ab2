"""Pluralism and the jury in Markdown, for the release gate and the model card."""

from __future__ import annotations

from prefect_ratify.flows.jury_words import (
    function_words,
    jury_headline,
    jury_of,
    named,
    ranking,
    welfare_said,
)
from prefect_ratify.flows.markdown import escaped, points, table
from prefect_ratify.flows.pluralism_words import headline, pluralism_of, said, subject
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.scenarios.pluralism.jury_records import JuryFindings
from prefect_ratify.scenarios.pluralism.records import Pluralism


def voices(run: Run) -> list[str]:
    """What training did to pluralism and to the jury: a paragraph and a table of each that was measured."""
    pluralism, jury = pluralism_of(run), jury_of(run)
    return [*(pluralism_markdown(pluralism) if pluralism else ()), *(jury_markdown(jury) if jury else ())]


def in_a_line(run: Run) -> list[str]:
    """The first sentence on each, for a model card."""
    pluralism, jury = pluralism_of(run), jury_of(run)
    told = [*(headline(pluralism)[:1] if pluralism else ()), *(jury_headline(jury)[:1] if jury else ())]
    return [escaped(sentence) for sentence in told]


def pluralism_markdown(found: Pluralism) -> list[str]:
    """The sentences, and each change in points with its interval."""
    rows = [
        (
            escaped(subject(change)),
            f"finetuned − {escaped(change.first)}",
            points(change.interval),
            escaped(said(change)),
        )
        for change in found.changes
    ]
    changes = [table(["measure", "", "change, points", "the finetuned model"], rows)] if rows else []
    return ["## Did training flatten differences?", escaped(" ".join(headline(found))), *changes]


def jury_markdown(found: JuryFindings) -> list[str]:
    """Who sat, what changed for them by each welfare function, and whether it depends on who sits."""
    who = ", ".join(escaped(named(juror.name, found)) for juror in found.jurors)
    rows = [
        (
            escaped(function_words(c.function)),
            f"finetuned − {escaped(c.condition)}",
            points(c.interval),
            welfare_said(c.interval),
        )
        for c in found.changes
    ]
    changes = [table(["welfare", "", "change, points", "what it says"], rows)] if rows else []
    ranked = [escaped(ranking(found))] if ranking(found) else []
    return ["## The jury", f"{escaped(' '.join(jury_headline(found)))} Jurors: {who}.", *changes, *ranked]
