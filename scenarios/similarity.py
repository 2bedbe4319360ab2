"""How similar texts are: by the words that they share, or by vectors that a model gives them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

Similarity = Callable[[str], NDArray[np.float64]]  # a text's similarity to each text of a collection

# Scripts that put no space between words: there, each character counts as a word.
_SPACELESS = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
# A sign counts as a word too: a question mark tells much of a response, and an emoji may be all of it.
_WORD = regex.compile(rf"{_SPACELESS}|[\w--{_SPACELESS}]+|[^\w\s]", regex.VERSION1)


@dataclass(frozen=True)
class Embed:
    """Texts to vectors: an array of texts × dimensions. `has` says whether it has those of all texts already."""

    vectors: Callable[[Sequence[str]], NDArray[np.float32]]
    has: Callable[[Sequence[str]], bool] = lambda texts: False

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of texts, in their order."""
        return self.vectors(texts)


def words(text: str) -> list[str]:
    """A text's words and signs, without regard to case or to how characters are encoded."""
    found: list[str] = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return found


def by_words(texts: Sequence[str]) -> Similarity:
    """The cosine of TF-IDF vectors, over the words of the collection `texts`.

    The weights are those that Salton and Buckley 1988 (Term-weighting approaches in automatic
    text retrieval, section 2) call tfc: how often a word stands in the text, times its inverse
    frequency in the collection, normalised. One is added to the latter, so that a word which all
    of a small collection share still counts.
    """
    counts = [Counter(words(text)) for text in texts]
    spread = Counter(word for count in counts for word in count)
    place = {word: n for n, word in enumerate(spread)}
    rarity = 1 + np.log(len(texts) / np.fromiter(spread.values(), float))
    # The weights of all texts in one row: that of `column` in the text `row`. Most would be zeros otherwise.
    row = np.repeat(np.arange(len(texts)), [len(count) for count in counts])
    column = np.array([place[word] for count in counts for word in count], dtype=np.intp)
    weight = np.array([times for count in counts for times in count.values()], dtype=float) * rarity[column]
    weight /= np.sqrt(np.bincount(row, weight**2))[row]

    def similarity(text: str) -> NDArray[np.float64]:
        asked = np.zeros(len(place))
        for word, times in Counter(words(text)).items():
            if word in place:
                asked[place[word]] = times * rarity[place[word]]
        length = np.sqrt(asked @ asked) or 1.0
        return np.bincount(row, weight * asked[column], minlength=len(texts)) / length

    return similarity


def by_vectors(texts: Sequence[str], embed: Embed) -> Similarity:
    """The cosine of the vectors that a model gives."""
    vectors = unit(embed(texts))

    def similarity(text: str) -> NDArray[np.float64]:
        found: NDArray[np.float64] = vectors @ unit(embed([text]))[0]
        return found

    return similarity


def unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The vectors at length one; one of zeros stays what it is."""
    long = vectors.astype(np.float64)
    length = np.linalg.norm(long, axis=1, keepdims=True)
    return long / np.where(length == 0, 1.0, length)
