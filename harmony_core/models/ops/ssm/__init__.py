"""State-space recurrences: Mamba's selective scan, Mamba-2's state-space duality, and what goes around them."""
