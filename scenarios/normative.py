"""Which sentences of a document ask something of the model, by their words alone.

Precision comes first: a sentence is a clause where its own words say so, by a modal verb with a
subject that can be the model or what it writes, or by an imperative that it begins with. Everything
else is named with a reason, for people to decide.
"""

from __future__ import annotations

import re
from bisect import bisect_left

from prefect_ratify.policy import plain
from prefect_ratify.scenarios.document import wording

QUOTED = re.compile(r"“[^“”]*”|\"[^\"]*\"|«[^«»]*»")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|mrs?|ms|dr|prof|st|no|nos|art|sec|ch|fig|approx|incl|resp|al|[a-z])|\.[a-z])\.$",
    re.IGNORECASE,
)
_END = re.compile(r"(?<![.!?…])[.!?…]+[\"”’»)\]*_]*(?=\s+[\"“‘«(\[*_`]*[^\W_a-z])")
_NUMBERED = re.compile(r"^(?:§+\s*)?(?:\d+(?:\.\d+)+\.?|\d+\)|§+\s*\d+\.?|\([\w.]{1,5}\)|[a-z]\))\s+", re.IGNORECASE)
_CONDITION = re.compile(
    r"^(?:(?:even )?(?:if|when|whenever|where|wherever|unless|before|after|while|once|until|whatever|because|since"
    r"|although|though|should (?:you|a|an|the|any|this|it))|for|in|on|at|as|to|by|with|without|under|during)\b"
    r"[^,;:!?]*,\s*",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"^(?:please|then|also|instead|finally|first|second|third|however|in short|so|and|but|or)\b,?\s+", re.IGNORECASE
)
_LABEL = re.compile(r"^[^:;.!?,]{1,60}:\s+")
_MODAL = re.compile(
    r"\b(?P<word>must(?:n't)?|shall|shan't|should(?:n't)?|ought to|may not|may only|cannot|can't"
    r"|(?:is|are)(?: not|n't)? (?:allowed|permitted|required|expected|forbidden|prohibited)|needs? to|ha(?:s|ve) to"
    r"|never|always)\b(?P<rest>.*)$",
    re.IGNORECASE,
)
_BARE = re.compile(r"^(?:must|shall|should|may not|may only)\b(?! (?:you|i|we|a|an|the|this|it)\b)", re.IGNORECASE)
_AGENT = (
    r"assistants?|models?|chatbots?|bots?|agents?|ai|ais|systems?|llms?|you|responses?|answers?|repl(?:y|ies)|outputs?"
    r"|messages?|refusals?|advice|explanations?|summar(?:y|ies)|tone|wording|warnings?|disclaimers?"
)
_PROHIBITION = re.compile(
    r"^(?:never|do not|don't|avoid|refrain from|always|under no circumstances)\b\s+\S"
    rf"|^no (?:{_AGENT}) (?:may|shall|should|must)\b",
    re.IGNORECASE,
)
_NAMES_AGENT = re.compile(rf"\b(?:{_AGENT})\b", re.IGNORECASE)
_AGENT_LAST = re.compile(rf"\b(?:{_AGENT})(?: (?:is|are|itself))?$", re.IGNORECASE)
_AGENT_FIRST = re.compile(
    rf"^(?:the|an?|any|all|every|each|our|its|no)?\s*(?:[\w-]+ ){{0,2}}(?:{_AGENT})\b(?: (?:that|which|who)\b)?",
    re.IGNORECASE,
)
_COMPLEMENT = re.compile(r"\b(?:that|what|how|why|whether|which|who|whose|than)\b", re.IGNORECASE)
_ADVERBIAL = re.compile(r"\b(?:if|when|where|because|while|since|although|though|unless|until)\b", re.IGNORECASE)
_POINTING = ("this", "that", "these", "those", "such", "both", "either", "neither", "none")
_ELSEWHERE = re.compile(rf"^(?:they|he|she|there|it|{'|'.join(_POINTING)})\b", re.IGNORECASE)
_OTHERS = re.compile(
    r"\b(?:we|i|us|staff|teams?|members?|reviewers?|raters?|annotators?|label+ers?|employees?|managers?|engineers?"
    r"|developers?|operators?|maintainers?|editors?|authors?|owners?|lawyers?|supervisors?|colleagues?|contractors?"
    r"|vendors?|partners?|compan(?:y|ies)|organi[sz]ations?|boards?|committees?|departments?|polic(?:y|ies)|documents?"
    r"|guidelines?|guides?|sections?|chapters?|appendix|versions?|changes?|amendments?|reviews?|audits?|trainings?"
    r"|clauses?|rules?|tables?|examples?|reports?|incidents?|deployments?|releases?|tests?|datasets?|drafts?)$",
    re.IGNORECASE,
)
_SERVED = re.compile(
    r"\b(?:users?|customers?|people|persons?|someone|somebody|anyone|everyone|child(?:ren)?|patients?|callers?|clients?"
    r"|readers?|minors?|students?|citizens?|visitors?|guests?|tenants?|members of the public)$",
    re.IGNORECASE,
)
_PASSIVE = re.compile(
    r"^(?: (?:not|never|always|only|also))* be (?:\w+ly )?\w+(?:ed|en|wn|lt|ld|nt|pt|ught|de)\b", re.IGNORECASE
)
_PERFECT = re.compile(r"^(?: (?:not|never|always))* have (?:been|\w+ed)\b", re.IGNORECASE)
_POSSIBLE = re.compile(
    r"^ (?:always |yet |even )?(?:be (?!\w+ed\b)|have|know|understand|realise|realize|exist|apply|work|see|notice"
    r"|want|need|like|agree|happen|feel|sound|seem)",
    re.IGNORECASE,
)
_STATE = re.compile(
    r"^(?: (?:been|be|was|were|had|has|have|sees?|knows?|stores?|remembers?|learns?|works?|runs?|needs?))\b",
    re.IGNORECASE,
)
_ADVERBS = "always|only|politely|gently|briefly|clearly|carefully|just|simply|explicitly|proactively"
_VERBS = """
    accept acknowledge adapt admit allow apologise apologize argue ask assume be begin calculate choose cite
    clarify confirm consider convert correct decline describe diagnose disclose distinguish encourage ensure
    escalate explain express fabricate flag follow format give greet guide help ignore include inform introduce
    invent invite keep leave lecture let listen maintain make match mention mirror moralise name offer omit
    point praise prefer prescribe present pretend prioritise prioritize protect provide put quote redirect refuse
    remain remember remind repeat rephrase resist respect respond reveal round say show sound speak speculate
    spell stay steer stop suggest summarise summarize support take tell translate treat try understand verify
    wait warn withhold write
""".split()
# Words that are nouns as often: instructions only with what follows here.
_WITH = (
    r"address users|aim to|direct users|end (?:with|each|every|by)|guess at|lead with|link to|stick to"
    r"|use (?!of\b|cases?\b)"
    r"|refer (?!to (?:the )?(?:section|chapter|appendix|table)\b)"
    r"|answer (?=the|a|an|any|all|in|with|only|what|questions|briefly|first|every|each)"
    r"|check (?=the|a|an|any|all|that|whether|with|for|what)|limit (?=the|a|an|any|your|each|answers)"
    r"|state (?=the|a|an|any|that|what|when|where|how|your|its|clearly)|report (?=the|a|an|any|all|what|only)"
    r"|share (?=the|a|an|any|only|what|no)"
)
_IMPERATIVE = re.compile(
    rf"^(?:(?:{_ADVERBS}) )?(?:{'|'.join(_VERBS)}|{_WITH})\b(?! (?:is|are|was|were|has|can|may|will|must|should)\b)",
    re.IGNORECASE,
)


