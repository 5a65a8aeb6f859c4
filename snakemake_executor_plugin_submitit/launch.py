"""What a Slurm job starts: submitit's own main, without numpy, which submitit imports only to seed it.

`python -m snakemake_executor_plugin_submitit.launch [what submitit appends] FOLDER`. The import would be a third of a
trivial job's time.
"""

import sys


def main() -> None:
    """Run the function that submitit has put into the folder named last."""
    sys.modules["numpy"] = None  # type: ignore[assignment]
    from submitit.core.submission import process_job

    del sys.modules["numpy"]
    process_job(sys.argv[-1])


if __name__ == "__main__":
    main()
