"""What MAD's tasks say here: against the paper, of architectures apart, twice the same, and of loss at scale."""