def sentences_in(text: str) -> list[tuple[int, int]]:
    """Where each sentence of a block stands; a full stop within a quotation, or of an abbreviation, ends none."""
    quoted = [edge for span in QUOTED.finditer(text) for edge in span.span()]
    ends = [
        end.end()
        for end in _END.finditer(text)
        if not _ABBREVIATION.search(text[max(0, end.start() - 12) : end.end()].rstrip('"”’»)]*_'))
        and bisect_left(quoted, end.end()) % 2 == 0
    ]
    places = zip([0, *ends], [*ends, len(text)], strict=True)
    return [(start + len(part) - len(part.lstrip()), end) for start, end in places if (part := text[start:end]).strip()]


def without_number(text: str) -> str:
    """A sentence without the number that it begins with, such as “3.2” or “(a)”."""
    return _NUMBERED.sub("", text)


def why_no_clause(text: str, *, before: str = "") -> str:
    """Why a sentence is no clause by its words; empty where it is one.

    `before` is what stands before it in its block: where that names the model, “It must …” is about it.
    """
    said = plain(QUOTED.sub("“…”", re.sub(r"`[^`]*`", "…", wording(text))))
    if not re.search(r"\w", said):
        return "a quotation" if "“…”" in said else "there are no words in it"
    if said.endswith("?"):
        return "a question asks nothing of the model"
    if said.endswith(":") or opens(said):
        return "it only introduces what follows"
    body = _stripped(said)
    if _PROHIBITION.match(body) or _IMPERATIVE.match(body) or _BARE.match(body):
        return ""
    found = _MODAL.search(body)
    if not found:
        return "it has no word such as must, should or never, and begins with no instruction"
    return _why_not_by_modal(body, found, before)


