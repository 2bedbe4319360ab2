"""The path as Prefect flows: one file a stage, `path.py` shows them all."""
