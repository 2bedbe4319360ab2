"""The model card: what a finetuned model is, how it did, who approved it and who did not."""

from __future__ import annotations

from prefect_ratify.flows.compare import FINETUNED, Final
from prefect_ratify.flows.evidence import comparison_table
from prefect_ratify.flows.ledger import head_digest
from prefect_ratify.flows.markdown import escaped, listing
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.report import judge_words
from prefect_ratify.flows.run_folder import Run
from prefect_ratify.flows.voting import dissent, released
from prefect_ratify.records import digest
from prefect_ratify.store import read_record


def model_card(run: Run) -> str:
    """The card in Markdown, with a header as model hubs read it."""
    final = read_record(run.stage_folder("compare") / "comparison.json", Final)
    decision, votes = released(run)
    who = ", ".join(escaped(entry.approver) + (f" ({escaped(entry.role)})" if entry.role else "") for entry in votes)
    said = dissent(run)
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [prefect-ratify, trl]",
        "---",
        f"# {escaped(run.project.policy.title)}: the finetuned model",
        "",
        f"{escaped(run.settings.models.student)}, finetuned to keep a policy without being given it "
        f"(policy {digest(refined_policy(run))[:16]}, run {run.id}).",
        "",
        f"**Release:** {decision or 'not decided'}{f', by {who}' if who else ''}.",
        "",
        "## Held-out behaviour",
        "",
        *[comparison_table(c) + "\n" for c in final.comparisons if c.first in ("base", "refined")],
        f"`{FINETUNED}` answers without any policy in its prompt.",
        "",
        *([listing(words), ""] if (words := judge_words(run)) else []),
        "## Said against, or along with, what was approved",
        "",
        *(
            f"- {entry.gate}, {escaped(entry.approver)}: {entry.decision}"
            + (f", “{escaped(entry.comment)}”" if entry.comment else "")
            for entry in said
        ),
        *([] if said else ["Nothing."]),
        "",
        f"Head of the ledger of decisions: `{head_digest(run.folder)}`",
        "",
    ]
    return "\n".join(lines)
