"""Conformance suites: what everything of a kind must hold, HARMONY's own and that of other distributions.

Each is plain functions that raise AssertionError, for whatever test runner there is; docs/extending.md has examples.
"""
