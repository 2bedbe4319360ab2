"""DSPy's optimisers over our own models: their calls go through the store, and their noise goes nowhere."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from prefect_ratify.budget import Spending
from prefect_ratify.call_store import NOT_RUN, CallStore
from prefect_ratify.errors import RatifyError
from prefect_ratify.language_models import LanguageModel
from prefect_ratify.records import Call, Message, Sampling, seed_from

LONGEST_ANSWER = 2000  # tokens


class Ended(BaseException):
    """Ends a search past DSPy, which scores an error 0 and goes on; without an error, for want of a budget."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(error)
        self.error = error


class StoreEngine:
    """DSPy's calls to the model that writes wordings, through the store.

    The same request another time is another sample: DSPy asks so for several proposals.
    """

    def __init__(self, model: LanguageModel, store: CallStore, spending: Spending | None, seed: int) -> None:
        self.model, self.store, self.spending, self.seed = model, store, spending, seed
        self.asked: Counter[tuple[Message, ...]] = Counter()
        self.errors: Counter[str] = Counter()

    def complete(self, request: Any) -> Any:
        """Answer one of DSPy's requests; a call that fails is an answer that nothing can be read from."""
        from dspy import lm15

        turns = [Message(role=turn.role, content=turn.text or "") for turn in request.messages]
        messages = (Message(role="system", content=str(request.system or "")), *turns)
        sampling = Sampling(temperature=request.config.temperature or 1.0, max_tokens=LONGEST_ANSWER)
        call = Call(messages=messages, sampling=sampling, seed=seed_from(self.seed, self.asked[messages]))
        self.asked[messages] += 1
        (answer,) = self.store.complete(self.model, [call], spending=self.spending)
        if answer.error == NOT_RUN:
            raise Ended
        self.errors[answer.error] += 1
        return lm15.Response(
            id=None,
            model=self.model.name,
            message=lm15.Message.assistant(answer.text or "(no answer)"),
            finish_reason="stop" if answer.finished else "length",
            usage=lm15.Usage(),
        )

    def require_some(self) -> None:
        """RatifyError where the model was asked and never answered."""
        if self.errors and not self.errors[""]:
            kinds = ", ".join(sorted(self.errors.keys() - {""}))
            raise RatifyError(f"the model {self.model.name!r} proposed no wording ({kinds}); see to it, and run again")


def lenient_adapter() -> Any:
    """DSPy's way to write prompts and read answers; of one that it cannot read all fields are empty."""
    import dspy

    class Lenient(dspy.ChatAdapter):
        def parse(self, signature: Any, completion: str) -> dict[str, Any]:
            try:
                return dict(super().parse(signature, completion))
            except Exception:  # an unusable answer is a proposal of nothing
                return dict.fromkeys(signature.output_fields, "")

    return Lenient(use_json_adapter_fallback=False)


@contextmanager
def quietly() -> Iterator[None]:
    """Without what DSPy and optuna print as they go; what came of it stands in the trials."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
