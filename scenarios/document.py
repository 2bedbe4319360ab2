"""A policy document in Markdown as blocks, each with its lines and the headings above it.

Blocks are found by CommonMark's rules (version 0.31) with GitHub's tables; what stands within a block
is kept as it is written. HTML is kept, and not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefect_ratify.errors import InputError
from prefect_ratify.policy import read_text
from prefect_ratify.scenarios.lettered_points import Points, begins_with_point

if TYPE_CHECKING:
    from markdown_it.token import Token

LARGEST = 1_000_000  # bytes of a document: some three hundred pages
MOST_LINES = 20_000
Kind = Literal["heading", "paragraph", "item", "column", "cell", "code", "html", "front matter"]
_FRONT_MATTER = re.compile(
    r"---[ \t]*\n[\w-]+[ \t]*:.*\n(?:(?:[\w-]+[ \t]*:.*|[ \t]+.*|[#-] .*)?\n)*?(?:---|\.{3})[ \t]*(?:\n|\Z)"
)
_MARKS = re.compile(r"(?<![\w*\\])(?:\*{1,3}|_{1,3}|~~)(?=\S)|(?<=\S)(?<!\\)(?:\*{1,3}|_{1,3}|~~)(?![\w*])")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\s+[\"'][^\"']*[\"'])?\)|\[[^\[\]]*\])")
_TAG = re.compile(r"</?(?:a|b|br|em|i|mark|small|span|strong|sub|sup|u)\b[^<>]*>", re.IGNORECASE)
_NUMBERED_TITLE = re.compile(r"((?:\A|\n[ \t]*\n) {0,3}\d{1,3})([.)][ \t]+\S.*\n {0,3}(?:-{3,}|={3,})[ \t]*(?:\n|\Z))")
_RARE_SPACE = re.compile(r"[^\S\n\t ]")  # Markdown takes a line of them for text, and then loses it
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


@dataclass(frozen=True)
class Block:
    """A heading, paragraph, list item, name or cell of a table's column, or a piece of code or HTML.

    `text` is as written, without the marks of the block itself; its first line is line `line` of the
    document (from 1), and the block ends with line `last`. `path` are the headings above it, of which
    the title is the first. `lead` is the place of the block that introduces its list, `items` are the
    places of the list items around it, and `quote` numbers the quotation that it is in; 0 is none.
    """

    kind: Kind
    text: str
    line: int
    last: int
    path: tuple[str, ...] = ()
    lead: int | None = None
    items: tuple[int, ...] = ()
    quote: int = 0
    column: str = ""


def load_document(path: Path) -> tuple[str, list[Block]]:
    """A document's text and its blocks; InputError where it is too large, empty, or no text."""
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path) from None
    if size > LARGEST:
        raise InputError(f"the document has {size:,} bytes, and may have {LARGEST:,}", "give its parts", path=path)
    text = read_text(path, "give a policy in Markdown").replace("\r", "\n")
    if "\0" in text:
        line = text.partition("\0")[0].count("\n") + 1
        raise InputError("this is no text", "give a policy in Markdown", path=path, line=line)
    if not text.strip():
        raise InputError("the document is empty", path=path)
    if (lines := text.count("\n")) > MOST_LINES:
        raise InputError(f"the document has {lines:,} lines, and may have {MOST_LINES:,}", "give its parts", path=path)
    return text, blocks_of(text)


def blocks_of(text: str) -> list[Block]:
    """The blocks of a text whose lines end in `\\n`, in their order."""
    from markdown_it import MarkdownIt

    matter = _FRONT_MATTER.match(text)
    head = matter[0].count("\n") if matter else 0
    found = [Block("front matter", matter[0].rstrip("\n"), 1, max(head, 1))] if matter else []
    rest = _RARE_SPACE.sub(" ", "\n" * head + text[matter.end() :] if matter else text)
    reading = MarkdownIt("commonmark").enable("table").disable("inline")
    return _Walk(found).read(reading.parse(_NUMBERED_TITLE.sub(r"\1\\\2", rest)))  # “1. Scope” above “---” is a title


