"""Policies as people write them: Markdown in, records out, and back.

    # Title
    Some context.

    ## Definitions
    - **Term**: what it means here

    ## Clauses
    - [id] What the model must, should or must not do.
      - a note: who said it, why
      - Example: "a user's query" → "a sentence that upholds the clause"

    ## Contested
    - [id] What the group is divided on: not in force, until people take it.

    ## Wording
    > what a model is told instead, where an optimiser reworded the policy as a whole

The id in brackets is optional; without one an id is made from the clause's own words, so that
it stays the same whatever happens to other clauses. `render_policy` writes what
`parse_policy` reads.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from pathlib import Path

from prefect_ratify.errors import InputError
from prefect_ratify.records import Clause, Definition, Polarity, Policy, WorkedExample, digest

_ITEM = re.compile(r"^(?P<indent>\s*)(?:[-*+]|\d+[.)])\s+(?P<text>.+)$")
_ID = re.compile(r"^\[(?P<id>[^\]\s]+)\]\s*(?P<text>.*)$")
_GOOD_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(?:/[2-9])?$")
_TERM = re.compile(r"^\*\*(?P<term>.+?)\*\*\s*:?\s*(?P<text>.*)$|^(?P<bare>[^:]+):\s*(?P<rest>.*)$")
_EXAMPLE = re.compile(r'^Example:\s*"(?P<query>.*)"\s*(?:→|->)\s*"(?P<sentence>.*)"$', re.IGNORECASE)
_AUTHORS = re.compile(r"^(?:authors?|written by)\s*:\s*(.+)$", re.IGNORECASE)
_OPENING = re.compile(
    r"^(?:(?:even )?(?:if|when|where|unless|before|after|while|once|until|whatever)|for|in|on|at|as|to|by|with)\b"
    r"[^,.;:!?]*,\s*",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[,.;:!?—]|\s(?:and|but)\b", re.IGNORECASE)
_BEGINS_WITH_NO = re.compile(
    r"^(?:no(?! matter)|(?:under|in|at) no (?:circumstances?|cases?|time)|must not|mustn't"
    r"|(?:please |you |it |they |the \w+ )?"
    r"(?:never|do(?:es)?(?: not|n't)|cannot|can't|will not|won't|avoids?|refrains?|refuses?|declines?))\b",
    re.IGNORECASE,
)
# The words before a "must not" that governs a clause: none that makes it what is said, asked or known.
_MUST_NOT = re.compile(
    r"^(?:(?!\b(?:that|why|what|how|when|if|whether|which|who|where|because)\b).)*?"
    r"\b(?:(?:must|may|should|shall|ought)(?:n't| (?:to )?(?:not|never|(?:under|in|at|by) no))"
    r"|(?:is|are)(?:n't| not) (?:allowed|permitted) to|(?:is|are) (?:forbidden|prohibited) (?:to|from))\b",
    re.IGNORECASE,
)
_MUST_NOT_ANYWHERE = re.compile(r"\b(?:must not|may not)\b", re.IGNORECASE)
_SHOULD = re.compile(r"\b(?:should|ought to|prefer|ideally|where possible|try to)\b", re.IGNORECASE)


def load_policy(path: Path) -> Policy:
    """Read a policy file; InputError names the file and line of what is wrong."""
    return parse_policy(read_text(path), path)


def parse_policy(text: str, path: Path | str = "policy.md") -> Policy:
    """Parse a policy; InputError where it has no title, no clause, or the same id twice."""
    title, blocks = _titled(text)
    wording = ""
    context: list[str] = []
    authors: tuple[str, ...] = ()
    definitions: list[Definition] = []
    clauses: list[Clause] = []
    contested: list[Clause] = []
    taken: set[str] = set()
    for section, line, block in blocks:
        if section == "definitions":
            definitions.append(_definition(block, path, line))
        elif section in ("clauses", "contested"):
            found = clauses if section == "clauses" else contested
            found.append(_clause(block, path, line, taken))
            taken.add(found[-1].id)
        elif section == "wording":
            wording = f"{wording}\n\n{_wording(block, path, line)}".strip("\n")
        elif section == "context":
            named = _AUTHORS.match(block[0])
            if named and len(block) == 1:
                authors = tuple(name.strip() for name in named[1].split(",") if name.strip())
            else:
                context.append("\n".join(block))
        else:
            raise InputError(
                f"the section {section!r} is not one of a policy",
                "put its text under the title, '## Definitions' or '## Clauses'",
                path=path,
                line=line,
            )
    if not title:
        raise InputError("no title", "begin the file with a line '# Title'", path=path, line=1)
    if not clauses:
        raise InputError("the policy has no clause", "add '## Clauses' and a list item for each", path=path, line=1)
    return Policy(
        title=title,
        context="\n\n".join(context),
        definitions=tuple(definitions),
        clauses=tuple(clauses),
        authors=authors,
        wording=wording,
        contested=tuple(contested),
    )


def render_policy(policy: Policy) -> str:
    """The Markdown of a policy: parsing it gives the same policy (but for `parent`)."""
    parts = [f"# {policy.title}"]
    if policy.authors:
        parts.append(f"Authors: {', '.join(policy.authors)}")
    if policy.context:
        parts.append(policy.context)
    if policy.definitions:
        items = [f"- **{item.term}**: {item.text}".rstrip() for item in policy.definitions]
        parts.append("## Definitions\n\n" + "\n".join(items))
    parts.append("## Clauses\n\n" + "\n".join(render_clause(clause) for clause in policy.clauses))
    if policy.contested:
        parts.append("## Contested\n\n" + "\n".join(render_clause(clause) for clause in policy.contested))
    if policy.wording:
        parts.append("## Wording\n\n" + "\n".join(f"> {line}".rstrip() for line in policy.wording.split("\n")))
    return "\n\n".join(parts) + "\n"


def clause_lines(text: str) -> dict[str, range]:
    """Where the clauses of a policy that parses stand: by id, the places of their lines, from 0."""
    found: dict[str, range] = {}
    for section, line, block in _titled(text)[1]:
        if section == "clauses":
            clause = _clause(block, "policy.md", line, found)
            found[clause.id] = range(line - 1, line - 1 + len(_trim(block)))
    return found


def polarity_of(text: str) -> Polarity:
    """Whether a clause forbids, advises or demands, by its words."""
    if forbids(text) or _MUST_NOT_ANYWHERE.search(plain(text)):
        return "must not"
    return "should" if _SHOULD.search(text) else "must"


def forbids(text: str) -> bool:
    """Whether what a clause says first is a prohibition: its later "and never …" does not make it one."""
    first = main_clause(text)
    return bool(_BEGINS_WITH_NO.search(first) or _MUST_NOT.search(first))


def main_clause(text: str) -> str:
    """What a text says first: without an "If …," before it, up to its comma, its "and" or its end."""
    return _CLAUSE_END.split(_OPENING.sub("", plain(text)), maxsplit=1)[0]


def plain(text: str) -> str:
    """A text with straight apostrophes and without marks of emphasis, so that its words can be compared."""
    return re.sub(r"[*_`]", "", re.sub("[’‘ʼ]", "'", text)).strip()


def made_id(text: str) -> str:
    """An id from a clause's own words: three telling ones and a bit of their digest."""
    small = {"the", "and", "that", "this", "with", "for", "not", "you", "your", "are", "its", "must", "should"}
    words = [w for w in re.findall(r"[a-z0-9]+", text.lower()) if len(w) > 2 and w not in small]
    return "-".join([*words[:3], digest(" ".join(text.split()))[:4]])


