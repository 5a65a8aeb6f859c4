"""The examples of docs/extending.md, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
EXAMPLES = {match[1]: match[0] for match in re.findall(r"```python\n(# (\S+)\n.*?)```", PAGE, re.DOTALL)}
# What is true once an example's file is there.
CHECKS = {
    "metrics/mixers.py": """
        from harmony_core.architecture.presets import load_preset
        from harmony_core.search.config import Config
        from harmony_core.space import Space, sample
        import numpy as np
        from harmony_core.base import read_yaml
        from harmony_core.resources import named_yaml
        Config.parse({"search": {"objectives": [{"name": "val_bits_per_byte"}, {"name": "num_mixers"}]}})
        raw = read_yaml(named_yaml("spaces", "nano"))
        space = Space.parse({**raw, "constraints": {**raw.get("constraints", {}), "num_mixers": {"max": 3}}})
        for seed in range(5):
            drawn = sample(space, 257, np.random.default_rng(seed)).architecture
            assert num_mixers(drawn) <= 3
        assert num_mixers(load_preset("llama-nano")) == 4
    """,
    "evolution/algorithms/hill_climbing.py": """
        from harmony_core.search.config import Config
        from harmony_core.space import Space
        config = Config.parse({"search": {"algorithm": {"kind": "hill_climbing"}}})
        algorithm = config.search.make_algorithm()
        assert isinstance(algorithm, HillClimbing)
        worse, better, failed = (
            Scored(0, number, name, status, {"val_bits_per_byte": loss})
            for number, name, status, loss in ((0, "a", "ok", 3.0), (1, "b", "ok", 2.0), (2, "c", "diverged", None))
        )
        assert [one.survives for one in algorithm.tell([worse, better, failed])] == [True, True, False]
        assert [one.rank for one in algorithm.tell([worse, better, failed])] == [1, 0, 2]
        from harmony_core.evolution.context import Trial
        told = (worse, better)
        trials = [Trial(0, one.candidate, one.architecture_id, "{}", one.status, one.metrics) for one in told]
        context = Context(Space.read("nano"), 257, 1, trials)
        assert algorithm.ask(context, np.random.default_rng(0)) == Mutate("b")
        assert algorithm.ask(Context(Space.read("nano"), 257, 0, []), np.random.default_rng(0)) == Sample()
    """,
    "space/mutations/reverse.py": """
        from harmony_core.space import sample
        from harmony_core.space.mutations.registry import MUTATIONS
        assert MUTATIONS["reverse"] is reverse
        space = Space.read("nano")
        turned = 0
        for seed in range(20):
            rng = np.random.default_rng(seed)
            parent = sample(space, 257, rng).architecture
            if (edit := reverse(space, parent, rng)) is None:
                continue
            turned += 1
            kinds = [block.kind for block in edit.architecture.blocks]
            units = [tuple(kinds[i : i + 2]) for i in range(0, len(kinds), 2)]
            before = [block.kind for block in parent.blocks]
            assert units == [tuple(before[i : i + 2]) for i in range(0, len(before), 2)][::-1]
        assert turned > 10
    """,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_what_the_page_says(name: str, tmp_path: Path) -> None:
    check = "\n".join(line.removeprefix("        ") for line in CHECKS[name].splitlines())
    (tmp_path / "example.py").write_text(EXAMPLES[name] + check)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    call = [sys.executable, "example.py"]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_example_is_checked() -> None:
    assert EXAMPLES.keys() == CHECKS.keys()
