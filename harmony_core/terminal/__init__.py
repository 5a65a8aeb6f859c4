"""What a person reads in a terminal: numbers, lines, the display of a search and of a training. Imports no torch."""
