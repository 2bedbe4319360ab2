"""The model card: what a finetuned model is, what it comes from, how it did, who approved it and who did not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect_ratify import embedded
from prefect_ratify.decisions import LedgerEntry
from prefect_ratify.finetune.dataset import row_files, rows_in
from prefect_ratify.finetune.handoff import sha256
from prefect_ratify.flows.compare import FINETUNED, Final
from prefect_ratify.flows.evidence import comparison_table
from prefect_ratify.flows.handing_off import HUB_NAME
from prefect_ratify.flows.ledger import head_digest
from prefect_ratify.flows.markdown import escaped, listing
from prefect_ratify.flows.pluralism_markdown import in_a_line
from prefect_ratify.flows.refine import refined_policy
from prefect_ratify.flows.report import judge_words
from prefect_ratify.flows.run_folder import Run, evidence_digest
from prefect_ratify.flows.stakeholders import GATES
from prefect_ratify.flows.train import rows_of
from prefect_ratify.flows.voting import dissent, released, standing, votes_on
from prefect_ratify.markdown_text import table
from prefect_ratify.records import digest
from prefect_ratify.store import read_json, read_record

SHOWN = 16  # hexadecimal digits of a digest


def model_card(run: Run) -> str:
    """The card in Markdown, with a header as model hubs read it."""
    policy = refined_policy(run)
    final = read_record(run.stage_folder("compare") / "comparison.json", Final)
    words = judge_words(run)
    parts = [
        _header(run),
        f"# {escaped(run.project.policy.title)}: the finetuned model",
        f"{escaped(_base(run))}, finetuned to keep a policy without being given it (policy {digest(policy)[:SHOWN]}, "
        f"run {run.id}).",
        f"**Release:** {_release(run)}.",
        "## The policy",
        "\n".join(f"- **{escaped(clause.id)}**: {escaped(clause.text)}" for clause in policy.clauses),
        "## Held-out behaviour",
        *[comparison_table(c) for c in final.comparisons if c.first in ("base", "refined")],
        f"`{FINETUNED}` answers without any policy in its prompt.",
        *in_a_line(run),
        *([listing(words)] if words else []),
        "## What it comes from",
        _lineage(run),
        "## Who decided",
        _decisions(run),
        "## Said against, or along with, what was approved",
        "\n".join(_said(entry) for entry in dissent(run)) or "Nothing.",
        f"Head of the ledger of decisions: `{head_digest(run.folder)}`",
    ]
    return "\n\n".join(parts) + "\n"


def _header(run: Run) -> str:
    """What hubs read; the base model only where it is a hub's name, and no licence, which its owners choose."""
    import yaml

    fields: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    fields |= {"base_model": HUB_NAME} if run.student().name == embedded.NAME else {}
    fields["tags"] = ["prefect-ratify", "trl"]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---"


def _base(run: Run) -> str:
    """The base model's name, which is no path of this machine."""
    name = run.student().name
    return embedded.TITLE if name == embedded.NAME else Path(name).name


def _release(run: Run) -> str:
    decision, votes = released(run)
    who = ", ".join(escaped(entry.approver) + (f" ({escaped(entry.role)})" if entry.role else "") for entry in votes)
    return f"{decision or 'not decided'}{f', by {who}' if who else ''}"


def _lineage(run: Run) -> str:
    """Everything that the model depends on, each with its digest."""
    model = run.stage_folder("train") / "model"
    learnt = [(folder, row_files(folder)) for folder in _learnt(run)]
    rows = [
        ("policy as drafted", "", _short(digest(run.project.policy))),
        ("policy as trained", "", _short(digest(refined_policy(run)))),
        ("base model", escaped(_base(run)), _short(run.student().digest)),
        *(
            (_place(run, folder), f"{sum(map(rows_in, files))} rows", _short(sha256(*files)))
            for folder, files in learnt
        ),
        *_training(run),
        ("this model", _place(run, model), _short(sha256(*sorted(model.glob("*.safetensors"))))),
    ]
    said = "Rows and weights: as `cat FOLDER/*.parquet | sha256sum` (of weights `*.safetensors`) prints it there."
    return f"{table(['what', '', 'digest'], rows)}\n\n{said}"


def _learnt(run: Run) -> list[Path]:
    """The folders of the rows that the model was trained on, in order."""
    training = read_json(run.stage_folder("train") / "training.json")
    return [rows_of(run, step) for step in (*training.get("steps", {}), *training.get("adopted", {}).get("stages", ()))]


def _place(run: Run, folder: Path) -> str:
    return escaped(str(folder.relative_to(run.folder)))


def _training(run: Run) -> list[tuple[str, str, str]]:
    """What TRL was told, a row for each training; of an adopted model, where it says so itself."""
    training = read_json(run.stage_folder("train") / "training.json")
    rows = [(f"training: {escaped(name)}", _settings(step), "") for name, step in training.get("steps", {}).items()]
    adopted = training.get("adopted")
    if adopted:
        edited = ", ".join(adopted["edited"]) or "none"
        said = f"elsewhere, by TRL ({', '.join(adopted['stages'])}); configurations edited there: {edited}"
        rows.append(("training", escaped(said), ""))
    return rows


def _settings(step: Mapping[str, Any]) -> str:
    """A training's settings as they were passed."""
    told = {**step["settings"], **{f"lora {key}": value for key, value in (step["lora"] or {}).items()}}
    return escaped("; ".join([f"{step['rows']} rows", *(f"{key} {value}" for key, value in sorted(told.items()))]))


def _decisions(run: Run) -> str:
    rows = [_decision(run, gate) for gate, stages in GATES.items() if all(run.stage_folder(s).exists() for s in stages)]
    return table(["gate", "decision", "by", "on evidence"], rows)


def _decision(run: Run, gate: str) -> tuple[str, str, str, str]:
    evidence = evidence_digest(run, gate)
    found = standing(run, gate, evidence, unattended=run.unattended)
    votes = [entry for entry in votes_on(run, gate, evidence) if run.unattended or not entry.unattended]
    who = ", ".join(escaped(entry.approver) for entry in votes if entry.decision == found)
    return gate, found or "not decided", who or "–", _short(evidence)


def _said(entry: LedgerEntry) -> str:
    comment = f", “{escaped(entry.comment)}”" if entry.comment else ""
    return f"- {entry.gate}, {escaped(entry.approver)}: {entry.decision}{comment}"


def _short(found: str) -> str:
    return f"`{found[:SHOWN]}`"
