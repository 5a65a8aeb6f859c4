"""From small to large: growth of what a search found, and laws of how losses fall with size and budget."""
