"""Causal convolutions along a sequence: direct, in blocks, by FFT, with gates, with filters that are sums of modes."""
