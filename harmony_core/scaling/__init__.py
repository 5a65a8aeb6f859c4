"""From small to large: what was found is put together, grown in depth and width, and compared. No torch."""
