"""What Snakemake says at every start, and nobody reads twice; whatever is not here is shown."""

_BEGINNINGS = (
    "Assuming unrestricted shared filesystem usage",
    "Building DAG of jobs",
    "Conda environments: ignored",
    "Group jobs: inactive",
    "Job rate limit reached",
    "Select jobs to execute",
    "Singularity containers: ignored",
    "Using shell:",
)


def is_chatter(text: str) -> bool:
    """Whether a note without an event of its own is left out."""
    return text.startswith(_BEGINNINGS)
