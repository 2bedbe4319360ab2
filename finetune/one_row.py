"""One supervised row, from its request to the row with its verdicts and pairs, or to why it is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefect_ratify.call_store import Asking
from prefect_ratify.finetune.composing import composed, whole_sentences
from prefect_ratify.finetune.constitution import revised
from prefect_ratify.finetune.distilling import distilled
from prefect_ratify.finetune.lint import LOSES, lint
from prefect_ratify.finetune.preferences import judged, model_name
from prefect_ratify.finetune.row_making import Lost, RowMaking, Sentences, Written
from prefect_ratify.finetune.row_pairs import Pairing, pairs_of_row
from prefect_ratify.finetune.sentences import wording_digest
from prefect_ratify.finetune.shards import RowPlace
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.records import Message, Response, Verdict, digest, made
from prefect_ratify.scenarios.judging import verdicts_on
from prefect_ratify.scenarios.running import Condition, call_for
from prefect_ratify.training_rows import Demonstration, PreferencePair, Provenance, TrainingPrompt

COMPOSED, OWN = "sentences composed", "own answer retained"


@dataclass(frozen=True)
class Made:
    """What became of a row: the row with its pairs, or why it is lost.

    `findings` are lint's, `silent` the models that gave no answer to a call.
    """

    row: Demonstration | None = None
    lost: str = ""
    findings: tuple[str, ...] = ()
    pairs: tuple[PreferencePair | str, ...] = ()
    silent: tuple[LanguageModel, ...] = ()


async def made_row(
    place: RowPlace,
    prompt: TrainingPrompt,
    making: RowMaking,
    pairing: Pairing,
    sentences: Mapping[int, Sentences],
    asking: Asking,
) -> Made:
    """Make a row. `sentences` are what composed ones are made of, by sample; `asking` notes who was silent."""
    try:
        written = await _written(place, prompt, making, sentences, asking)
        after = await _after(written, prompt, place, making, asking)
        findings = _linted(prompt, written, making)
    except Lost as lost:
        return Made(lost=str(lost), silent=tuple(asking.silent))
    row = demonstration(prompt, written, place, making, after)
    pairs = await pairs_of_row(row, prompt.scenario, place.place, pairing, asking)
    return Made(row, findings=findings, pairs=tuple(pairs), silent=tuple(asking.silent))


def demonstration(
    prompt: TrainingPrompt, written: Written, place: RowPlace, making: RowMaking, after: Sequence[Verdict]
) -> Demonstration:
    """One supervised row: the scenario's messages (no policy in them), the answer, and where both come from."""
    scenario = prompt.scenario
    origin = made(
        Provenance,
        scenario_id=scenario.id,
        clause_ids=scenario.clause_ids,
        policy=making.policy_digest,
        model=model_name(written.model.name),
        method=written.method,
        seed=making.seed,
        varied_from=prompt.of,
        how=prompt.how,
        model_digest=written.model.digest,
        prompts=written.prompts,
        sample=place.sample,
        round=len(written.revisions),
        original=written.original,
        revisions=written.revisions,
        before=judged(written.before),
        after=judged(after),
        votes=(),
        soft_label=None,
    )
    completion = (made(Message, role="assistant", content=written.text),)
    return made(Demonstration, prompt=scenario.messages, completion=completion, provenance=origin)


async def _written(
    place: RowPlace, prompt: TrainingPrompt, making: RowMaking, sentences: Mapping[int, Sentences], asking: Asking
) -> Written:
    """The answer to be learned. A request that the policy is not about gets the model's own."""
    scenario = prompt.scenario
    if place.way == "own":
        return await _own_answer(prompt, place, making.student, making, asking)
    if not scenario.clause_ids:
        return await _own_answer(prompt, place, making.own, making, asking)
    if place.way == "distil":
        return await distilled(scenario, place, making, asking)
    if place.way == "revise" and making.critic:
        return await revised(scenario, place, making.critic, making, asking)
    text = composed(scenario, making.suite, sentences[place.sample])
    return Written(text, making.own.model, COMPOSED, wording_digest())


async def _own_answer(
    prompt: TrainingPrompt, place: RowPlace, own: Condition, making: RowMaking, asking: Asking
) -> Written:
    """A plain answer, so that training leaves the model as it is there; a cut one up to its last whole sentence."""
    call = call_for(prompt.scenario, place.sample, own, making.sampling, making.seed)
    answer = await asking.ask(own.model, call)
    if answer.error:
        raise Lost(f"no own answer to retain ({answer.error})")
    text = answer.text if answer.finished else whole_sentences(answer.text)
    if not text:
        raise Lost("own answer has no whole sentence")
    return Written(text, own.model, OWN, digest(own.preamble))


async def _after(
    written: Written, prompt: TrainingPrompt, place: RowPlace, making: RowMaking, asking: Asking
) -> Sequence[Verdict]:
    """The verdicts on what would be learned; Lost where one says that it violates a clause."""
    after = written.after
    if after is None:
        response = made(
            Response,
            scenario_id=prompt.scenario.id,
            condition="training",
            sample=place.sample,
            text=written.text,
            finished=True,
            model=written.model.name,
            error="",
        )
        after = await verdicts_on(response, prompt.scenario, making.by, asking)
    violated = [verdict.clause_id for verdict in after if verdict.outcome == "violated"]
    if violated:
        raise Lost(f"the answer breaks {violated[0]} ({written.method})")
    return after


def _linted(prompt: TrainingPrompt, written: Written, making: RowMaking) -> tuple[str, ...]:
    """What lint finds and lets pass; Lost for what it does not."""
    asked = "\n".join(message.content for message in prompt.scenario.messages)
    findings = lint(asked, written.text, making.longest)
    for finding in findings:
        if finding in LOSES:
            raise Lost(f"lint: {finding}")
    return findings
