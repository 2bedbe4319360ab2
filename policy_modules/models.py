"""Opening models by name, and asking any of them by DSPy's signatures."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from prefect_ratify import embedded
from prefect_ratify.call_store import ATTEMPTS
from prefect_ratify.errors import InputError
from prefect_ratify.event_loop import run
from prefect_ratify.language_models import Answer, LanguageModel, Transient
from prefect_ratify.local_models import load_local
from prefect_ratify.policy_modules import endpoint
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion, Message, Sampling, digest

AT_ONCE = 64
DIRECT = ("openai", "hosted_vllm")  # the providers whose own endpoints speak OpenAI's protocol
HINT = "give 'embedded', a checkpoint folder, or a LiteLLM name such as openai/…, ollama_chat/…"


def open_model(name: str, *, greet: bool = True) -> LanguageModel:
    """The model of that name: `embedded`, a checkpoint folder, or a LiteLLM name.

    InputError where there is no such model; a remote one is asked for one word to find out
    (unless `greet` is False).
    """
    if name == embedded.NAME or (name and Path(name).is_dir()):
        return load_local(name)
    if name.startswith((".", "/", "~")) or "/" not in name or name.endswith("/"):
        raise InputError(f"there is no model {name!r}", HINT)
    model = RemoteModel(name)
    if greet:
        model.require_answer()
    return model


def is_remote(name: str) -> bool:
    """Whether a model's name is one of LiteLLM's, and not `embedded` or a folder."""
    return "/" in name and name != embedded.NAME and not Path(name).is_dir()


def require_local(name: str) -> None:
    """InputError where a model is not one that can be trained here."""
    if name != embedded.NAME and not Path(name).is_dir():
        raise InputError(f"the student {name!r} is remote", "give 'embedded' or a checkpoint folder")


class RemoteModel:
    """A model behind an HTTP endpoint, by its LiteLLM name.

    The endpoint is LiteLLM's own, or what `<PROVIDER>_API_BASE` says. An OpenAI-compatible one of
    your own is asked directly, any other by DSPy's engine, which knows each provider's ways.
    """

    at_once = AT_ONCE

    def __init__(self, name: str) -> None:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches one at import
        self.name = name
        self.provider, _, self.model = name.partition("/")
        self.api_base = os.environ.get(f"{self.provider.upper()}_API_BASE")
        self.digest = digest(["remote", name, self.api_base])
        self.endpoint = self.api_base or self.provider

    @asynccontextmanager
    async def connect(self, meter: Meter) -> AsyncIterator[Answer]:
        """Answers over HTTP; a failure that no other try would mend is a Completion with its class."""
        if self.api_base and self.provider in DIRECT:
            key = os.environ.get(f"{self.provider.upper()}_API_KEY", "")
            async with endpoint.connect(self.api_base, self.model, key) as answer:
                yield answer
        else:
            yield self._answer_by_dspy

    def require_answer(self) -> None:
        """InputError, in one line, where the model cannot be reached, or does not exist."""
        if why := why_silent(self):
            place = f" at {self.api_base}" if self.api_base else ""
            raise InputError(f"the model {self.name!r} does not answer{place} ({why})", HINT)

    @cached_property
    def _dspy(self) -> Any:
        import dspy

        settings: dict[str, Any] = {"api_base": self.api_base} if self.api_base else {}
        return dspy.LM(self.name, cache=False, num_retries=ATTEMPTS - 1, **settings)

    @cached_property
    def _takes_schemas(self) -> bool:
        """Whether LiteLLM's map of models (DSPy has it) says that this one can be held to a schema."""
        return bool(self._dspy.supports_response_schema)

    async def _answer_by_dspy(self, call: Call) -> Completion:
        from dspy import lm15

        system = "\n\n".join(m.content for m in call.messages if m.role == "system") or None
        turns = [
            lm15.Message.user(m.content) if m.role == "user" else lm15.Message.assistant(m.content)
            for m in call.messages
            if m.role != "system"
        ]
        request = lm15.Request(
            model=self.name,
            system=system,
            messages=tuple(turns),
            config=lm15.Config(
                temperature=call.sampling.temperature,
                max_tokens=call.sampling.max_tokens,
                response_format=_format(call.response_schema) if call.response_schema and self._takes_schemas else None,
            ),
        )
        try:
            answer = await self._dspy.acall(request)
        except Exception as error:  # whatever went wrong with one row is that row's result
            return Completion(error=type(error).__name__, finished=False)
        usage = answer.usage
        return Completion(
            text=endpoint.storable(answer.text),
            finished=answer.finish_reason != "length",
            tokens_read=usage.input_tokens or 0,
            tokens_written=usage.output_tokens or 0,
        )


def why_silent(model: LanguageModel) -> str:
    """The class of the failure where a model does not answer; empty where it does, as one call of a word shows."""
    hello = Call(
        messages=(Message(role="user", content="Say yes."),),
        sampling=Sampling(temperature=0.0, max_tokens=16),
        seed=0,
    )

    async def say_hello() -> Completion:
        async with model.connect(Meter("", 1)) as answer:
            return await answer(hello)

    try:
        return run(say_hello()).error
    except Transient as failure:
        return failure.kind


@dataclass(frozen=True)
class Prompt:
    """A DSPy signature as a call to a model, and back, without DSPy's own calling, which costs much more.

    All inputs are texts. `response_schema` is a JSON schema of the same outputs, for models that
    can be held to one.
    """

    signature: Any
    sampling: Sampling
    response_schema: str = ""

    def call(self, fields: Mapping[str, str]) -> Call:
        """The call that asks for the signature's outputs."""
        messages = tuple(
            Message(role=role, content="".join(fields[part] if n % 2 else part for n, part in enumerate(parts)))
            for role, parts in _template(self.signature)
        )
        return Call(messages=messages, sampling=self.sampling, seed=0, response_schema=self.response_schema)

    def turns(self) -> list[tuple[Any, list[str]]]:
        """The wording: each turn's role, and its texts with the names of the inputs between them."""
        return _template(self.signature)

    def read(self, text: str) -> dict[str, Any] | None:
        """The outputs that an answer gives; None where it cannot be parsed."""
        try:
            return dict(_adapter().parse(self.signature, text))
        except Exception:  # an unusable answer is this row's result; the caller counts it
            return None


@lru_cache
def _format(schema: str) -> dict[str, Any]:
    """A schema as DSPy's engine takes it."""
    return {"type": "json_schema", "name": "answer", "strict": True, "schema": json.loads(schema)}


@lru_cache
def _adapter() -> Any:
    import dspy

    return dspy.ChatAdapter(use_json_adapter_fallback=False)


@lru_cache
def _template(signature: Any) -> list[tuple[Any, list[str]]]:
    """A signature's turns, each as texts and, between any two of them, the name of the input that stands there.

    Formatting takes DSPy half a millisecond; a judge is asked thousands of times.
    """
    marks = {name: f"\ue000{name}\ue000" for name in signature.input_fields}
    turns = _adapter().format(signature, [], marks)
    assert all(sum(turn["content"].count(mark) for turn in turns) == 1 for mark in marks.values())
    return [(turn["role"], turn["content"].split("\ue000")) for turn in turns]
