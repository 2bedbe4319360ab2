"""Near-duplicates among any number of texts, in memory that does not grow with it.

MinHash (Broder 1997, On the resemblance and containment of documents) makes candidates of texts
that share a band of their signatures (locality-sensitive hashing: Leskovec, Rajaraman and Ullman,
Mining of Massive Datasets, sections 3.3 and 3.4). Each candidate is then compared exactly, so that
what is found is a near-duplicate for certain; `candidate_rate` says how many are looked at.

The signatures are `datasketch`'s. Its index is not used: in dictionaries it took 67 MB for 10,000
texts and 755 MB for 100,000, and else it wants a server. Here the bands lie in a temporary SQLite
file that has no name and is gone with the process.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

from prefect_ratify.scenarios.similarity import words

SHINGLE = 3  # words that follow on one another
NEAR = 0.7  # the least Jaccard similarity of two near-duplicates' shingles
BANDS, ROWS = 25, 5  # of a signature: a near-duplicate at NEAR is a candidate in 99 of 100 cases
MOST_CANDIDATES = 50  # of one band, and compared: only in very many texts of one form do more share a band
CACHE_KILOBYTES = 4_000  # of the temporary file that SQLite keeps in memory

Shingles = AbstractSet[tuple[str, ...]]


class NearDuplicates:
    """The texts seen so far, none of which nearly repeats one before it.

    Of texts that are alike the first one stays, so the order counts; the same texts in the same
    order give the same. For one thread.
    """

    def __init__(self, near: float = NEAR) -> None:
        self._near = near
        self._database = sqlite3.connect("", isolation_level=None)  # without a name: SQLite's own temporary file
        for line in (
            f"PRAGMA cache_size=-{CACHE_KILOBYTES}",
            "PRAGMA journal_mode=OFF",  # nothing of it outlives the process
            "PRAGMA synchronous=OFF",
            "CREATE TABLE texts (place INTEGER PRIMARY KEY, text TEXT)",
            "CREATE TABLE bands (band INTEGER, place INTEGER, PRIMARY KEY (band, place)) WITHOUT ROWID",
        ):
            self._database.execute(line)

    def seen(self, text: str) -> str | None:
        """The earlier text that this one nearly repeats; None for a new one, which is seen from now on."""
        text = text.encode(errors="replace").decode()  # half of a surrogate pair cannot be kept
        said = shingles(text)
        bands = _bands(said)
        for place in self._candidates(bands):
            (earlier,) = self._database.execute("SELECT text FROM texts WHERE place = ?", (place,)).fetchone()
            if resemblance(said, shingles(earlier)) >= self._near:
                return str(earlier)
        new = self._database.execute("INSERT INTO texts (text) VALUES (?)", (text,)).lastrowid
        self._database.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?)", [(band, new) for band in bands])
        return None

    def _candidates(self, bands: list[int]) -> list[int]:
        """The places of earlier texts that share bands: one of the same set first, then those that share most."""
        same, *others = [self._places(band) for band in bands]
        shared = Counter(place for places in others for place in places)
        return same + sorted(shared, key=lambda place: (-shared[place], place))[:MOST_CANDIDATES]

    def _places(self, band: int) -> list[int]:
        found = self._database.execute(
            "SELECT place FROM bands WHERE band = ? ORDER BY place LIMIT ?", (band, MOST_CANDIDATES)
        )
        return [place for (place,) in found]


def shingles(text: str) -> Shingles:
    """The sets of SHINGLE words that stand together in a text, without regard to case and signs.

    All its words, where it has fewer; the text itself where it has none.
    """
    said = [word for word in words(text) if word[0].isalnum()]
    if not said:
        return {(" ".join(text.split()),)}
    return {tuple(said[n : n + SHINGLE]) for n in range(max(1, len(said) - SHINGLE + 1))}


def resemblance(one: Shingles, other: Shingles) -> float:
    """The share of two sets that is in both (Jaccard 1901; Broder 1997, section 2)."""
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def candidate_rate(similarity: float) -> float:
    """The chance that two texts of this resemblance share a band, and are compared (Leskovec et al., section 3.4.2)."""
    return 1 - (1 - similarity**ROWS) ** BANDS


def _bands(said: Shingles) -> list[int]:
    """A number for the whole set, so that the same set is always a candidate, and one for each band of a signature."""
    from datasketch import MinHash

    given = sorted(" ".join(shingle).encode() for shingle in said)
    empty = _empty_signature()
    signature = MinHash(permutations=empty.permutations, scheme=empty.scheme, num_perm=BANDS * ROWS)
    signature.update_batch(given)
    values = signature.hashvalues
    parts = [values[n * ROWS : (n + 1) * ROWS].tobytes() for n in range(BANDS)]
    return [_number(n, part) for n, part in enumerate([b"\n".join(given), *parts])]


def _number(band: int, part: bytes) -> int:
    found = hashlib.blake2b(part, digest_size=8, key=bytes([band])).digest()
    return int.from_bytes(found, signed=True)  # as SQLite's integers are


@lru_cache(maxsize=1)
def _empty_signature() -> Any:
    """Draws the permutations, once: they take as long as ten signatures."""
    from datasketch import MinHash

    return MinHash(num_perm=BANDS * ROWS, seed=1)
