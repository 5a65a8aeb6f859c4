"""A live page of searches in a browser: read-only, for its owner alone, from files that are shipped with HARMONY."""
