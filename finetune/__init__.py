"""Constitutional data and TRL training."""
