"""Composer's engines and aggregators judged on a table of every design of a small space."""
