"""One training of the full protocol, as the paper has it.

Poli et al. 2024 (arXiv:2403.17844), appendix B, and the authors' code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from harmony_core.architecture import Architecture
from harmony_core.mad.accuracy import macro_accuracy_of_batches
from harmony_core.mad.examples import Examples, Split, make_examples
from harmony_core.mad.learning import Learning
from harmony_core.mad.model import model_for
from harmony_core.mad.protocol import BATCH_SIZE, ENOUGH, EPOCHS, LEAST_LEARNING_RATE, NUM_TEST, SEED, FullRun

# Beside the numbers of the tasks, for the order of the examples.
_OF_ORDER = 1000
_HELD_OUT: tuple[Split, ...] = ("test", "validation")


@dataclass(frozen=True)
class FullResult:
    """How a training ended.

    Args:
        test_accuracy: of its last weights, macro-averaged over classes, mean over batches; the end may be chosen by it.
        validation_accuracy: the same on examples that nothing was chosen by.
        loss: of its last step, in nats a token.
        epochs: how many it took.
        steps: optimiser steps of all of them.
        kernel_paths: which implementation each kind of block took.
    """

    test_accuracy: float
    validation_accuracy: float
    loss: float
    epochs: int
    steps: int
    kernel_paths: str


def run_full(
    architecture: Architecture, run: FullRun, precision: str, device: torch.device, epochs: int = EPOCHS
) -> FullResult:
    """Trains a projection on a setting at one rate and decay, until the test is answered or the epochs are over.

    Args:
        architecture: the projection, of the task's vocabulary.
        run: the setting, its rate and its decay.
        precision: `bf16` in the paper.
        device: where.
        epochs: at most; fewer are no result of the protocol.

    Raises:
        Diverged: a loss is not finite.
    """
    task = run.task
    train = make_examples(task, "train", range(task.num_train), SEED)
    test, validation = (make_examples(task, split, range(NUM_TEST), SEED) for split in _HELD_OUT)
    model = model_for(task, architecture, has_readout=True)
    model.initialise_as_the_paper(SEED)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.learning_rate, weight_decay=run.weight_decay)
    learning = Learning(model, optimizer, precision)
    loss, steps, accuracy = 0.0, 0, 0.0
    for epoch in range(epochs):
        factor = _cosine(epoch, run.learning_rate)
        for batch in _batches(train, epoch):
            loss = learning.step(batch, factor)
            steps += 1
        accuracy = _accuracy(learning, test)
        if accuracy >= ENOUGH:
            break
    paths = ", ".join(model.stack.kernel_paths())
    return FullResult(accuracy, _accuracy(learning, validation), loss, epoch + 1, steps, paths)


def _accuracy(learning: Learning, examples: Examples) -> float:
    return macro_accuracy_of_batches(learning.answers(examples, BATCH_SIZE), examples.targets_NT, BATCH_SIZE)


def _cosine(epoch: int, peak: float) -> float:
    """The learning rate of an epoch over its peak; it does not fall within one, whatever `epochs` cuts off."""
    least = LEAST_LEARNING_RATE / peak
    return least + (1 - least) * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2


def _batches(examples: Examples, epoch: int) -> list[Examples]:
    """All examples in an order of the epoch's own."""
    order_N = np.random.default_rng(np.random.SeedSequence((SEED, _OF_ORDER, epoch))).permutation(len(examples))
    parts = [order_N[first : first + BATCH_SIZE] for first in range(0, len(order_N), BATCH_SIZE)]
    return [Examples(examples.inputs_NT[part], examples.targets_NT[part]) for part in parts]
