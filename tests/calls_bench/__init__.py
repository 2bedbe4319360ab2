"""How fast calls to a model go, beside a bare loop, inspect_ai and promptfoo."""
