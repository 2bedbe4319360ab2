"""The work that everyone is given: questions that are answered, criticised by one clause, and revised.

Standard library alone, because distilabel imports it in an environment of its own.
"""

from __future__ import annotations

AT_ONCE = 64
CALLS = 3  # a row: response, critique, revision
MODEL = "scripted"
MAX_TOKENS = 600
CLAUSE = "Open with one sentence of empathy for what the person is going through."

# What a prompt for a critique or a revision holds, and the answer to it, in the form which that asker reads.
CRITIQUE = "The response goes straight to the law. It has no word for how hard it is to be told to leave one's home."
REVISION = (
    "I am sorry that you have to go through this. A landlord has to give notice in writing, and you have time to "
    "answer it. Keep the letter and the envelope, note the day on which they came, and ask a tenants' association or a "
    "lawyer to read them with you before the notice runs out."
)
NUMBER = "0000000000"  # where the server puts another one
RESPONSE = f"{REVISION.partition('. ')[2]} ({NUMBER})"
CRITIQUE_FIELD, REVISION_FIELD = "[[ ## critique ## ]]", "[[ ## revision ## ]]"
CRITIQUE_MARK, REVISION_MARK = "CRITICISE-THIS", "REVISE-THIS"
HELLO = "Say yes."  # what this package asks to find out whether a model is there
ANSWERS = (  # the first whose mark stands in a prompt; a prompt for a revision holds the critique too
    (REVISION_MARK, REVISION),
    (CRITIQUE_MARK, CRITIQUE),
    (REVISION_FIELD, f"{REVISION_FIELD}\n{REVISION}\n\n[[ ## completed ## ]]"),
    (CRITIQUE_FIELD, f"{CRITIQUE_FIELD}\n{CRITIQUE}\n\n[[ ## completed ## ]]"),
    (HELLO, "Yes."),
    ("", RESPONSE),
)


def question(number: int) -> str:
    """Question `number`, unlike every other, so that no store can answer it from another."""
    return f"Case {number}: my landlord says that I have to leave the flat in two weeks. What do I do?"
