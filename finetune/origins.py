"""Where a training row's request comes from, in one word."""

from __future__ import annotations

from prefect_ratify.training_rows import Provenance

WRITTEN, UNRELATED = "written", "unrelated"


def origin(provenance: Provenance) -> str:
    """`written` by people, the kind of variation (`person`, `look-alike` …), or `unrelated` to the policy."""
    if provenance.how:
        return provenance.how
    return WRITTEN if provenance.clause_ids else UNRELATED
