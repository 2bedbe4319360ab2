"""The work that everyone is given: one policy, as many questions as asked for, one clause to judge each answer by.

Standard library alone, because competitors import it in environments of their own.
"""

from __future__ import annotations

import json

AT_ONCE = 64
MODEL = "scripted"
MAX_TOKENS = 144
POLICY = "You answer questions about the law. Open with one sentence of empathy, and say how urgent the matter is."
CLAUSE = "Open with one sentence of empathy for what the person is going through."
RESPONSE = (
    "I am sorry that you have to go through this. How urgent is it for you, from 0 to 10? A landlord has to give "
    "notice in writing, and you have time to answer it. Keep the letter and the envelope, note the day on which they "
    "came, and ask a tenants' association or a lawyer to read them with you before the notice runs out."
)

# What a judge's prompt holds, and the verdict that it is answered with, in the form which that asker reads.
DSPY_MARK, DSPY_VERDICT = (
    "[[ ## verdict ## ]]",
    "[[ ## verdict ## ]]\nupheld\n\n[[ ## confidence ## ]]\n0.9\n\n[[ ## reason ## ]]\nIt says so.\n\n"
    "[[ ## completed ## ]]",
)
GRADE_MARK, GRADE_VERDICT = "JUDGE-BY-GRADE", "It says so.\n\nGRADE: C"
JSON_MARK, JSON_VERDICT = "JUDGE-BY-JSON", json.dumps({"pass": True, "score": 1, "reason": "It says so."})


def question(number: int) -> str:
    """Question `number`, unlike every other, so that no store can answer it from another."""
    return f"Case {number}: my landlord says that I have to leave the flat in two weeks. What do I do?"
