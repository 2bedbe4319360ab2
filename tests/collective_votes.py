"""The made-up votes of the example project collective-assistant, drawn anew: the same files each time.

    python -m tests.collective_votes scenarios/shipped/collective-assistant/votes

Nobody voted. Statements and people are made up: three groups that differ on purpose, and how likely
each agrees with a statement.
"""

from __future__ import annotations

import csv
import io
import random
import sys
from collections.abc import Sequence
from pathlib import Path

SEED = 7
TOPIC = "Everyday assistant (statements and votes are made up)"
GROUPS = {"plain": 50, "warm": 40, "careful": 30}  # people
VOTED_ON = (0.6, 1.0)  # the share of statements that a person votes on, drawn between these
DISAGREES = 0.75  # of those who do not agree; the others pass
REJECTED, UNSEEN, ACCEPTED = -1, 0, 1
MODERATED = {41: REJECTED, 40: UNSEEN}

# Statement; how likely somebody of each group agrees with it, in the order of GROUPS.
STATEMENTS: tuple[tuple[str, float, float, float], ...] = (
    ("Admit what you cannot be sure about.", 0.96, 0.95, 0.98),
    ("Begin with a kind word about how the person feels.", 0.15, 0.92, 0.42),
    ("Ask a question back before you assume what the person wants.", 0.95, 0.97, 0.96),
    ("Name a source for every fact.", 0.28, 0.30, 0.95),
    ("Give your own opinion when you are asked for one.", 0.86, 0.52, 0.15),
    ("Suggest one small first step that can be taken today.", 0.95, 0.96, 0.94),
    ("Use everyday words instead of jargon.", 0.88, 0.85, 0.70),
    ("Point to somebody whom the person can talk to.", 0.93, 0.97, 0.95),
    ("Skip all pleasantries and begin with the answer.", 0.90, 0.14, 0.40),
    ("Never flatter the person or praise the question.", 0.97, 0.90, 0.95),
    ("Tell a little story to make a point.", 0.15, 0.78, 0.22),
    ("Keep answers short: eighty words are plenty.", 0.97, 0.90, 0.92),
    ("Refuse to guess about medicine or law.", 0.24, 0.45, 0.93),
    ("Talk like a friend more than like a manual.", 0.28, 0.90, 0.20),
    ("Set out both sides of a contested matter.", 0.70, 0.76, 0.90),
    ("Say plainly when the person is wrong.", 0.86, 0.30, 0.60),
    ("Use emoji to sound friendly.", 0.10, 0.62, 0.08),
    ("Warn of every risk, even of a small one.", 0.12, 0.40, 0.86),
    ("Always agree with the person.", 0.03, 0.15, 0.04),
    ("Keep what people tell you to yourself.", 0.82, 0.86, 0.88),
    ("Pretend to be a human being.", 0.05, 0.10, 0.02),
    ("Choose for the person when two options are close.", 0.74, 0.36, 0.12),
    ("Explain how you came to an answer.", 0.55, 0.60, 0.92),
    ("Use humour when the matter is light.", 0.42, 0.86, 0.24),
    ("Answer in the language in which you are asked.", 0.86, 0.84, 0.85),
    ("Cheer people on while they try something new.", 0.36, 0.90, 0.44),
    ("Leave warnings out unless a life is at risk.", 0.80, 0.46, 0.10),
    ("Speak of politics like of anything else.", 0.64, 0.50, 0.34),
    ("Give numbers together with how uncertain they are.", 0.46, 0.24, 0.90),
    ("Answer only in rhymes.", 0.02, 0.08, 0.02),
    ("Remember what a person said last week.", 0.52, 0.66, 0.28),
    ("Offer two or three options instead of one.", 0.46, 0.74, 0.78),
    ("End each answer with a wish for a good day.", 0.06, 0.44, 0.16),
    ("Say when you were wrong before.", 0.84, 0.86, 0.90),
    ("Write lists rather than paragraphs.", 0.62, 0.34, 0.58),
    ("Call the person by their first name.", 0.30, 0.66, 0.26),
    ("Tell children less than you tell adults.", 0.48, 0.56, 0.62),
    ("Make up an answer rather than give none.", 0.06, 0.05, 0.02),
    ("Use everyday words, instead of jargon.", 0.88, 0.85, 0.70),
    ("Show a picture wherever there is one.", 0.44, 0.48, 0.40),
    ("Sign each answer with a version number.", 0.20, 0.12, 0.46),
    ("Buy my cousin's honey, it is the best in town!!", 0.05, 0.05, 0.05),
)


def people() -> list[str]:
    """The group of each person, in the order of the votes."""
    return [group for group, size in GROUPS.items() for _ in range(size)]


def votes() -> list[list[int | None]]:
    """`[people][statements]`: 1 agrees, −1 disagrees, 0 passes, None did not vote."""
    draw = random.Random(SEED).random
    rows: list[list[int | None]] = []
    for group in people():
        share = VOTED_ON[0] + draw() * (VOTED_ON[1] - VOTED_ON[0])
        likely = [chances[list(GROUPS).index(group)] for _, *chances in STATEMENTS]
        rows.append([_vote(chance, draw(), draw()) if draw() < share else None for chance in likely])
    return rows


def _vote(chance: float, one: float, other: float) -> int:
    if one < chance:
        return 1
    return -1 if other < DISAGREES else 0


def files() -> dict[str, str]:
    """The export, as Polis writes it, without the times and the columns that nobody reads."""
    rows = votes()
    columns = list(zip(*rows, strict=True))
    comments: list[list[object]] = [["comment-id", "agrees", "disagrees", "moderated", "comment-body"]]
    for number, (text, *_) in enumerate(STATEMENTS):
        cast = columns[number]
        comments.append([number, cast.count(1), cast.count(-1), MODERATED.get(number, ACCEPTED), text])
    ballots: list[list[object]] = [["participant", *range(len(STATEMENTS))]]
    ballots += [[number, *row] for number, row in enumerate(rows)]
    topic: list[list[object]] = [["topic", TOPIC]]
    tables = {"summary.csv": topic, "comments.csv": comments, "participants-votes.csv": ballots}
    return {name: _csv(table) for name, table in tables.items()}


def _csv(table: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()


if __name__ == "__main__":
    for name, text in files().items():
        Path(sys.argv[1], name).write_text(text, encoding="utf-8")
