"""What a job starts: submitit's own main, without numpy, which submitit imports only to seed it.

`python -m snakemake_executor_plugin_submitit.launch [what submitit appends] FOLDER`. The import would be a third of a
trivial job's time. Whoever has written the job's pickle has its code run as the job's user, so it is opened only if
nobody else can have written it.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

from .shared_files import NotOurs, check_own, read_own


def main() -> None:
    """Run the function that submitit has put into the folder named last; ends with a line if it may be another's."""
    sys.modules["numpy"] = None  # type: ignore[assignment]
    from submitit.core import utils
    from submitit.core.submission import process_job

    del sys.modules["numpy"]
    # FOLDER is ROOT/jobs/SUBMISSION/%j. submitit waits for the pickle there, and opens it with this.
    folder = Path(sys.argv[-1])
    utils.pickle_load = load_own
    try:
        check_own(folder.parents[2])
        process_job(folder)
    except NotOurs as error:
        sys.exit(f"not run: {error}")


def load_own(filename: str | Path) -> Any:
    """Open a pickle that this user alone can have written.

    Raises:
        NotOurs: Somebody else can have.
    """
    return pickle.loads(read_own(Path(filename)))


if __name__ == "__main__":
    main()
