"""How fast training rows are made, beside a bare loop and distilabel; and what 100,000 of them take in memory."""
