"""The data card: its header is what `load_dataset` reads, its counts are those of the rows, its text is safe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_ratify.decisions import LedgerEntry
from prefect_ratify.embedded import file_digest
from prefect_ratify.finetune.counts import DataCounts, counted
from prefect_ratify.finetune.data_card import data_card, size_category
from prefect_ratify.finetune.dataset import DATA, PREFERENCES, SUPERVISED, row_files, shard_name, write_rows
from prefect_ratify.finetune.origins import origin
from prefect_ratify.finetune.variations import VariationCounts
from prefect_ratify.flows.data_picture import rows_picture
from prefect_ratify.policy import parse_policy
from tests.test_tracing import pair, provenance, retained, revised

POLICY = parse_policy("# T: *a* <b>\n\n## Clauses\n- [kind] Be kind.\n- [ask-when] Ask since when.\n")
ROWS = [retained("p"), revised("p"), revised("q")]


def counts(**more: object) -> DataCounts:
    fields = {"scenarios": 2, "prompts": 5, "asked": 5, "lost": {"the revision breaks kind": 2}, **more}
    return counted(ROWS, [pair("p")]).model_copy(update=fields)


def card(found: DataCounts, decisions: tuple[LedgerEntry, ...] = (), **more: Any) -> str:
    return data_card(POLICY, found, {"critic": "m"}, decisions, **{"rows": "d", **more})


def header(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def entry(gate: str, name: str, **fields: object) -> LedgerEntry:
    given = {
        "gate": gate,
        "round": 1,
        "evidence": "e",
        "rule": "r",
        "decision": "approve",
        "approver": name,
        "at": "2026",
    }
    return LedgerEntry.model_validate({**given, **fields})


def test_the_card_says_what_every_count_is() -> None:
    found = counts(
        lint={"too long": 3},
        pairs_lost={"both answers are the same": 4},
        sentences={"kind": {"wanted": 9, "free": 3, "opened": 4, "tries": 31}},
    )
    variations = VariationCounts(
        asked=8, kept=5, by_kind={"place": 5}, refused={"near-duplicate": 2, "too close to a held-out scenario": 1}
    )
    text = card(found, variations=variations)
    for part in (
        "- 2 demonstrations, 1 retain rows",
        "1 preference pairs",
        "- 5 requests, of which 2 are development scenarios",
        "5 rows were asked for, and 2 lost",
        "- Written by: m (critic). No person wrote",
        "| unrelated to the policy | 1 |",
        "| varied: place | 2 |",
        "| critique and revision | 2 |",
        "| own answer retained | 1 |",
        "| votes (pairs) | 1 |",
        "| kind | 2 | 0 | 2 | 0 | 0 |",
        "| ask-when | 2 | 0 | 2 | 0 | 1 |",
        "| kind/2 | 0 | 0 | 0 | 2 | 0 |",
        "| kind | 0 → 2 | 2 → 0 | 0 → 0 | 0 → 0 |",
        "| kind | 9 | 3 | 4 | 31 |",
        "- Lost: 2 × the revision breaks kind.",
        "- No pair: 4 × both answers are the same.",
        "- Kept with a finding: 3 × too long.",
        "- Variations of requests: 8 asked for, 5 kept.",
        "- Variation refused: 2 × near-duplicate.",
        "- Variation refused: 1 × too close to a held-out scenario.",
        "also scores the result",
        "The decision on this data cannot stand here",
    ):
        assert part in text


def test_rows_that_had_no_answer_before_show_none() -> None:
    assert "| kind | – → 2 | – → 0 |" in card(counts(before={}))


def test_a_card_of_nothing_is_a_card() -> None:
    text = card(DataCounts())
    assert "- 0 demonstrations" in text and "Nothing." in text and "## Verdicts" not in text
    assert [config["config_name"] for config in header(text)["configs"]] == ["sft"]


def test_the_header_is_the_hubs_and_states_no_license_and_no_language_that_nobody_gave() -> None:
    found = header(card(counts()))
    assert found["license"] == "unknown" and "language" not in found
    assert found["pretty_name"] == "Training data for T: *a* <b>"
    assert found["size_categories"] == ["n<1K"] and found["task_categories"] == ["text-generation"]


@pytest.mark.parametrize(
    ("rows", "name"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**6, "1M<n<10M"), (10**12, "n>1T")],
)
def test_sizes_have_the_hubs_names(rows: int, name: str) -> None:
    assert size_category(rows) == name


def test_decisions_stand_with_names_and_words_and_what_did_not_count_does_not() -> None:
    text = card(
        counts(),
        (
            entry("draft", "Ada", role="legal", comment="softer | please"),
            entry("policy", "Eve", refused="a wrong code"),
            entry("policy", "", unattended=True, round=2),
        ),
    )
    assert "- draft, round 1: approve, Ada (legal): “softer \\| please”" in text
    assert "- policy, round 2: approve, nobody was asked" in text and "Eve" not in text


def test_foreign_text_brings_no_markup_no_line_and_no_header_of_its_own() -> None:
    hostile = "x\n---\nlicense: mit\n# H\x1b[31m <script>| [a](b)"
    policy = POLICY.model_copy(update={"title": hostile})
    found = counts(lost={hostile: 1}, by_origin={hostile: 1}, by_method={hostile: 1}, lint={hostile: 1})
    text = data_card(policy, found, {"critic": hostile}, (entry("draft", hostile, comment=hostile),), rows="d")
    assert header(text)["license"] == "unknown" and "\x1b" not in text and "<script" not in text.split("---\n", 2)[2]
    assert text.count("\n---\n") == 1 and "\n# H" not in text and "[a](b)" not in text.split("---\n", 2)[2]


def test_a_row_is_written_varied_or_unrelated() -> None:
    assert origin(provenance("p")) == "written"
    assert origin(provenance("p", clause_ids=())) == "unrelated"
    assert origin(provenance("p", clause_ids=(), how="look-alike")) == "look-alike"


def test_the_picture_draws_a_bar_for_each_clause_and_none_of_nothing() -> None:
    import base64

    drawn = rows_picture(counts(by_clause={"<b>": {"written": 3, "place": 1}}))
    svg = base64.b64decode(drawn.partition("base64,")[2].rstrip(")")).decode()
    assert "&lt;b&gt;" in svg and "<b>" not in svg and ">4</text>" in svg and ">no clause</text>" in svg
    assert rows_picture(DataCounts()) == ""


@pytest.mark.model
@pytest.mark.parametrize("pairs", [True, False])
def test_load_dataset_reads_both_kinds_of_rows_by_the_header(tmp_path: Path, pairs: bool) -> None:
    from datasets import load_dataset

    write_rows(ROWS[:2], tmp_path / SUPERVISED / shard_name(0))
    write_rows(ROWS[2:], tmp_path / SUPERVISED / shard_name(1))
    if pairs:
        write_rows([pair("p")], tmp_path / PREFERENCES / shard_name(0))
    (tmp_path / DATA / "README.md").write_text(card(counts(pairs=int(pairs))))
    cache = str(tmp_path / "cache")
    rows = load_dataset(str(tmp_path / DATA), cache_dir=cache)
    assert list(rows) == ["train"] and rows["train"].num_rows == 3
    assert rows["train"][1]["completion"] == [{"role": "assistant", "content": "Sorry. Since when?"}]
    assert rows["train"][1]["provenance"]["revisions"][0]["critique"]["clause_id"] == "kind/2"
    if pairs:
        found = load_dataset(str(tmp_path / DATA), "preferences", cache_dir=cache)["train"]
        assert found.num_rows == 1 and found[0]["chosen"] == [{"role": "assistant", "content": "Since when?"}]


@pytest.mark.model
def test_load_dataset_gives_no_other_runs_rows_from_its_cache(tmp_path: Path) -> None:
    from datasets import load_dataset

    for run in ("one", "two"):
        data = tmp_path / run / DATA
        write_rows([revised(run)], tmp_path / run / SUPERVISED / shard_name(0))
        (data / "README.md").write_text(card(counts(pairs=0), rows=file_digest(*row_files(data / "sft"))))
    for run in ("one", "two", "one"):
        (row,) = load_dataset(str(tmp_path / run / DATA), cache_dir=str(tmp_path / "cache"))["train"]
        assert row["provenance"]["policy"] == run
