"""Critic and reviser: the two steps of Constitutional AI's supervised phase.

After Bai et al. 2022 (arXiv 2212.08073, section 3.1). What people ruled on similar responses stands
where the paper has examples of critiques.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from prefect_ratify.call_store import Asking
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.policy_modules.gathering import Gathered
from prefect_ratify.policy_modules.judge import conversation
from prefect_ratify.policy_modules.models import Prompt
from prefect_ratify.policy_modules.responder import definitions_text
from prefect_ratify.policy_modules.rulings_text import rulings_text
from prefect_ratify.records import Clause, Definition, Sampling, Scenario, digest
from prefect_ratify.scenarios.precedents import Cases, Ruling, case_text
from prefect_ratify.training_rows import Critique, Revision

SAMPLING = Sampling(temperature=0.7, max_tokens=600)
CALLS_A_ROUND = 2


class ModelCritic:
    """Criticises and revises with one model.

    `asked` is what people wanted changed when they saw an earlier round of rows, `definitions` are
    the policy's. Of the rulings in `cases` it sees those on development scenarios alone: what it
    writes is trained on.
    """

    def __init__(
        self,
        model: LanguageModel,
        asked: Sequence[str] = (),
        *,
        cases: Cases | None = None,
        definitions: Sequence[Definition] = (),
    ) -> None:
        self.model = model
        self._asked = "\n".join(asked) or "nothing"
        self._cases = (cases or Cases()).only("develop")
        self._embedded = Gathered(self._embed)
        self._definitions = definitions_text(definitions) or "none"

    async def critique(self, scenario: Scenario, text: str, clause: Clause, asking: Asking) -> Critique | str:
        """What is wrong with a response, by a clause; a text says why there is no critique."""
        from prefect_ratify.policy_modules.signatures import fenced

        rulings = await self._rulings(scenario, text, clause)
        fields = {
            "clause": clause.text,
            "definitions": self._definitions,
            "asked": self._asked,
            "precedents": rulings_text(rulings, named=False),
            "conversation": fenced(conversation(scenario)),
            "response": fenced(text),
        }
        said, why_not = await self._said(self._critiques, fields, "critique", asking)
        return why_not or Critique(clause_id=clause.id, text=said)

    async def revise(self, scenario: Scenario, text: str, critique: Critique, asking: Asking) -> Revision | str:
        """A response rewritten after its critique; a text says why there is no revision."""
        from prefect_ratify.policy_modules.signatures import fenced

        fields = {
            "conversation": fenced(conversation(scenario)),
            "response": fenced(text),
            "critique": fenced(critique.text),  # a model wrote it, and may quote an order
        }
        said, why_not = await self._said(self._revisions, fields, "revision", asking)
        return why_not or Revision(critique=critique, text=said)

    @cached_property
    def wording(self) -> str:
        """The digest of what critiques and revisions are asked with, beside each row's own texts."""
        turns = [prompt.turns() for prompt in (self._critiques, self._revisions)]
        return digest([turns, SAMPLING, self._asked, self._definitions])

    @cached_property
    def _critiques(self) -> Prompt:
        from prefect_ratify.policy_modules.signatures import CritiqueResponse

        return Prompt(CritiqueResponse, SAMPLING)

    @cached_property
    def _revisions(self) -> Prompt:
        from prefect_ratify.policy_modules.signatures import ReviseResponse

        return Prompt(ReviseResponse, SAMPLING)

    async def _said(self, prompt: Prompt, fields: dict[str, str], name: str, asking: Asking) -> tuple[str, str]:
        """The field of that name in the model's answer, or else why there is none."""
        answer = await asking.ask(self.model, prompt.call(fields))
        if answer.error:
            return "", f"no {name} ({answer.error})"
        if not answer.finished:
            return "", f"the {name} was cut off"
        said = str((prompt.read(answer.text) or {}).get(name) or "").strip()
        return said, "" if said else f"a {name} that cannot be read"

    async def _rulings(self, scenario: Scenario, text: str, clause: Clause) -> Sequence[Ruling]:
        about = clause.draft_id, case_text(scenario.query, text)
        if not self._cases.can_tell([about]):
            await self._embedded(about)  # it asks a model: others go on meanwhile
        return self._cases.nearest(*about)

    def _embed(self, asked: list[tuple[str, str]]) -> None:
        self._cases.prepare(asked)
        self._cases.nearest(*asked[0])  # the rulings themselves, too
