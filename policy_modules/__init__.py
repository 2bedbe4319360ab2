"""The modules that follow, judge, criticise and refine a policy."""
