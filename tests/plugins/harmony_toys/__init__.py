"""One of each kind of thing that another distribution may add."""
