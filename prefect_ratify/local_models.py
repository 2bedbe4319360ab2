"""Models that run in this process: the embedded one, a checkpoint folder, a finetuned one."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

from prefect_ratify import embedded
from prefect_ratify.errors import InputError
from prefect_ratify.language_models import ANY_NUMBER, Answer, TokenCounter, batched
from prefect_ratify.progress import Meter
from prefect_ratify.records import Call, Completion

BATCH_SIZE = 128
OPTION_BATCH_SIZE = 32  # prompts, each of which has a row for every option
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def threads() -> int:
    """The cores that this process may use; torch's own guess counts the whole machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_torch() -> None:
    """Set torch up for work on this machine's CPU."""
    import torch

    torch.set_num_threads(threads())
    if sys.platform == "linux":
        # By default glibc gives large blocks back to the system at every free, and each step of a
        # model then pays for fresh pages: keep them (a tenth of the time, measured in training).
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024)
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@lru_cache(maxsize=2)
def load_local(name: str) -> LocalModel:
    """The embedded model (`embedded`) or the checkpoint in the folder `name`; loaded once.

    InputError where the folder is no checkpoint of a decoder with full attention.
    """
    if name == embedded.NAME:
        folder, weights = embedded.checkpoint()
        return LocalModel(name, folder, weights)
    folder = Path(name)
    return LocalModel(name, folder, checkpoint_digest(folder))


def checkpoint_digest(folder: Path) -> str:
    """The digest of a checkpoint folder's weights, configuration and tokenizer."""
    files = [p for p in folder.glob("*") if p.suffix in {".safetensors", ".json", ".jinja"}]
    if not any(p.suffix == ".safetensors" for p in files):
        raise InputError(
            "there is no model in this folder",
            "name a folder that save_pretrained wrote, 'embedded', or a LiteLLM name such as openai/…",
            path=folder,
        )
    return embedded.file_digest(*sorted(files))


class LocalModel:
    """A causal model of the transformers library in float32, loaded when first asked."""

    at_once = ANY_NUMBER  # the more prompts there are, the better they share batches

    def __init__(self, name: str, folder: Path, digest: str) -> None:
        self.name, self.folder, self.digest = name, folder, digest
        self.endpoint = digest
        self._loaded: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """The model and its tokenizer."""
        if self._loaded is None:
            self._loaded = _load(self.folder)
        return self._loaded

    def connect(self, meter: Meter) -> AbstractAsyncContextManager[Answer]:
        """Answers one by one, written in batches."""
        return batched(self.complete, meter)

    def complete(self, calls: Sequence[Call], meter: TokenCounter) -> Iterator[tuple[int, Completion]]:
        """Answer all calls in batches; a prompt beyond the model's context is an error row."""
        if not calls:
            return
        from prefect_ratify.batching import Prompt
        from prefect_ratify.generation import generate

        model, tokenizer = self.load()
        limit = int(model.config.max_position_embeddings)
        prompts: list[Prompt] = []
        places: list[int] = []
        for place, call in enumerate(calls):
            tokens = prompt_tokens(tokenizer, call)
            if len(tokens) + call.sampling.max_tokens > limit:
                yield place, Completion(error="PromptTooLong", finished=False)
            else:
                prompts.append(Prompt(tokens, call.sampling, call.seed))
                places.append(place)
        answers = generate(
            model,
            prompts,
            stop=tokenizer.eos_token_id,
            batch_size=BATCH_SIZE,
            done=lambda count: meter.add(tokens=count),
        )
        for index, answer in answers:
            text = tokenizer.decode(answer.tokens, skip_special_tokens=True)
            yield (
                places[index],
                Completion(
                    text=text.strip(),
                    finished=answer.finished,
                    tokens_read=len(prompts[index].tokens),
                    tokens_written=len(answer.tokens),
                ),
            )

    def option_logprobs(
        self, calls: Sequence[Call], options: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, list[float] | None]]:
        """How likely each answer is to begin with each of its call's options: `(index, [natural logarithms])`.

        At temperature 1, whatever the call's. None for a prompt beyond the model's context.
        """
        if not calls:
            return
        from prefect_ratify.batching import Prompt
        from prefect_ratify.option_scores import option_scores

        model, tokenizer = self.load()
        limit = int(model.config.max_position_embeddings)
        prompts: list[Prompt] = []
        texts: list[list[tuple[int, ...]]] = []
        places: list[int] = []
        for place, (call, listed) in enumerate(zip(calls, options, strict=True)):
            tokens = prompt_tokens(tokenizer, call)
            ids = [tuple(tokenizer(option, add_special_tokens=False)["input_ids"]) for option in listed]
            if len(tokens) + max(map(len, ids)) > limit:
                yield place, None
            else:
                prompts.append(Prompt(tokens, call.sampling, call.seed))
                texts.append(ids)
                places.append(place)
        for index, scores in option_scores(model, prompts, texts, OPTION_BATCH_SIZE):
            yield places[index], scores


def prompt_tokens(tokenizer: Any, call: Call) -> tuple[int, ...]:
    """The token ids of a call's chat, up to where the answer begins (or goes on)."""
    chat = [
        {"role": message.role, "content": _disarm(message.content, tokenizer.all_special_tokens)}
        for message in call.messages
    ]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return tuple(tokenizer(text + call.prefill, add_special_tokens=False)["input_ids"])


def _disarm(content: str, special: Sequence[str]) -> str:
    """Foreign text may spell out the template's own tokens, and so forge a turn: break them."""
    for token in special:
        content = content.replace(token, f"{token[0]} {token[1:]}")
    return content


def _load(folder: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prepare_torch()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the checkpoint cannot be loaded ({error})", path=folder) from None
    kinds = set(getattr(model.config, "layer_types", None) or {"full_attention"})
    if kinds != {"full_attention"} or getattr(model.config, "sliding_window", None):
        raise InputError(
            f"a model of type {model.config.model_type} does not run in process (its attention is not full)",
            "serve it (vLLM, Ollama, transformers serve) and give its LiteLLM name",
            path=folder,
        )
    if tokenizer.chat_template is None:
        raise InputError("the checkpoint has no chat template", "use an instruction-tuned model", path=folder)
    return model.eval(), tokenizer
