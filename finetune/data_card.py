"""The data card: what people should know of the training data before they approve it, in the hub's format.

It is written from the counts of the shards, and reads no row. The decision on the data itself is
bound to the digest of these files, this one among them, and therefore stands elsewhere: in the
ledger, in the model card, and in the README of a handoff.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_ratify.decisions import LedgerEntry
from prefect_ratify.finetune.counts import DataCounts
from prefect_ratify.finetune.origins import UNRELATED, WRITTEN
from prefect_ratify.finetune.variations import VariationCounts
from prefect_ratify.markdown_text import escaped, table
from prefect_ratify.records import Policy, digest

OUTCOMES = ("upheld", "violated", "not applicable", "undecided")
_COLUMNS = """\
`load_dataset` gives the demonstrations, and with the name `preferences` the pairs, where there are any. `prompt` and
`completion` (of pairs `chosen` and `rejected`) are TRL's columns, in its conversational form. `id` names a row, and
`ratify trace PROJECT ID` follows it to the clause, the people's notes and their decisions. `provenance` has what that
is read from: scenario, clauses, policy, models with digests, seed, the answer before any revision, every critique and
revision, and the verdicts before and after."""


def data_card(
    policy: Policy,
    counts: DataCounts,
    writers: Mapping[str, str],
    decisions: Sequence[LedgerEntry] = (),
    variations: VariationCounts | None = None,
    *,
    rows: str,
) -> str:
    """The card in Markdown, with a YAML header that makes `datasets.load_dataset` read both kinds of rows.

    `writers` are the models that wrote, by role; `decisions` the ledger's entries so far;
    `variations` counts the variations of requests, where any were made; `rows` is the digest of the
    files of rows.
    """
    parts = [
        _header(policy, counts, rows),
        f"# Training data for “{escaped(policy.title)}”",
        _overview(policy, counts, writers),
        "## The rows\n\n" + _rows(counts),
        "## Clause by clause\n\n" + _clauses(policy, counts),
        _verdicts(policy, counts),
        _sentences(counts),
        "## What was lost, and what was found\n\n" + _lost(counts, variations),
        "## Known limits\n\n" + _limits(counts),
        "## What people decided before\n\n" + _decisions(decisions),
        f"## Columns\n\n{_COLUMNS}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def size_category(rows: int) -> str:
    """The hub's name for a number of rows: `n<1K`, `1K<n<10K` … `n>1T`."""
    names = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    place = next((place for place in range(len(names)) if rows < 1000 * 10**place), None)
    if place is None:
        return f"n>{names[-1]}"
    return f"n<{names[0]}" if place == 0 else f"{names[place - 1]}<n<{names[place]}"


def _header(policy: Policy, counts: DataCounts, digest_of_rows: str) -> str:
    import yaml

    # `datasets` keeps what it read under the folder's name and these fields, whatever the files hold: without the
    # digest it gives the rows of another run, whose folder has the same name.
    said = {"description": f"files {digest_of_rows}"}
    configs: list[dict[str, Any]] = [{"config_name": "sft", "default": True, "data_files": "sft/*.parquet", **said}]
    if counts.pairs:
        configs.append({"config_name": "preferences", "data_files": "preferences/*.parquet", **said})
    fields = {
        "pretty_name": " ".join(f"Training data for {policy.title}".split()),
        "license": "unknown",
        "task_categories": ["text-generation"],
        "size_categories": [size_category(counts.demonstrations + counts.retained + counts.pairs)],
        "tags": ["prefect-ratify", "trl", "constitutional-ai", "synthetic"],
        "configs": configs,
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=False)}---"


def _overview(policy: Policy, counts: DataCounts, writers: Mapping[str, str]) -> str:
    wrote = ", ".join(f"{escaped(name)} ({escaped(role)})" for role, name in writers.items())
    return "\n".join(
        [
            f"- {counts.demonstrations} demonstrations, {counts.retained} retain rows (the model's own answers to "
            f"unrelated requests) and {counts.pairs} preference pairs.",
            f"- {counts.prompts} requests, of which {counts.scenarios} are development scenarios as people wrote them; "
            f"{counts.asked} rows were asked for, and {sum(counts.lost.values())} lost.",
            f"- Written by: {wrote}. No person wrote or corrected these rows.",
            f"- Policy: {len(policy.clauses)} clauses, digest `{digest(policy)[:16]}`.",
            "- License: nobody has said. It is for those who own the policy and the scenarios, under the terms of the "
            "models that wrote.",
            "- Language: whatever the scenarios are written in; it was not determined.",
        ]
    )


def _rows(counts: DataCounts) -> str:
    origins = [[_origin(name), str(count)] for name, count in counts.by_origin.items()]
    methods = [[escaped(name), str(count)] for name, count in counts.by_method.items()]
    pairs = [[f"{escaped(name)} (pairs)", str(count)] for name, count in counts.pairs_by_method.items()]
    parts = [table(["request", "rows"], origins), table(["made by", "rows"], [*methods, *pairs])]
    return "\n\n".join(part for part, rows in zip(parts, (origins, [*methods, *pairs]), strict=True) if rows) or "None."


