"""Whether a model in training still writes: a few short answers, looked at now and then.

A model can learn its rows and lose its language: Holtzman et al. 2020 (arXiv 1904.09751, sections 1
and 4) show how text degenerates into repetition, and DPO is known to wander off where nothing
holds it (Pal et al. 2024, arXiv 2402.13228). Rewards do not show it: a model that answered "You're
going to jail. You're going to jail." had a margin of 10.8 and an accuracy of 1.0. So what is
looked at is the text. A model is held against what it wrote before any training, and against what
it is taught: who is taught short answers may give short answers. Babble that neither repeats itself
nor stops is seen by the loss alone, where that is worse than a blind guess among all tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from prefect_ratify.errors import Collapsed
from prefect_ratify.finetune.measures import repetition
from prefect_ratify.records import Record
from prefect_ratify.store import read_record, write_record

# A look has to be cheap: on a CPU this one takes as long as a step of training, or less (measured).
PROMPTS = 4  # answered at each look
TOKENS = 20  # of each answer: a loop of up to eight words shows by then
WORDS = 15  # of a text are looked at, whoever wrote it
TAUGHT = 512  # rows that tell what is taught
FEWEST_STEPS, MOST_STEPS = 50, 200  # between two looks: half of the training, within these
# Far outside of what a whole model does (0.02 at most, measured on the embedded one through its training), and
# well inside of what a broken one does (0.95 of the same, a word or none, all alike: at rates of 0.5, 0.05, 0.02).
MORE_REPETITION = 0.3  # word 4-grams said before, as a share of all, beyond the worse of before and taught
SHORTER = 0.25  # of the length of the shorter of both
FEWER_DISTINCT = 0.5  # of the share of different answers, of the lower of both
BESIDE = "before training, or as taught"

Write = Callable[[], list[str]]


class Look(Record):
    """What some answers look like (see `finetune.measures.Fluency`), in which training and at which of its steps."""

    of: str = ""
    step: int = 0
    repetition: float
    words: float
    distinct: float


class Looks(Record):
    """All looks of one training: before it, at what each stage teaches, and on the way."""

    before: Look | None = None
    taught: tuple[Look, ...] = ()
    seen: tuple[Look, ...] = ()


def look(texts: Sequence[str], of: str = "", step: int = 0) -> Look:
    """Look at the first words of some texts, and at how many of `PROMPTS` differ; zeros where there are none."""
    cut = [" ".join(text.split()[:WORDS]) for text in texts]
    return Look(
        of=of,
        step=step,
        repetition=round(float(np.mean([repetition(text) for text in cut] or [0])), 3),
        words=round(float(np.mean([len(text.split()) for text in cut] or [0])), 1),
        distinct=round(float(np.mean([len(set(few)) / len(few) for few in _by(PROMPTS, cut)] or [0])), 3),
    )


def what_broke(now: Look, others: Sequence[Look]) -> str:
    """What is wrong with a look beside those before training and at what is taught; '' where nothing is."""
    repeated = max(other.repetition for other in others)
    words, distinct = min(other.words for other in others), min(other.distinct for other in others)
    found = []
    if now.repetition > repeated + MORE_REPETITION:
        found.append(f"{now.repetition:.0%} of what it says it has said before ({repeated:.0%} {BESIDE})")
    if now.words < words * SHORTER:
        found.append(f"of the first {WORDS} words of an answer it says {now.words:g} ({words:g} {BESIDE})")
    if now.distinct < distinct * FEWER_DISTINCT:
        found.append(f"{now.distinct:.0%} of its answers differ ({distinct:.0%} {BESIDE})")
    return "; ".join(found)


def steps_between(total: int) -> int:
    """After how many steps a training of so many is looked at again."""
    return min(MOST_STEPS, max(FEWEST_STEPS, total // 2))


def is_time(step: int, total: int) -> bool:
    """Whether to look at this step: at the last one, and now and then before, but not shortly before it."""
    every = steps_between(total)
    return step == total or (step % every == 0 and total - step >= every // 2)


class Watch:
    """Looks at the model of one step of training, and keeps what it saw in a file.

    `prompts` are chats of the development split; `taught` are texts that the step's rows teach;
    `before` are answers of the model before any training, where they are there already.
    """

    def __init__(
        self, name: str, prompts: Sequence[Any], taught: Iterable[str], path: Path, before: Sequence[str] = ()
    ) -> None:
        self.name, self.prompts, self.path = name, list(prompts)[:PROMPTS], path
        self.looks = read_record(path, Looks) if path.exists() else Looks()
        self.broke, self._first_loss = "", 0.0
        if before and self.looks.before is None:
            self._keep(before=look(before, name))
        shown = list(islice(taught, TAUGHT))
        if shown and name not in (other.of for other in self.looks.taught):
            self._keep(taught=(*self.looks.taught, look(shown, name)))

    def begin(self, write: Write) -> None:
        """Look at the model before any training, once for all stages."""
        if self.looks.before is None and self.prompts:
            self._keep(before=look(write(), self.name))

    def step(self, step: int, total: int, write: Write) -> str:
        """Look again where it is time; what broke, or ''."""
        before = self.looks.before
        if before is not None and is_time(step, total):
            now = look(write(), self.name, step)
            self._keep(seen=(*(other for other in self.looks.seen if other != now), now))
            self.broke = what_broke(now, (before, *self.looks.taught))
        return self.broke

    def numbers(self, logs: dict[str, Any], blind: float = math.inf) -> str:
        """Look at what the trainer logs; what broke, or ''.

        That is numbers that are none, and a loss above `blind`, what equal chances for all tokens come
        to, unless training began there (where the model had learned nothing yet).
        """
        loss = float(logs.get("loss") or 0)
        self._first_loss = self._first_loss or loss
        if loss > max(blind, self._first_loss):
            self.broke = f"a loss of {loss:.1f} is worse than a blind guess ({blind:.1f})"
        wrong = [key for key in ("loss", "grad_norm") if not math.isfinite(float(logs.get(key) or 0))]
        if wrong:
            self.broke = f"{' and '.join(wrong)} of the training are no finite numbers"
        return self.broke

    def collapse(self, stage: str, step: int, total: int, learning_rate: float) -> Collapsed:
        """The error that ends the training."""
        return Collapsed(
            f"{self.name}: the model fell apart by step {step} of {total}: {self.broke}. Nothing of it is kept; lower "
            f"{stage}.learning_rate in training.yaml (it was {learning_rate:g}), train for fewer epochs or on more rows"
        )

    def _keep(self, **news: Any) -> None:
        self.looks = self.looks.model_copy(update=news)
        write_record(self.path, self.looks)


def _by(count: int, texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[start : start + count] for start in range(0, len(texts), count)]


def watching(watch: Watch, tokenizer: Any, *, supervised: bool) -> Any:
    """A callback for TRL's trainers that stops a training whose model collapses."""
    from transformers import TrainerCallback

    class Collapse(TrainerCallback):  # the library's only way to hear of steps
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not state.global_step:
                watch.begin(lambda: write_answers(kwargs["model"], tokenizer, watch.prompts))

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            write = lambda: write_answers(kwargs["model"], tokenizer, watch.prompts)  # noqa: E731
            if watch.step(state.global_step, state.max_steps, write):
                control.should_training_stop, control.should_save = True, False

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            # Of supervised training the loss is that of the tokens; what DPO and its like log is on another scale.
            if watch.numbers(logs or {}, math.log(len(tokenizer)) if supervised else math.inf):
                control.should_training_stop, control.should_save = True, False

    return Collapse()


def write_answers(model: Any, tokenizer: Any, prompts: Sequence[Any]) -> list[str]:
    """The beginnings of a model's likeliest answers: greedy, so that no random number is drawn from training's."""
    import torch

    texts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in prompts]
    side, pad = tokenizer.padding_side, tokenizer.pad_token
    tokenizer.padding_side, tokenizer.pad_token = "left", pad or tokenizer.eos_token
    batch = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt").to(model.device)
    tokenizer.padding_side, tokenizer.pad_token = side, pad
    training = model.training
    model.eval()
    with torch.no_grad():
        written = model.generate(**batch, max_new_tokens=TOKENS, do_sample=False, use_cache=True)
    model.train(training)
    answers = written[:, batch["input_ids"].shape[1] :]
    return [str(text).strip() for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]
