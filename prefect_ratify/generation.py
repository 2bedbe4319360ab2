"""Batched text generation with a local causal model, in process.

Three things make it fast on a CPU (`make bench` measures all of them together):

* a batch decodes together, so that every step multiplies matrices and not vectors;
* what the prompts of a batch have in common (a policy, worked examples) is read once and
  attended to by all rows, as in the shared-prefix kernel of Juravsky et al. 2024
  (*Hydragen*, arXiv 2402.05099, section 3.1);
* keys and values lie in buffers of the final size, and finished rows leave the batch.

Sampling is reproducible: each request draws its random numbers from its own seed, so its
text does not depend on which other requests share the batch (in float32; lower precisions
round differently from batch to batch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin

from prefect_ratify.batching import Prompt, batches, closed_ranks, common_length

ATTENTION = "ratify_shared_prefix"


@dataclass(frozen=True)
class Continuation:
    """Generated token ids, without the end token; `finished` is False where `max_tokens` cut it."""

    tokens: tuple[int, ...]
    finished: bool


class _BufferLayer(CacheLayerMixin):
    """Keys and values of one layer, `[rows, heads, capacity, head_dim]`, filled from the left."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity, self.length = capacity, 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, heads, _, size = key_states.shape
        self.keys = key_states.new_empty(rows, heads, self.capacity, size)
        self.values = value_states.new_empty(rows, heads, self.capacity, size)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        end = self.length + key_states.shape[2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def spread(self, rows: torch.Tensor, capacity: int) -> None:
        """Repeat rows as listed, in buffers of `capacity` positions."""
        assert self.keys is not None and self.values is not None
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_empty(len(rows), old.shape[1], capacity, old.shape[3])
            new[:, :, : self.length] = old[:, :, : self.length][rows]
            setattr(self, name, new)
        self.capacity = capacity

    def close_ranks(self, holes: Sequence[int], movers: Sequence[int], rows: int) -> None:
        """Put the rows `movers` into the places `holes`, and keep the first `rows`.

        Only the movers are copied: the buffers are large, and a row may finish at any step.
        """
        assert self.keys is not None and self.values is not None
        for name in ("keys", "values"):
            old = getattr(self, name)
            for hole, mover in zip(holes, movers, strict=True):
                old[hole, :, : self.length] = old[mover, :, : self.length]
            setattr(self, name, old[:rows])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity


def _shared_prefix_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    dropout: float = 0.0,
    shared_prefix: Sequence[tuple[torch.Tensor, torch.Tensor]] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of `[rows, heads, T, size]` queries to their own keys and to one shared prefix.

    The prefix has no row dimension, so that all rows read it in one matrix product. The
    additive `attention_mask` `[rows, 1, T, L]` covers the rows' own keys; every query sees the
    whole prefix.
    """
    rows, heads, steps, size = query.shape
    groups = key.shape[1]
    per_group = heads // groups
    folded = query.reshape(rows, groups, per_group * steps, size) * scaling
    own = folded @ key.transpose(2, 3)
    own = own.view(rows, groups, per_group, steps, -1) + attention_mask[:, :, None]
    if shared_prefix is None:
        weights = own.softmax(-1).view(rows, groups, per_group * steps, -1)
        mixed = weights @ value
    else:
        layer: int = module.layer_idx  # type: ignore[assignment]
        prefix_key, prefix_value = shared_prefix[layer]
        by_group = folded.transpose(0, 1).reshape(groups, rows * per_group * steps, size)
        far = (by_group @ prefix_key.transpose(1, 2)).view(groups, rows, per_group, steps, -1)
        scores = torch.cat([far.transpose(0, 1), own], dim=-1)
        weights = scores.softmax(-1)
        length = prefix_key.shape[1]
        near_weights = weights[..., length:].reshape(rows, groups, per_group * steps, -1)
        far_weights = weights[..., :length].transpose(0, 1)
        far_mixed = far_weights.reshape(groups, rows * per_group * steps, length) @ prefix_value
        mixed = near_weights @ value + far_mixed.view(groups, rows, -1, size).transpose(0, 1)
    return mixed.view(rows, heads, steps, size).transpose(1, 2), None


AttentionInterface.register(ATTENTION, _shared_prefix_attention)


def generate(
    model: Any,
    prompts: Sequence[Prompt],
    *,
    stop: int,
    batch_size: int = 64,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[int, Continuation]]:
    """Continue every prompt; yield `(index into prompts, continuation)` batch by batch.

    `model` is a decoder of the transformers library with full attention in every layer;
    `stop` is the token id that ends an answer. Requests with long common beginnings are
    batched together. `done` is told how many tokens each step produced, for progress lines.
    """
    model.set_attn_implementation(ATTENTION)
    for indices in batches(prompts, batch_size):
        with torch.inference_mode():
            finished = _generate_batch(model, [prompts[i] for i in indices], stop, done)
        yield from zip(indices, finished, strict=True)


def _generate_batch(model: Any, prompts: list[Prompt], stop: int, done: Callable[[int], None]) -> list[Continuation]:
    distinct = sorted({prompt.tokens for prompt in prompts})
    shared = common_length(distinct)
    prefix = read_prefix(model, distinct[0][:shared]) if shared else None
    room = max(prompt.sampling.max_tokens for prompt in prompts)
    cache, logits, mask = read_suffixes(model, [t[shared:] for t in distinct], shared, prefix)

    # From here one row a request: samples of the same prompt share what was read of it.
    places = {tokens: row for row, tokens in enumerate(distinct)}
    rows = torch.tensor([places[prompt.tokens] for prompt in prompts])
    width = mask.shape[1]
    for layer in cache.layers:
        layer.spread(rows, width + room)
    logits = logits[rows]
    mask = torch.cat([mask[rows], mask.new_zeros(len(rows), room)], dim=1)
    positions = torch.tensor([len(prompt.tokens) for prompt in prompts])
    samplers = _Samplers(prompts)

    texts: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    alive = list(range(len(prompts)))
    for step in range(room):
        chosen = samplers.choose(logits, step)
        done(len(alive))
        keep = []
        for place, (row, token) in enumerate(zip(alive, chosen.tolist(), strict=True)):
            if token == stop:
                ended[row] = True
            else:
                texts[row].append(token)
                if step + 1 < prompts[row].sampling.max_tokens:
                    keep.append(place)
        if not keep:
            break
        if len(keep) < len(alive):
            order, holes, movers = closed_ranks(keep)
            for layer in cache.layers:
                layer.close_ranks(holes, movers, len(keep))
            alive = [alive[place] for place in order]
            taken = torch.tensor(order)
            chosen, mask, positions = chosen[taken], mask[taken], positions[taken]
            samplers.take(taken)
        output = model(
            input_ids=chosen[:, None],
            position_ids=positions[:, None],
            attention_mask=mask[:, None, None, : width + step + 1],
            past_key_values=cache,
            shared_prefix=prefix,
        )
        logits = output.logits[:, -1]
        positions = positions + 1
    return [Continuation(tuple(text), end) for text, end in zip(texts, ended, strict=True)]


def read_prefix(model: Any, tokens: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values `[heads, length, size]` of each layer, which all rows of a batch attend to."""
    cache = _new_cache(model, len(tokens))
    model(
        input_ids=torch.tensor([tokens]),
        attention_mask=causal(len(tokens), model.dtype)[None, None],
        past_key_values=cache,
        logits_to_keep=1,
    )
    return [(layer.keys[0], layer.values[0]) for layer in cache.layers]


def read_suffixes(
    model: Any, suffixes: list[tuple[int, ...]], shared: int, prefix: Any
) -> tuple[Cache, torch.Tensor, torch.Tensor]:
    """Read the prompts' own ends, padded on the left; return cache, last logits and key mask."""
    width = max(len(suffix) for suffix in suffixes)
    pads = torch.tensor([width - len(suffix) for suffix in suffixes])
    ids = torch.tensor([[0] * (width - len(s)) + list(s) for s in suffixes])
    columns = torch.arange(width)
    lowest = torch.finfo(model.dtype).min
    mask = torch.where(columns[None] < pads[:, None], lowest, 0.0).to(model.dtype)
    square = (causal(width, model.dtype)[None] + mask[:, None]).clamp(min=lowest)
    cache = _new_cache(model, width)
    output = model(
        input_ids=ids,
        position_ids=(shared + columns[None] - pads[:, None]).clamp(min=0),
        attention_mask=square[:, None],
        past_key_values=cache,
        shared_prefix=prefix,
        logits_to_keep=1,
    )
    return cache, output.logits[:, -1], mask


def _new_cache(model: Any, capacity: int) -> Cache:
    return Cache(layers=[_BufferLayer(capacity) for _ in range(model.config.num_hidden_layers)])


def causal(length: int, dtype: torch.dtype) -> torch.Tensor:
    """The additive mask `[length, length]` that hides what comes later."""
    return torch.full((length, length), torch.finfo(dtype).min, dtype=dtype).triu(1)


class _Samplers:
    """Per-row sampling: temperature, then min-p (Nguyen et al. 2024, arXiv 2407.01082, section 3)."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        longest = max(prompt.sampling.max_tokens for prompt in prompts)
        self.draws = torch.stack([_draws(prompt, longest) for prompt in prompts])
        self.temperature = torch.tensor([p.sampling.temperature for p in prompts])[:, None]
        self.min_p = torch.tensor([p.sampling.min_p for p in prompts])[:, None]

    def take(self, rows: torch.Tensor) -> None:
        self.draws, self.temperature, self.min_p = (t[rows] for t in (self.draws, self.temperature, self.min_p))

    def choose(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """One token id a row, by inverting the cumulative distribution at the row's own draw."""
        greedy = logits.argmax(-1)
        if not bool((self.temperature > 0).any()):
            return greedy
        scaled = logits.float() / self.temperature.clamp(min=1e-6)
        odds = (scaled - scaled.amax(-1, keepdim=True)).exp()  # the likeliest token has 1
        odds = torch.where(odds >= self.min_p, odds, 0.0)
        sums = odds.cumsum(-1)
        target = self.draws[:, step, None] * sums[:, -1:]
        sampled = torch.searchsorted(sums, target, right=True).squeeze(-1)
        sampled = sampled.clamp(max=logits.shape[-1] - 1)
        return torch.where(self.temperature.squeeze(-1) > 0, sampled, greedy)


def _draws(prompt: Prompt, longest: int) -> torch.Tensor:
    """A request's random numbers: the first ones are the same however long the batch runs."""
    generator = torch.Generator().manual_seed(prompt.seed)
    return torch.rand(longest, generator=generator)
