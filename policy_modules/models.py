"""Opening models by name, and putting any of them (with the store of calls) behind DSPy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from prefect_ratify import embedded
from prefect_ratify.errors import InputError, one_line
from prefect_ratify.language_models import CallStore, LanguageModel
from prefect_ratify.local_models import load_local
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion, Message, Sampling, digest

AT_ONCE = 32
HINT = "give 'embedded', a checkpoint folder, or a LiteLLM name such as openai/…, ollama_chat/…"


def open_model(name: str) -> LanguageModel:
    """The model of that name: `embedded`, a checkpoint folder, or a LiteLLM name.

    InputError where there is no such model; a remote one is asked for one word to find out.
    """
    if name == embedded.NAME or (name and Path(name).is_dir()):
        return load_local(name)
    if name.startswith((".", "/", "~")) or "/" not in name:
        raise InputError(f"there is no model {name!r}", HINT)
    model = RemoteModel(name)
    model.require_answer()
    return model


def require_local(name: str) -> None:
    """InputError where a model is not one that can be trained here."""
    if name != embedded.NAME and not Path(name).is_dir():
        raise InputError(f"the student {name!r} is remote", "give 'embedded' or a checkpoint folder")


class RemoteModel:
    """A model behind an HTTP endpoint, by its LiteLLM name, called through DSPy's engine.

    The endpoint is LiteLLM's own, or what `<PROVIDER>_API_BASE` says.
    """

    def __init__(self, name: str) -> None:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches one at import
        self.name = name
        self.api_base = os.environ.get(f"{name.split('/')[0].upper()}_API_BASE")
        self.digest = digest(["remote", name, self.api_base])

    def complete(self, calls: Sequence[Call], meter: Meter) -> Iterator[tuple[int, Completion]]:
        """Answer calls, many at once; a failure is a Completion with the error's class."""
        if not calls:
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            waiting = {pool.submit(self._complete_one, call): place for place, call in enumerate(calls)}
            for future in as_completed(waiting):
                yield waiting[future], future.result()

    def require_answer(self) -> None:
        """InputError, in one line, where the model cannot be reached, or does not exist."""
        hello = Call(
            messages=(Message(role="user", content="Say yes."),),
            sampling=Sampling(temperature=0.0, max_tokens=16),
            seed=0,
        )
        try:
            self._ask(hello)
        except Exception as error:
            raise InputError(
                f"the model {self.name!r} does not answer "
                f"({type(error).__name__}: {one_line(without_secrets(str(error)), 200)})",
                HINT,
            ) from None

    def _complete_one(self, call: Call) -> Completion:
        try:
            return self._ask(call)
        except Exception as error:  # whatever went wrong with one row is that row's result
            return Completion(error=type(error).__name__, finished=False)

    def _ask(self, call: Call) -> Completion:
        import dspy
        from dspy import lm15

        settings: dict[str, Any] = {"api_base": self.api_base} if self.api_base else {}
        model = dspy.LM(self.name, cache=False, num_retries=4, **settings)
        system = "\n\n".join(m.content for m in call.messages if m.role == "system") or None
        turns = [
            lm15.Message.user(m.content) if m.role == "user" else lm15.Message.assistant(m.content)
            for m in call.messages
            if m.role != "system"
        ]
        answer = model(
            lm15.Request(
                model=self.name,
                system=system,
                messages=tuple(turns),
                config=lm15.Config(temperature=call.sampling.temperature, max_tokens=call.sampling.max_tokens),
            )
        )
        return Completion(text=(answer.text or "").strip(), finished=answer.finish_reason != "length")


def without_secrets(text: str) -> str:
    """A text without the values of this environment's keys: endpoints repeat them in their errors."""
    secrets = (v for k, v in os.environ.items() if k.endswith(("_KEY", "_TOKEN", "_SECRET")) and len(v) > 5)
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


class StoreEngine:
    """A DSPy engine over any model, so that predictors' calls are kept in the store as well."""

    def __init__(self, model: LanguageModel, store: CallStore, sampling: Sampling) -> None:
        self.model, self.store, self.sampling = model, store, sampling

    def complete(self, request: Any) -> Any:
        """Answer one lm15 Request from the store, or else from the model."""
        from dspy import lm15

        messages = [Message(role=m.role, content=m.text or "") for m in request.messages]
        if request.system:
            messages.insert(0, Message(role="system", content=str(request.system)))
        call = Call(messages=tuple(messages), sampling=self.sampling, seed=0)
        answer = self.store.complete(self.model, [call])[0]
        if answer.error:
            raise lm15.LM15Error(answer.error)
        return lm15.Response(
            id=None,
            model=self.model.name,
            message=lm15.Message.assistant(answer.text),
            finish_reason="stop" if answer.finished else "length",
            usage=lm15.Usage(),
        )


def predict_all(signature: Any, inputs: Sequence[dict[str, Any]], engine: StoreEngine) -> list[Any]:
    """A DSPy prediction for each input, many at once, in order; None where it failed.

    One call a prediction: an answer that does not parse is not asked for a second time.
    """
    import dspy

    model = dspy.LM(f"openai/{engine.model.name.split('/')[-1]}", engine=engine, cache=False, num_retries=0)
    predictor = dspy.Predict(signature)

    def predict(fields: dict[str, Any]) -> Any:
        with dspy.context(lm=model, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
            try:
                return predictor(**fields)
            except Exception:  # an unusable answer is this row's result; the caller counts it
                return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(predict, inputs))
