"""What introduces a list in a policy document, and what it makes of the items beneath it.

An item may say by its own words the opposite of what the document does: “give advice”, under “The
assistant shall not:”. It is joined to its introduction where that is plainly its beginning, or its
condition; where it may be and is not plain, the item is listed and not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from prefect_ratify.policy import plain
from prefect_ratify.scenarios.document import Block, wording
from prefect_ratify.scenarios.document_pieces import unnumbered
from prefect_ratify.scenarios.labels_in_text import label_of, unquoted
from prefect_ratify.scenarios.normative import (
    forbids_items,
    is_instruction,
    lacks_subject,
    opens,
    sentences_in,
    stands_alone,
    without_number,
)

_SMALL = ("a", "an", "any", "the", "that", "their", "its", "be", "more", "other")
_ORDERS = ("never", "always", "do", "don't", "don’t", "avoid", "refrain")

_WHEN = re.compile(
    r"^(?:if|when|whenever|where|unless|before|after|while|once|until)\b(?! to\b)[^.;:!?]+$", re.IGNORECASE
)
_GOVERNS = re.compile(
    r"\b(?:must|shall|should|may|never|always|ought to|needs? to|ha(?:s|ve) to)\b|n't\b", re.IGNORECASE
)
_ANNOUNCES = re.compile(r"\b(?:following|follows|below|these|rules?|principles?)\b", re.IGNORECASE)


def introduction_of(block: Block, blocks: Sequence[Block]) -> str:
    """What introduces the list of an item: a label, a sentence that ends in a colon or comma, or what opens the items.

    Without any of them, a heading of at most three words that opens them (“Never”); empty for other blocks.
    """
    if block.kind != "item":
        return ""
    if block.lead is None:
        name = unnumbered(block.path[-1]) if len(block.path) > 1 else ""
        return name if opens(name) and len(name.split()) <= 3 else ""
    text = blocks[block.lead].text
    spans = sentences_in(text)
    last = wording(text[slice(*spans[-1])]) if spans else ""
    return without_number(last) if last.endswith((":", ",", "—", "–")) or opens(last) or label_of(last) else ""


def why_unclear(block: Block, blocks: Sequence[Block], said: str, lead: str) -> str:
    """Why an item's words alone would say something else than the document does, if they may."""
    if opens(lead):
        if unquoted(said)[1]:
            return f"a quotation under “{lead}”: whether it is an example is not said"
        twice = stands_alone(said) and forbids_items(lead)
        return f"it forbids by itself, and stands under “{lead}”: what is asked is not clear" if twice else ""
    if _governs(lead) and not sets_condition(lead) and not stands_alone(said):
        return "it goes on from what stands above its list"
    if block.lead is not None and block.kind == "item" and lacks_subject(said):
        return "its subject may stand in what introduces its list"
    above = [*block.path[1:], introduction_of(block, blocks)]
    if is_instruction(said) and (any(map(forbids_items, above)) or _refuses(above[-1])):
        return "whether it is asked or forbidden is not clear from what stands above it"
    return ""


def joined(lead: str, item: str) -> str:
    """A sentence of a list, with what stands above it.

    An item that asks for something by itself needs no opening, and yet its condition.
    """
    if sets_condition(lead):
        return f"{lead.rstrip(' :,—–')}, {lowered(item)}"
    return item if stands_alone(item) else f"{lead.rstrip(' :—–')} {lowered(item)}"


def sets_condition(text: str) -> bool:
    """Whether an introduction says when what stands beneath it holds: “If a member is upset:”."""
    words = plain(wording(text)).rstrip(" :,—–-")
    return bool(_WHEN.match(words)) and not _GOVERNS.search(words)


def _governs(text: str) -> bool:
    """Whether what stands beneath an introduction goes on with it, so that it says another thing by itself."""
    words = plain(wording(text))
    return words.endswith(",") or bool(_GOVERNS.search(words) and not _ANNOUNCES.search(words))


def _refuses(text: str) -> bool:
    """Whether an introduction says that what stands beneath it is refused."""
    return bool(re.search(r"\b(?:refus|declin)\w*\b", text, re.IGNORECASE))


def lowered(text: str) -> str:
    """The same in the middle of a sentence: an instruction's or a small word's capital goes."""
    small = is_instruction(text) or text.lower().startswith(tuple(f"{word} " for word in (*_SMALL, *_ORDERS)))
    return text[:1].lower() + text[1:] if small and not text.startswith("I ") else text
