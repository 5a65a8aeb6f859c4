"""Exchange with other libraries, both ways."""
