"""What experts compute: routing, the rows that each is given, and products grouped by expert."""
