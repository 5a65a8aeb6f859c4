"""How many answers are right. N sequences, T tokens."""

from __future__ import annotations

import numpy as np

from harmony_core.mad.draws import Integers
from harmony_core.mad.examples import IGNORED


def accuracy(answers_NT: Integers, targets_NT: Integers) -> float:
    """The share of what is asked that is answered right, in [0, 1]."""
    asked_NT = targets_NT != IGNORED
    return float((answers_NT == targets_NT)[asked_NT].mean())


def macro_accuracy(answers_NT: Integers, targets_NT: Integers) -> float:
    """The mean over classes of the share of each that is answered right, in [0, 1].

    A class counts where it is asked or answered; one that is answered and never asked counts as 0
    (torchmetrics' MulticlassAccuracy, which the authors' code takes).
    """
    asked_NT = targets_NT != IGNORED
    answers, targets = answers_NT[asked_NT], targets_NT[asked_NT]
    num_classes = int(max(answers.max(), targets.max())) + 1
    right, asked, answered = (
        np.bincount(one, minlength=num_classes) for one in (targets[answers == targets], targets, answers)
    )
    counted = (asked + answered) > 0
    return float((right / np.maximum(asked, 1))[counted].mean())


def macro_accuracy_of_batches(answers_NT: Integers, targets_NT: Integers, batch_size: int) -> float:
    """The mean over sequences of the macro accuracy of the batch that each is in, as the authors' code reports it.

    Args:
        answers_NT: of all batches in order.
        targets_NT: what is asked there.
        batch_size: sequences a batch; the last one may be smaller.
    """
    parts = range(batch_size, len(answers_NT), batch_size)
    pairs = list(zip(np.split(answers_NT, parts), np.split(targets_NT, parts), strict=True))
    return float(np.average([macro_accuracy(*pair) for pair in pairs], weights=[len(pair[0]) for pair in pairs]))
