"""Whether what is tested was trained on."""

from __future__ import annotations

from harmony_core.mad.examples import Split, make_examples
from harmony_core.mad.task import MadTask

# Above it the authors' code warns.
MOST_LEAKED = 0.001


def leaked_share(task: MadTask, num_held_out: int, split: Split = "test", seed: int = 0) -> float:
    """The share of held-out sequences that are among those of training, in [0, 1].

    Args:
        task: gives the number of training examples.
        num_held_out: how many are looked for.
        split: `test` or `validation`.
        seed: of the task.
    """
    trained = {one.tobytes() for one in make_examples(task, "train", range(task.num_train), seed).inputs_NT}
    held_out = make_examples(task, split, range(num_held_out), seed).inputs_NT
    return sum(one.tobytes() in trained for one in held_out) / num_held_out
