"""Scoring options: how likely a local model is to begin its answer with each of some texts.

What the prompts of a batch have in common is read once, then each prompt's own end, and then the
options' tokens, one row an option (see `generation.py`, whose cache and attention these are).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache

from prefect_ratify.batching import Prompt, batches, common_length
from prefect_ratify.generation import ATTENTION, causal, read_prefix, read_suffixes

Tokens = tuple[int, ...]


def option_scores(
    model: Any, prompts: Sequence[Prompt], options: Sequence[Sequence[Tokens]], batch_size: int
) -> Iterator[tuple[int, list[float]]]:
    """The natural log-probability of each of a prompt's options, at temperature 1: `(index, [options])`.

    That of a text is the sum over its tokens, each after the prompt and the tokens before it; what
    would come after the text counts for nothing. No option is empty. Yielded batch by batch.
    """
    model.set_attn_implementation(ATTENTION)
    for indices in batches(prompts, batch_size):
        with torch.inference_mode():
            scores = _score_batch(model, [prompts[i].tokens for i in indices], [options[i] for i in indices])
        yield from zip(indices, scores, strict=True)


def _score_batch(model: Any, prompts: list[Tokens], options: list[Sequence[Tokens]]) -> list[list[float]]:
    distinct = sorted(set(prompts))
    shared = common_length(distinct)
    prefix = read_prefix(model, distinct[0][:shared]) if shared else None
    cache, first, mask = read_suffixes(model, [tokens[shared:] for tokens in distinct], shared, prefix)

    # From here one row an option; those of one token are known by now.
    places = {tokens: row for row, tokens in enumerate(distinct)}
    texts = [text for listed in options for text in listed]
    rows = torch.tensor([places[tokens] for tokens, listed in zip(prompts, options, strict=True) for _ in listed])
    scores = first.float().log_softmax(-1)[rows, torch.tensor([text[0] for text in texts])]
    longer = torch.tensor([place for place, text in enumerate(texts) if len(text) > 1], dtype=torch.long)
    if len(longer):
        starts = torch.tensor([len(distinct[row]) for row in rows[longer].tolist()])
        ends = [texts[place] for place in longer.tolist()]
        scores[longer] += _later_tokens(model, ends, cache, prefix, (rows[longer], mask[rows[longer]], starts))
    found = iter(scores.tolist())
    return [[next(found) for _ in listed] for listed in options]


def _later_tokens(
    model: Any, texts: list[Tokens], cache: Cache, prefix: Any, after: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """`[texts]`: the log-probability of all tokens of each text but the first; texts are padded on the right.

    `after` is, for each text, the row of its prompt in the cache, that row's mask and its length.
    """
    rows, mask, starts = after
    steps = max(map(len, texts)) - 1
    for layer in cache.layers:
        layer.spread(rows, mask.shape[1] + steps)
    ids = torch.tensor([[*text, *[0] * (steps + 1 - len(text))] for text in texts])
    own = causal(steps, model.dtype)[None].expand(len(texts), -1, -1)
    before = mask[:, None].expand(-1, steps, -1)
    output = model(
        input_ids=ids[:, :-1],
        position_ids=starts[:, None] + torch.arange(steps),
        attention_mask=torch.cat([before, own], dim=-1)[:, None],
        past_key_values=cache,
        shared_prefix=prefix,
    )
    each = output.logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    lengths = torch.tensor([len(text) for text in texts])
    return torch.where(torch.arange(1, steps + 1) < lengths[:, None], each, 0.0).sum(-1)
