"""Which parametrisation and learning rates every operator can learn with, at one scale."""
