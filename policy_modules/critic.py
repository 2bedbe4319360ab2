"""Critic and reviser: the two steps of Constitutional AI's supervised phase (section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ratify.call_store import CallStore
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.judge import conversation
from prefect_ratify.policy_modules.models import Prompt, predict_all
from prefect_ratify.policy_modules.responder import definitions_text
from prefect_ratify.policy_modules.rulings_text import rulings_text
from prefect_ratify.records import Clause, Critique, Definition, Revision, Sampling, Scenario
from prefect_ratify.scenarios.precedents import Cases, Ruling, case_text

SAMPLING = Sampling(temperature=0.7, max_tokens=600)


class ModelCritic:
    """Criticises and revises with one model; None for a row whose call failed.

    `asked` is what people wanted changed when they saw an earlier round of rows, `definitions` are
    the policy's. Of the rulings in `cases` it sees those on development scenarios alone: what it
    writes is trained on.
    """

    def __init__(
        self,
        model: LanguageModel,
        store: CallStore,
        asked: Sequence[str] = (),
        *,
        cases: Cases | None = None,
        definitions: Sequence[Definition] = (),
    ) -> None:
        self._model, self._store = model, store
        self._asked = "\n".join(asked) or "nothing"
        self._cases = (cases or Cases()).only("develop")
        self._definitions = definitions_text(definitions) or "none"

    def critique(self, cases: Sequence[tuple[Scenario, str, Clause]]) -> list[Critique | None]:
        """What is wrong with each response, by the clause beside it."""
        from prefect_ratify.policy_modules.signatures import CritiqueResponse, fenced

        self._cases.prepare((clause.draft_id, case_text(scenario.query, text)) for scenario, text, clause in cases)
        inputs = [
            {
                "clause": clause.text,
                "definitions": self._definitions,
                "asked": self._asked,
                "precedents": rulings_text(self._rulings(scenario, text, clause), named=False),
                "conversation": fenced(conversation(scenario)),
                "response": fenced(text),
            }
            for scenario, text, clause in cases
        ]
        found = predict_all(Prompt(CritiqueResponse, SAMPLING), inputs, self._model, self._store, "critiques")
        return [
            Critique(clause_id=clause.id, text=p["critique"].strip()) if p and p["critique"].strip() else None
            for (_, _, clause), p in zip(cases, found, strict=True)
        ]

    def _rulings(self, scenario: Scenario, text: str, clause: Clause) -> Sequence[Ruling]:
        return self._cases.nearest(clause.draft_id, case_text(scenario.query, text))

    def revise(self, cases: Sequence[tuple[Scenario, str, Critique]]) -> list[Revision | None]:
        """Each response rewritten after its critique."""
        from prefect_ratify.policy_modules.signatures import ReviseResponse, fenced

        inputs = [
            {
                "conversation": fenced(conversation(scenario)),
                "response": fenced(text),
                "critique": fenced(critique.text),  # a model wrote it, and may quote an order
            }
            for scenario, text, critique in cases
        ]
        found = predict_all(Prompt(ReviseResponse, SAMPLING), inputs, self._model, self._store, "revisions")
        return [
            Revision(critique=critique, text=p["revision"].strip()) if p and p["revision"].strip() else None
            for (_, _, critique), p in zip(cases, found, strict=True)
        ]
