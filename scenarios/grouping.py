"""Groups of texts that are alike: what keeps coming back among many failures.

Without an embedding model texts are alike that share telling words. That finds less than people
do, and nothing that is not there in the words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from prefect_ratify.scenarios.similarity import unit

Vectors = NDArray[np.float64]
Embed = Callable[[Sequence[str]], Vectors]
STEM = 5  # letters of a word that count: evicts, evicted and eviction are one
# Words that say nothing of what a text is about. Those of other languages weigh little where they are common.
SMALL = frozenset(
    "about after again all also and any are because been before being but can could did does doing don down each "
    "even every for from get gets getting going got had has have having her here hers him his how into isn its itself "
    "just like many may might more most much must never not now off once one only other our ours out over own said "
    "same say says she should since some still such tell than that the their them then there these they this those "
    "through too two under until upon very want wants was were what when where which while who whom whose why will "
    "with without won would you your yours".split()
)


def groups(vectors: Vectors, least_alike: float) -> list[tuple[int, ...]]:
    """The rows of `[texts, any]` in groups, by their places, the largest group first; one like no other is alone.

    Average linkage (Sokal and Michener 1958) over cosines: two groups are joined as long as their
    texts are `least_alike` on average. Every text is in exactly one group.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(vectors) < 2:
        return [(place,) for place in range(len(vectors))]
    apart = np.clip(1.0 - cosines(vectors), 0.0, 2.0)
    np.fill_diagonal(apart, 0.0)
    tree = linkage(squareform(apart, checks=False), method="average")
    found: dict[int, list[int]] = {}
    for place, label in enumerate(fcluster(tree, t=1.0 - least_alike, criterion="distance")):
        found.setdefault(int(label), []).append(place)
    return sorted((tuple(places) for places in found.values()), key=lambda places: (-len(places), places))


def cosines(vectors: Vectors) -> Vectors:
    """The cosine of each row with each other, `[texts, texts]`; 0 with a row that is all zero."""
    of_length_one = unit(vectors)
    alike: Vectors = of_length_one @ of_length_one.T
    return alike


def tf_idf(texts: Sequence[str]) -> Vectors:
    """Vectors `[texts, stems]`: how often a stem stands in a text, times how rare it is among the texts.

    Logarithms of both (Salton and Buckley 1988, section 2). The inverse document frequency has 1 added
    before its logarithm, so that a stem of most texts still counts a little: what recurs is common.
    """
    counted = [Counter(stem for stem, _ in _stems(text)) for text in texts]
    within = Counter(stem for counts in counted for stem in counts)
    columns = {stem: column for column, stem in enumerate(sorted(within))}
    vectors = np.zeros((len(texts), len(columns)))
    for row, counts in enumerate(counted):
        for stem, count in counts.items():
            vectors[row, columns[stem]] = (1.0 + np.log(count)) * np.log(1.0 + len(texts) / within[stem])
    return vectors


def telling_words(group: Sequence[str], others: Sequence[str], count: int = 5) -> tuple[str, ...]:
    """The words that texts of a group share and the others do not, the most telling first.

    Of a word's forms the most common one stands for it. It is in two texts of the group at least.
    """
    forms: dict[str, Counter[str]] = {}
    inside, outside = Counter[str](), Counter[str]()
    for text in group:
        inside.update({stem for stem, _ in _stems(text)})
        for stem, word in _stems(text):
            forms.setdefault(stem, Counter())[word] += 1
    for text in others:
        outside.update({stem for stem, _ in _stems(text)})
    share = {stem: n / len(group) - outside[stem] / max(1, len(others)) for stem, n in inside.items() if n > 1}
    told = sorted((stem for stem in share if share[stem] > 0), key=lambda stem: (-share[stem], stem))
    return tuple(min(forms[stem], key=lambda word: (-forms[stem][word], word)) for stem in told[:count])


def overlap(text: str, other: str) -> float:
    """The share of the stems of two texts that are in both (Jaccard 1901); 0 where there are none."""
    one, two = ({stem for stem, _ in _stems(each)} for each in (text, other))
    return len(one & two) / len(one | two) if one | two else 0.0


def _stems(text: str) -> list[tuple[str, str]]:
    """A text's telling words, each with its first letters, which stand for all its forms."""
    words = re.findall(r"[^\W\d_]{3,}", text.lower())
    return [(word[:STEM], word) for word in words if word not in SMALL]
