"""Carry a group's draft policy for a language model to a finetuned model that keeps it."""

__version__ = "0.1.0"
