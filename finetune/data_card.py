"""The data card: what people should know of the training data before they approve it."""

from __future__ import annotations

from prefect_ratify.finetune.counts import DataCounts
from prefect_ratify.records import Policy


def data_card(policy: Policy, counts: DataCounts, model: str) -> str:
    """What people should know of the data before they approve it, in Markdown."""
    lines = [
        f"# Training data for “{policy.title}”",
        "",
        f"- Written by: `{model}`; no person wrote or corrected these rows.",
        f"- {counts.demonstrations} demonstrations from {counts.scenarios} development scenarios; "
        f"{counts.retained} unrelated requests with the model's own answers (retain rows).",
        *(f"- Lost: {count} × {reason}." for reason, count in sorted(counts.lost.items())),
        "- No held-out scenario is in it (checked by id and by word 5-grams).",
        "- The clauses' checks chose the rows, and the same checks score the result.",
    ]
    if counts.sentences:
        lines += [
            "",
            "| clause | wanted | kept freely | kept from the author's opening | tries |",
            "|---|---|---|---|---|",
        ]
        for clause_id, tally in counts.sentences.items():
            lines.append(
                f"| {clause_id} | {tally['wanted']} | {tally['free']} | {tally['opened']} | {tally['tries']} |"
            )
        lines += ["", "Sentences kept from an opening begin with words that the policy's authors wrote."]
    return "\n".join(lines) + "\n"
