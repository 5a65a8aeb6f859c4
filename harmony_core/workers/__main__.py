"""What srun starts: a rank; named so, since multiprocessing imports no __main__ again in its children."""

from harmony_core.workers.rank import main

main()
