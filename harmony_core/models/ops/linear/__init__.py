"""Linear attention with a delta rule: what a state predicts of a key's value is taken out before the value is added."""
