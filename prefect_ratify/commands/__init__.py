"""The commands of `ratify`: each file has what a person may type for some of them, and what they then do."""
