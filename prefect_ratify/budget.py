"""What calls cost, and a limit on it: in calls, tokens or money."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from prefect_ratify.records import Call, Completion, Record

CHARACTERS_A_TOKEN = 4  # of English text, about; estimates alone use it


class Budget(Record):
    """What may be spent: calls sent, tokens read and written, US dollars. None is no limit."""

    calls: int | None = None
    tokens: int | None = None
    dollars: float | None = None


class Price(Record):
    """US dollars for one token read and one token written."""

    read: float
    written: float


class Payment(Record):
    """What calls came to."""

    calls: int = 0
    tokens: int = 0
    dollars: float = 0.0

    def __sub__(self, before: Payment) -> Payment:
        return Payment(
            calls=self.calls - before.calls,
            tokens=self.tokens - before.tokens,
            dollars=self.dollars - before.dollars,
        )


@dataclass
class Spending:
    """What was spent, and what calls under way may yet come to.

    A call begins only where the most that it may take still fits: what it reads (estimated from
    its length until the endpoint says) and as many tokens as it may write.

    Work that is to go on after a kill has an `account`, under which the store keeps what was paid
    (`CallStore.spending`); `paid` is what it had kept by then. Such work goes the same way again,
    with the answers that are there: `walked` is what it has needed so far, new or paid before.
    `wasted` are tries that got no answer: they failed, or were under way when it was killed.
    """

    budget: Budget = field(default_factory=Budget)
    calls: int = 0
    tokens: int = 0
    dollars: float = 0.0
    refused: int = 0  # calls that there was no room for, as the asker counts them
    under_way: int = 0
    account: str = ""
    paid: dict[str, Payment] = field(default_factory=dict)
    walked: Payment = field(default_factory=Payment)
    wasted: int = 0
    _tokens_due: int = 0
    _dollars_due: float = 0.0

    def __post_init__(self) -> None:
        self.calls += len(self.paid) + self.wasted
        self.tokens += sum(payment.tokens for payment in self.paid.values())
        self.dollars += sum(payment.dollars for payment in self.paid.values())

    def has_room(self, model_name: str, call: Call) -> bool:
        """Whether a call may begin."""
        tokens, dollars = most(model_name, call)
        return not (
            _beyond(self.calls + 1, self.budget.calls)
            or _beyond(self.tokens + self._tokens_due + tokens, self.budget.tokens)
            or _beyond(self.dollars + self._dollars_due + dollars, self.budget.dollars)
        )

    def begin(self, model_name: str, call: Call) -> bool:
        """Count a call that is about to be sent; False, and nothing counted, where the budget has no room."""
        if not self.has_room(model_name, call):
            return False
        tokens, dollars = most(model_name, call)
        self.calls += 1
        self.under_way += 1
        self._tokens_due += tokens
        self._dollars_due += dollars
        return True

    def end(self, model_name: str, call: Call, answer: Completion | None) -> Payment:
        """Count what a call that was begun came to; None where it failed."""
        tokens, dollars = most(model_name, call)
        self.under_way -= 1
        self._tokens_due -= tokens
        self._dollars_due -= dollars
        if answer is None or answer.error:
            self.wasted += 1
        if answer is None:
            return Payment()
        payment = Payment(
            tokens=answer.tokens_read + answer.tokens_written,
            dollars=cost(model_name, answer.tokens_read, answer.tokens_written),
        )
        self.tokens += payment.tokens
        self.dollars += payment.dollars
        if not answer.error:
            self.walk(payment)
        return payment

    def walk(self, payment: Payment) -> None:
        """Count a call on the way that work with an account goes."""
        self.walked = Payment(
            calls=self.walked.calls + 1,
            tokens=self.walked.tokens + payment.tokens,
            dollars=self.walked.dollars + payment.dollars,
        )

    def again(self, key: str) -> None:
        """An answer was found in the store; where this account paid for it before, it is on its way."""
        if key in self.paid:
            self.walk(self.paid.pop(key))


def most(model_name: str, call: Call) -> tuple[int, float]:
    """The most that a call may take, in tokens and dollars."""
    read = tokens_in(call)
    return read + call.sampling.max_tokens, cost(model_name, read, call.sampling.max_tokens)


def tokens_in(call: Call) -> int:
    """About how many tokens a call's messages are."""
    return sum(len(message.content) // CHARACTERS_A_TOKEN + 4 for message in call.messages)


def cost(model_name: str, read: int, written: int) -> float:
    """US dollars by LiteLLM's price map; 0 where it knows no price, as for models of one's own."""
    price = price_of(model_name)
    return price.read * read + price.written * written if price else 0.0


def money(dollars: float) -> str:
    """An amount as a person writes it; small ones with the digits that they need."""
    return f"${dollars:,.2f}" if dollars >= 0.1 or not dollars else f"${dollars:.2g}"


@lru_cache
def price_of(model_name: str) -> Price | None:
    """What LiteLLM's price map says of a model, if it says anything."""
    found = _price_map().get(model_name) or _price_map().get(model_name.partition("/")[2])
    if not isinstance(found, dict) or "input_cost_per_token" not in found:
        return None
    return Price(read=found["input_cost_per_token"], written=found.get("output_cost_per_token") or 0.0)


@lru_cache
def _price_map() -> dict[str, object]:
    # Read from LiteLLM's folder: importing it takes seconds, and would ask its own site for a newer map.
    found = find_spec("litellm")
    folder = Path(found.origin).parent if found and found.origin else Path()
    path = folder / "model_prices_and_context_window_backup.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _beyond(amount: float, limit: float | None) -> bool:
    return limit is not None and amount > limit
