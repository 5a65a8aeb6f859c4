"""Each child sees one GPU, by the variable that its vendor's runtime reads last."""

from __future__ import annotations

import pytest

from harmony_core.workers.gpus import own_gpu

VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


@pytest.mark.parametrize(
    ("environment", "number", "shown"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 2, {"CUDA_VISIBLE_DEVICES": "2"}),
        ({"CUDA_VISIBLE_DEVICES": "5"}, 3, {"CUDA_VISIBLE_DEVICES": "5"}),
        # Frontier: `srun --gpus-per-task=1 --gpu-bind=closest` shows local rank 0 GPU 4.
        ({"ROCR_VISIBLE_DEVICES": "4"}, 0, {"ROCR_VISIBLE_DEVICES": "4"}),
        ({"ROCR_VISIBLE_DEVICES": "4,5,6"}, 4, {"ROCR_VISIBLE_DEVICES": "5"}),
        ({"HIP_VISIBLE_DEVICES": "2,3"}, 1, {"HIP_VISIBLE_DEVICES": "3"}),
        # Of all that ROCR_VISIBLE_DEVICES leaves, which CUDA_VISIBLE_DEVICES counts from 0.
        ({"ROCR_VISIBLE_DEVICES": "4,5", "CUDA_VISIBLE_DEVICES": "0,1"}, 1, {"CUDA_VISIBLE_DEVICES": "1"}),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0, {}),
    ],
)
def test_the_variable_that_lists_them_is_narrowed(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], number: int, shown: dict[str, str]
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert own_gpu(number) == shown
