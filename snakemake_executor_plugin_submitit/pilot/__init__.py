"""The standing allocation: one Slurm job that runs many Snakemake jobs, and is taken again when its time ends.

Three parties, which share nothing but files of a :class:`~.session.Session`: the main process (:mod:`.keeper`) hands
jobs over and holds allocations; the agent (:mod:`.agent`) runs them in an allocation's batch process; the companion is
whatever the user wants to run in the allocation as long as it lives.
"""