def wording(text: str) -> str:
    """What a reader sees of a text: on one line, without marks of emphasis, links' addresses and plain tags."""
    parts = re.split(r"(`[^`]+`)", _TAG.sub(" ", text))
    plain = "".join(part if part.startswith("`") else _ESCAPE.sub(r"\1", _unmarked(part)) for part in parts)
    return " ".join(plain.split())


def _unmarked(text: str) -> str:
    return _MARKS.sub("", _LINK.sub(r"\1", text))


class _Walk:
    """One walk over the tokens of a document."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        self.path: list[tuple[int, str]] = []
        self.leads: list[int | None] = []
        self.items: list[int] = []
        self.quotes: list[int] = []
        self.quoted = 0
        self.columns: list[str] = []
        self.column = 0
        self.kind: Kind = "paragraph"
        self.row = (0, 0)
        self.points = Points()

    def read(self, tokens: Sequence[Token]) -> list[Block]:
        for place, token in enumerate(tokens):
            lines = (token.map[0] + 1, token.map[1]) if token.map else self.row
            are_points = token.type == "code_block" and begins_with_point(token.content)  # set in by four spaces
            if not are_points and token.type not in ("paragraph_open", "inline", "paragraph_close"):
                self.points = Points()
            if token.type in ("heading_open", "tr_open"):
                self.row = lines
            if token.type in ("bullet_list_open", "ordered_list_open"):
                follows = place > 0 and tokens[place - 1].type == "paragraph_close"
                self.leads.append(len(self.blocks) - 1 if follows else None)
            elif token.type in ("bullet_list_close", "ordered_list_close"):
                self.leads.pop()
            elif token.type == "inline":
                self._text(tokens[place - 1], token.content, lines)
            elif are_points:
                self._text(token, "\n".join(map(str.strip, token.content.rstrip("\n").split("\n"))), lines)
            elif token.type in ("fence", "code_block", "html_block"):
                self._add("html" if token.type == "html_block" else "code", token.content.rstrip("\n"), *lines, token)
            else:
                self._open_or_close(token)
        return self.blocks

    def _open_or_close(self, token: Token) -> None:
        if token.type == "list_item_open":
            self.items.append(len(self.blocks))
            self.kind = "item"
        elif token.type == "list_item_close":
            self.items.pop()
            self.kind = "paragraph"
        elif token.type == "paragraph_close":
            self.kind = "paragraph"
        elif token.type == "blockquote_open":
            self.quoted += 1
            self.quotes.append(self.quoted)
        elif token.type == "blockquote_close":
            self.quotes.pop()
        elif token.type == "thead_open":
            self.columns = []
        elif token.type == "tr_open":
            self.column = 0

    def _text(self, opened: Token, text: str, lines: tuple[int, int]) -> None:
        if opened.type == "heading_open":
            level = int(opened.tag[1:])
            self.path = [(above, name) for above, name in self.path if above < level]
            self._add("heading", text, self.row[0], self.row[1])
            self.path.append((level, wording(text)))
        elif opened.type == "th_open":
            self.columns.append(wording(text))
            self._add("column", text, *self.row)
        elif opened.type == "td_open":
            column = self.columns[self.column]
            self.column += 1
            self._add("cell", text, *self.row, column=column)
        else:
            self._paragraph(text, lines)

    def _paragraph(self, text: str, lines: tuple[int, int]) -> None:
        parts = self.points.parts(text, len(self.blocks), may_begin=self.kind != "item")
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            last = lines[0] + following.line - 1 if following else lines[1]
            if part.is_point:
                self._add("item", part.text, lines[0] + part.line, last, lead=part.lead)
            else:
                self._add(self.kind, part.text, lines[0] + part.line, last, lead=self.leads[-1] if self.leads else None)

    def _add(
        self,
        kind: Kind,
        text: str,
        line: int,
        last: int,
        token: Token | None = None,
        column: str = "",
        lead: int | None = None,
    ) -> None:
        if token is not None and token.type == "fence":
            line += 1
            last = max(line, line + text.count("\n"))
        self.blocks.append(
            Block(
                kind,
                text,
                line,
                last,
                path=tuple(name for _, name in self.path),
                lead=lead,
                items=tuple(item for item in self.items if item != len(self.blocks)),
                quote=self.quotes[-1] if self.quotes else 0,
                column=column,
            )
        )