def stands_alone(text: str) -> bool:
    """Whether a text is a clause without what introduces it, and more than an instruction."""
    return not why_no_clause(text) and not is_instruction(text)


def lacks_subject(text: str) -> bool:
    """Whether a sentence begins with its modal verb, so that what introduces it may be its subject."""
    return bool(_BARE.match(_stripped(plain(wording(text)))))


def forbids_items(text: str) -> bool:
    """Whether a heading or an introduction says that what stands beneath it is wrong to do."""
    words = plain(wording(text))
    return bool(
        re.search(
            r"\b(?:never|not|don'?ts?|avoid(?:ed)?|prohibited|forbidden|unacceptable|disallowed|banned|off[- ]limits"
            r"|out of scope|bad|wrong|mistakes?|pitfalls?|anti-?patterns?)\b|n't\b|❌|🚫|✗",
            words,
            re.IGNORECASE,
        )
    )


def opens(text: str) -> bool:
    """Whether an introduction is the beginning of each sentence beneath it: “The assistant must not:”."""
    words = plain(wording(text)).rstrip(" :—–-")
    if re.search(r"\b(?:following|below|these|ways?|cases)$", words, re.IGNORECASE) or not words:
        return False
    return bool(
        re.search(
            r"\b(?:must|shall|should|may|must not|shall not|should not|may not|may only|mustn't|shouldn't|never|always"
            r"|do not|don't|avoid|ought to|(?:required|expected|allowed|permitted) to|needs? to|ha(?:s|ve) to)$",
            words,
            re.IGNORECASE,
        )
    )


def is_instruction(text: str) -> bool:
    """Whether a text begins with an imperative, and with no word that forbids."""
    body = _stripped(plain(wording(text)))
    return bool(_IMPERATIVE.match(body)) and not _PROHIBITION.match(body)


def _stripped(said: str) -> str:
    """A sentence without a label, conditions and small words before what it says."""
    body = _LABEL.sub("", without_number(said))
    for _ in range(3):
        body = _OPENING.sub("", _CONDITION.sub("", body))
    return body


def _why_not_by_modal(body: str, found: re.Match[str], before: str) -> str:
    subject, word, rest = body[: found.start()].strip(), found["word"].lower(), found["rest"]
    if not subject:
        return f"it begins with “{word}”, and no instruction follows"
    agent = bool(_AGENT_FIRST.match(subject)) or bool(_AGENT_LAST.search(subject))
    if _is_elsewhere(subject, before):
        return f"its subject (“{subject.split()[0]}”) stands in another sentence"
    if _is_subordinate(subject):
        return f"its “{word}” stands in a subordinate clause"
    head = (
        re.split(r"\b(?:of|in|for|with|who|that|from|about|to|on|at)\b", subject, maxsplit=1)[0].strip(" ,") or subject
    )
    head = re.sub(r" (?:is|are|has|have|also|then|therefore)$", "", head)
    if _OTHERS.search(head) or (_SERVED.search(head) and not _PASSIVE.match(rest)):
        return f"it says what “{head}” {word} do, and not the model"
    if _PERFECT.match(rest):
        return "it says what has been, and not what to do"
    if _may_describe(subject, word, rest, agent):
        return f"its “{word}” may describe, and not ask"
    if word in ("cannot", "can't"):
        return f"its “{word}” may say what is possible, and not what is allowed"
    if word == "may not" and (not agent or _POSSIBLE.match(rest)):
        return "its “may not” may say what is possible, and not what is allowed"
    return ""


def _may_describe(subject: str, word: str, rest: str, agent: bool) -> bool:
    often = word in ("never", "always")
    if not agent:
        return often or re.fullmatch(r"needs? to|ha(?:s|ve) to", word) is not None
    return often and bool(_STATE.match(rest) or re.search(r"\b(?:has|have|had|was|were)$", subject))


def _is_elsewhere(subject: str, before: str) -> bool:
    if not _ELSEWHERE.match(subject):
        return False
    first = subject.split()[0].lower()
    if first in _POINTING and len(subject.split()) > 1:
        return not _NAMES_AGENT.search(subject)
    return not (first in ("it", "they") and len(subject.split()) == 1 and _NAMES_AGENT.search(before))


def _is_subordinate(subject: str) -> bool:
    """Whether what governs a modal verb is another verb: “explains what the assistant” must do."""
    first = _AGENT_FIRST.match(subject)
    rest = subject[first.end() :] if first else subject
    if _COMPLEMENT.search(rest):
        return True
    adverb = _ADVERBIAL.search(rest)
    if adverb is None:
        return False
    return not (adverb.start() == 0 and _AGENT_LAST.search(subject))
