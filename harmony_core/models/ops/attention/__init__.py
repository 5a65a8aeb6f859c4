"""Attention: plain, fused, in blocks, with a cache, with a mask that is compiled; rotary positions."""
