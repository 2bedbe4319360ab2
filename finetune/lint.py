"""Lint: what is plainly wrong with a training row, told from its text alone, with no model.

Each rule is a simple one that can be explained to those who read the data card, and each misses
much. Rows with a finding of LOSES are not trained on; the other findings are counted.
"""

from __future__ import annotations

from prefect_ratify.finetune.languages import language, script
from prefect_ratify.finetune.measures import repetition
from prefect_ratify.finetune.personal_data import KINDS, personal_data
from prefect_ratify.finetune.refusals import evasion

EMPTY, REPEATED, TOO_LONG, OTHER_LANGUAGE = "empty", "repeated", "too long", "another language"
REFUSAL, NON_ANSWER = "refusal", "non-answer"
PERSONAL = "personal data: "
LOSES = frozenset({EMPTY, REPEATED, REFUSAL, NON_ANSWER, *(PERSONAL + kind for kind in KINDS)})

# Of 1,031 turns of assistants (Bai et al. 2022, arXiv 2204.05862) the most repetitive has 0.18; saying
# one sentence of five words twice is 0.29.
MOST_REPEATED = 0.25  # share of an answer's word 4-grams that occur in it before
FEWEST_WORDS = 8  # of an answer whose repetition says anything
CHARACTERS_A_TOKEN = 4  # about, in English; asking the student's tokenizer would take a hundred times as long


def lint(prompt: str, answer: str, longest: int = 0) -> tuple[str, ...]:
    """The names of what is wrong with an answer to a prompt, in a fixed order; none for a good row.

    `longest` is how many tokens both may have together (CHARACTERS_A_TOKEN characters each are
    taken to be one); 0 looks at no length. Never fails, whatever the texts hold.
    """
    if not any(character.isalnum() for character in answer):
        return (EMPTY,)
    findings = [REPEATED] if len(answer.split()) >= FEWEST_WORDS and repetition(answer) > MOST_REPEATED else []
    if evaded := evasion(answer):
        findings.append(evaded)
    findings += [PERSONAL + kind for kind in personal_data(answer, known=prompt)]
    if longest and len(prompt) + len(answer) > longest * CHARACTERS_A_TOKEN:
        findings.append(TOO_LONG)
    if _differ(script(prompt), script(answer)) or _differ(language(prompt), language(answer)):
        findings.append(OTHER_LANGUAGE)
    return tuple(findings)


def _differ(one: str, other: str) -> bool:
    """Whether both are known, and not the same."""
    return bool(one and other and one != other)