def read_text(path: Path, advice: str = "`ratify init FOLDER` makes one") -> str:
    """A file's text; InputError where it is missing (with advice), a folder or not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise InputError("there is no such file", advice, path=path) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError("the text is not UTF-8", "save the file as UTF-8", path=path, line=line) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path) from None


def _titled(text: str) -> tuple[str, list[tuple[str, int, list[str]]]]:
    """The title, and each block that is no heading with its section (above all, the context) and line."""
    title, section = "", "context"
    found = []
    for line, block in _blocks(text):
        heading = re.match(r"^(#+)\s+(.*?)\s*#*$", block[0])
        if heading and len(heading[1]) == 1 and not title:
            title = heading[2]
        elif heading:
            section = heading[2].strip().lower()
        else:
            found.append((section, line, block))
    return title, found


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Headings, top-level list items (with what is indented below them) and paragraphs."""
    block: list[str] = []
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip()
        item = _ITEM.match(line)
        opens = line.startswith("#") or (item is not None and not item["indent"])
        in_item = bool(block) and _ITEM.match(block[0]) is not None
        ends = not line and not in_item
        if (opens or ends or (block and block[0].startswith("#"))) and block:
            yield start, block
            block = []
        if in_item and line and not opens and not line.startswith((" ", "\t")) and block and block[-1] == "":
            yield start, _trim(block)  # an unindented paragraph after a blank line leaves the list
            block = []
        if line or block:
            start = number if not block else start
            block.append(line)
    if block:
        yield start, _trim(block)


