"""Versions of a policy: policy.md, which is the draft, and the variants in variants/ beside it.

A variant is a file my-policy/variants/NAME.md, written as policy.md is. The clauses that it names take the
place of those of policy.md, the rest stays; so a variant of one clause is a file of three lines. Title,
context and definitions are those of policy.md: what is compared, and later taken, is clauses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from prefect_ratify.errors import InputError
from prefect_ratify.flows.conditions import STYLES
from prefect_ratify.policy import load_policy
from prefect_ratify.policy_modules.responder import preamble
from prefect_ratify.records import Clause, Policy

DRAFT = "draft"
FORMER = "former/"  # begins the names of former drafts, which lie in variants/former/
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


@dataclass(frozen=True)
class Variant:
    """A version of the policy beside policy.md; `own` are the ids of the clauses that its file names.

    `unused` are the parts of its file, beside the clauses, that differ from policy.md.
    """

    name: str
    policy: Policy
    own: tuple[str, ...]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Versions:
    """policy.md, which is the draft, and its variants by name.

    `former` are drafts that were left behind: clauses can be taken from them, and they are not tried.
    """

    policy: Policy
    variants: tuple[Variant, ...]
    former: tuple[Variant, ...] = ()

    @property
    def yardstick(self) -> Policy:
        """What every version is judged by: policy.md, and the clauses that only variants have (the first that does)."""
        added: dict[str, Clause] = {}
        for variant in self.variants:
            for clause in variant.policy.clauses:
                if clause.id not in self.policy.clause_ids:
                    added.setdefault(clause.id, clause)
        return with_clauses(self.policy, added)

    @property
    def added(self) -> list[str]:
        """The clauses that policy.md does not have."""
        return [clause_id for clause_id in self.yardstick.clause_ids if clause_id not in self.policy.clause_ids]

    @property
    def twins(self) -> dict[str, str]:
        """Variants that put to the model what the draft, or a variant before them, does; and which that is."""
        seen, found = {preamble(self.policy): DRAFT}, {}
        for variant in self.variants:
            first = seen.setdefault(preamble(variant.policy), variant.name)
            if first != variant.name:
                found[variant.name] = first
        return found

    @property
    def tried(self) -> tuple[Variant, ...]:
        """The variants that are not another's twin."""
        return tuple(variant for variant in self.variants if variant.name not in self.twins)

    def variant(self, name: str) -> Variant:
        """The variant of that name; InputError where there is none."""
        named = (*self.variants, *self.former)
        for variant in named:
            if variant.name == name:
                return variant
        there = ", ".join([DRAFT, *(variant.name for variant in named)])
        raise InputError(f"there is no variant {name!r}", f"there are: {there}")

    def clause(self, name: str, clause_id: str) -> Clause | None:
        """A clause as the version of that name has it, where it does."""
        policy = self.policy if name == DRAFT else self.variant(name).policy
        return next((clause for clause in policy.clauses if clause.id == clause_id), None)

    def rewords(self, name: str, clause_id: str) -> bool:
        """Whether a version puts a clause to the model in another way than the draft does."""
        return asked(self.clause(name, clause_id)) != asked(self.clause(DRAFT, clause_id))


def load_versions(folder: Path, *, with_former: bool = False) -> Versions:
    """Read policy.md and every file in variants/; InputError names the file and line of what is wrong.

    Former drafts are read where clauses are to be taken from them.
    """
    policy = load_policy(folder / "policy.md")
    if policy.wording:
        raise InputError(
            "a model is told the wording of this policy, not its clauses: variants of them would change nothing",
            "take out the section '## Wording'",
            path=folder / "policy.md",
        )
    paths = sorted((folder / "variants").glob("*.md"))
    former = sorted((folder / "variants" / FORMER).glob("*.md")) if with_former else []
    if not paths and not former:
        raise InputError(
            "there is no variant",
            "write one, for example b.md: a title, '## Clauses', and clauses by the ids that they have in policy.md",
            path=folder / "variants",
        )
    return Versions(
        policy,
        tuple(_variant(path, policy) for path in paths),
        tuple(replace(found, name=f"{FORMER}{found.name}") for path in former if (found := _variant(path, policy))),
    )


def with_clauses(policy: Policy, clauses: Mapping[str, Clause]) -> Policy:
    """The policy with these clauses by id, in the place of its own; those that it does not have come last."""
    stayed = [clauses.get(clause.id, clause) for clause in policy.clauses]
    added = [clause for clause in clauses.values() if clause.id not in policy.clause_ids]
    return policy.model_copy(update={"clauses": (*stayed, *added)})


def asked(clause: Clause | None) -> object:
    """What a model sees of a clause."""
    return clause and (clause.text, clause.examples)


def _variant(path: Path, policy: Policy) -> Variant:
    name = path.stem
    if not _NAME.match(name):
        raise InputError(f"the name {name!r} is not a plain word", "use letters, digits, '-', '_' and '.'", path=path)
    if name in STYLES:
        raise InputError(f"the name {name!r} stands for something else", "call the variant otherwise", path=path)
    own = load_policy(path)
    unused = [
        part
        for part in ("context", "definitions", "wording")
        if getattr(own, part) not in ((), "", getattr(policy, part))
    ]
    clauses = {clause.id: clause for clause in own.clauses}
    return Variant(name, with_clauses(policy, clauses), own.clause_ids, tuple(unused))
