"""One GPU, nine minutes, no network: what HARMONY does there that no CPU can show, one JSON and one page."""