def _trim(block: list[str]) -> list[str]:
    while block and not block[-1]:
        block = block[:-1]
    return block


def _definition(block: list[str], path: Path | str, line: int) -> Definition:
    text = " ".join(" ".join(block).split())
    item = _ITEM.match(text)
    found = _TERM.match(item["text"] if item else text)
    if not found:
        raise InputError("a definition has no term", "write '- **term**: meaning'", path=path, line=line)
    return Definition(
        term=(found["term"] or found["bare"]).strip().rstrip(":"),
        text=(found["text"] or found["rest"] or "").strip(),
    )


def _wording(block: list[str], path: Path | str, line: int) -> str:
    if not all(text.startswith(">") for text in block):
        raise InputError("the wording is not a quotation", "begin each of its lines with '> '", path=path, line=line)
    return "\n".join(text[1:].removeprefix(" ").rstrip() for text in block).strip("\n")


def _clause(block: list[str], path: Path | str, line: int, taken: Container[str]) -> Clause:
    first = _ITEM.match(block[0])
    if not first:
        raise InputError("this is not a clause", "write each clause as a list item: '- …'", path=path, line=line)
    text, notes = [first["text"]], list[str]()
    for rest in block[1:]:
        item = _ITEM.match(rest)
        if item:
            notes.append(item["text"].strip())
        elif notes and rest.strip():
            notes[-1] += " " + rest.strip()
        elif rest.strip():
            text.append(rest.strip())
    joined = " ".join(" ".join(text).split())
    named = _ID.match(joined)
    clause_text = named["text"] if named else joined
    if not clause_text:
        raise InputError(f"the clause [{named['id'] if named else ''}] has no text", path=path, line=line)
    if named and not _GOOD_ID.match(named["id"]):
        raise InputError(
            f"the clause id {named['id']!r} is not a plain word",
            "use letters, digits, '-', '_' and '.'",
            path=path,
            line=line,
        )
    clause_id = named["id"] if named else made_id(clause_text)
    if "/" in clause_id and clause_id.partition("/")[0] not in taken:
        raise InputError(
            f"[{clause_id}] is a part of a clause that does not stand above it",
            "give it an id without '/'",
            path=path,
            line=line,
        )
    if clause_id in taken:
        raise InputError(
            f"the clause id {clause_id!r} stands here a second time", "give each its own", path=path, line=line
        )
    examples = [found for note in notes if (found := _EXAMPLE.match(note))]
    return Clause(
        id=clause_id,
        text=clause_text,
        polarity=polarity_of(clause_text),
        notes=tuple(note for note in notes if not _EXAMPLE.match(note)),
        examples=tuple(WorkedExample(query=e["query"], sentence=e["sentence"]) for e in examples),
    )


def render_clause(clause: Clause) -> str:
    """A clause as a list item, with its notes and examples beneath; `parse_policy` reads it."""
    lines = [f"- [{clause.id}] {clause.text}", *(f"  - {note}" for note in clause.notes)]
    lines += [f'  - Example: "{item.query}" → "{item.sentence}"' for item in clause.examples]
    return "\n".join(lines)
