"""What a person reads of a search: figures, tables, diagrams, one HTML page."""