def _origin(name: str) -> str:
    named = {WRITTEN: "as people wrote it", UNRELATED: "unrelated to the policy"}
    return named.get(name, f"varied: {escaped(name)}")


def _clauses(policy: Policy, counts: DataCounts) -> str:
    """Rows whose request touches a clause: one row counts for several."""
    rows = []
    for clause_id in _clause_ids(policy, counts.by_clause, counts.pairs_by_clause, counts.revised):
        by_origin = counts.by_clause.get(clause_id, {})
        written, total = by_origin.get(WRITTEN, 0), sum(by_origin.values())
        numbers = (total, written, total - written, counts.revised.get(clause_id, 0))
        rows.append([escaped(clause_id), *map(str, numbers), str(counts.pairs_by_clause.get(clause_id, 0))])
    head = ["clause", "rows that it touches", "as people wrote them", "varied", "revisions by it", "pairs"]
    return table(head, rows)


def _verdicts(policy: Policy, counts: DataCounts) -> str:
    """What the judges and checks said of the answers before any revision, and of what is learned."""
    if not counts.before and not counts.after:
        return ""
    rows = []
    for clause_id in _clause_ids(policy, counts.before, counts.after):
        both = [counts.before.get(clause_id, {}), counts.after.get(clause_id, {})]
        told = [" → ".join(_number(verdicts, outcome) for verdicts in both) for outcome in OUTCOMES]
        rows.append([escaped(clause_id), *told])
    said = "Of the answers before any revision → of what is learned. An undecided verdict loses no row."
    return f"## Verdicts\n\n{said}\n\n{table(['clause', *OUTCOMES], rows)}"


def _number(verdicts: Mapping[str, int], outcome: str) -> str:
    """A count, or a dash where nothing was judged: composed rows have no answer before."""
    return str(verdicts.get(outcome, 0)) if verdicts else "–"


def _sentences(counts: DataCounts) -> str:
    if not counts.sentences:
        return ""
    keys = ("wanted", "free", "opened", "tries")
    rows = [[escaped(name), *(str(tally[key]) for key in keys)] for name, tally in counts.sentences.items()]
    head = ["clause", "wanted", "kept freely", "kept from the author's opening", "tries"]
    said = "Sentences kept from an opening begin with words that the policy's authors wrote."
    return f"## Sentences\n\n{table(head, rows)}\n\n{said}"


def _lost(counts: DataCounts, variations: VariationCounts | None) -> str:
    lines = [f"- Lost: {count} × {escaped(reason)}." for reason, count in sorted(counts.lost.items())]
    lines += [f"- No pair: {count} × {escaped(reason)}." for reason, count in sorted(counts.pairs_lost.items())]
    lines += [f"- Kept with a finding: {count} × {escaped(name)}." for name, count in sorted(counts.lint.items())]
    if variations and variations.asked:
        lines.append(f"- Variations of requests: {variations.asked} asked for, {variations.kept} kept.")
        refused = sorted(variations.refused.items())
        lines += [f"- Variation refused: {count} × {escaped(reason)}." for reason, count in refused]
    return "\n".join(lines) or "Nothing."


def _limits(counts: DataCounts) -> str:
    said = [
        "What chose the rows (the clauses' checks, and judge models where there are any) also scores the result. "
        "Only audit checks and people are independent of it.",
        "A language model wrote the answers. Nobody checked what they say of the world.",
        "No held-out scenario is in it, by id, by word 5-grams and by similarity. A paraphrase in wholly other words "
        "can pass.",
        "Personal data and refusals are found by patterns, and those miss some.",
    ]
    undecided = sum(verdicts.get("undecided", 0) for verdicts in counts.after.values())
    if undecided:
        said.append(f"On {undecided} clauses of what is learned nobody could decide.")
    if set(counts.by_origin) - {WRITTEN, UNRELATED}:
        said.append("Varied requests are a machine's. They repeat what the scenarios leave out.")
    return "\n".join(f"- {sentence}" for sentence in said)


def _decisions(decisions: Sequence[LedgerEntry]) -> str:
    lines = []
    for entry in decisions:
        if not entry.refused and entry.decision:
            who = "nobody was asked" if entry.unattended else escaped(entry.approver)
            role = f" ({escaped(entry.role)})" if entry.role else ""
            said = f": “{escaped(entry.comment)}”" if entry.comment else ""
            lines.append(f"- {entry.gate}, round {entry.round}: {entry.decision}, {who}{role}{said}")
    lines = lines or ["- Nothing."]
    lines.append(
        "\nThe decision on this data cannot stand here, since it is bound to the digest of these files: the ledger has "
        "it, and with it a handoff's README and the model card."
    )
    return "\n".join(lines)


def _clause_ids(policy: Policy, *counted: Mapping[str, Any]) -> list[str]:
    """The draft's clauses in the policy's order, then whatever else was counted."""
    return list(dict.fromkeys([clause.draft_id for clause in policy.clauses] + [c for each in counted for c in each]))
