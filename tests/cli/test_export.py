"""`harmony export`: what stands in the folder beside the weights, and that its card makes them again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from transformers import AutoConfig, AutoTokenizer

from harmony_core.cli.export import export, find_trained
from harmony_core.cli.generate import generate
from harmony_core.data import load_tokenizer
from harmony_core.errors import UserError
from harmony_core.store import Run, SearchFolder, population, training
from harmony_core.store.task_scores import task_scores
from tests.cli.test_commands import harmony
from tests.progress.searches import MadeUpSearch

DATA = "source=synthetic,max_bytes=60000,tokenizer=bpe,vocab_size=300"
RECIPE = "tokens=384,batch_size=4,sequence_length=32,validation_tokens=256,precision=fp32"
STACK = """
d_model: 32
vocab_size: 257
blocks:
- {kind: hyena_se, num_groups: 4}
- {kind: mlp, d_ff: 64}
"""
TASK = """
task: "[red]words"
dataset_path: json
dataset_kwargs: {data_files: {test: words.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
"""


def block(text: str, language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)[number]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a small model was trained, as `results/mine`."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "stack.yaml").write_text(STACK)
    made = ("--data", DATA, "--recipe", RECIPE, "--seed", "3")
    done = harmony("train", "stack.yaml", *made, "--out", "results/mine", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.usefixtures("modules_cache")
def test_a_card_makes_the_same_weights_again(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shutil.copytree(mine, tmp_path / "here"))
    export("mine", Path("found"))
    told = "found: harmony; AutoModelForCausalLM.from_pretrained('found', trust_remote_code=True)\n"
    # Where accelerate is installed, DeepSpeed is imported by transformers, and says so on standard output.
    assert capsys.readouterr().out.endswith(told)
    ours = load_tokenizer(next(Path("data").iterdir()))
    theirs = AutoTokenizer.from_pretrained("found", trust_remote_code=True)
    assert theirs("to be, or not").input_ids == ours.encode(b"to be, or not").tolist()
    config = AutoConfig.from_pretrained("found", trust_remote_code=True)
    assert (config.max_position_embeddings, config.vocab_size) == (32, 300)
    with pytest.raises(UserError, match=r"found: it holds .* already; name a new folder, or an empty one"):
        export("mine", Path("found"))

    (row,) = training("results/mine").collect().to_dicts()
    card = Path("found/README.md").read_text()
    for name in ("val_bits_per_byte", "val_loss"):
        assert f"| {name} | {row[name]:.6g} |" in card
    Path("recipe.yaml").write_text(block(card, "yaml", 0))
    Path("architecture.yaml").write_text(block(card, "yaml", 1))
    (command,) = (line for line in block(card, "sh").splitlines() if line.startswith("harmony train"))
    words = command.partition("#")[0].split()[1:]
    again = harmony(*words, "--out", "results/again")
    assert again.returncode == 0, again.stderr
    assert training("results/again").collect()["val_loss"].to_list() == [row["val_loss"]]

    shutil.rmtree("data")
    export("mine", Path("bare"))
    assert "no tokenizer: the data that it was trained on is not there" in capsys.readouterr().out
    assert not Path("bare/tokenizer.json").exists()
    with pytest.raises(UserError, match="its tokenizer is gone with the data that it was trained on"):
        generate("mine")


def test_what_a_model_writes_follows_from_the_seed(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(mine)
    texts = []
    for seed in (1, 1, 2):
        generate("mine", "to be", tokens=40, seed=seed)
        texts.append(capsys.readouterr())
    assert texts[0].out.startswith("to be")
    assert texts[0].out == texts[1].out != texts[2].out
    # What an untrained model draws of bytes has control characters.
    assert all(one.isprintable() or one in "\n\t" for one in texts[0].out)
    assert "longer than what it was trained on" in texts[0].err
    with pytest.raises(UserError, match=r"top_p: 2\.0: use more than 0 and at most 1"):
        generate("mine", "to be", top_p=2.0)


def test_scores_on_own_tasks_are_kept(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="harmony-search[eval] is not installed")
    monkeypatch.chdir(mine)
    Path("tasks").mkdir()
    Path("tasks/words.jsonl").write_text('{"text": "to be, or not to be"}\n')
    Path("tasks/words.yaml").write_text(TASK)
    done = harmony("evaluate", "mine", "--tasks", "tasks")
    assert done.returncode == 0, done.stderr
    (row,) = task_scores("mine").filter(pl.col("metric") == "bits_per_byte").collect().to_dicts()
    assert row["architecture_id"] == population("mine").collect()["architecture_id"].item()
    # What has learnt nothing yet tells a byte in about eight bits.
    assert 6 < row["value"] < 10
    assert f"{row['value']:.4f}" in done.stdout
    refused = harmony("evaluate", "mine", "--tasks", "nowhere")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "tasks: nowhere: no such folder" in refused.stderr


def test_a_promoted_one_is_told_by_its_own_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = MadeUpSearch(tmp_path)
    made.prepare()
    made.breed(0)
    made.promote()
    made.close(None, {0: (2.5, 0.1)})
    monkeypatch.chdir(tmp_path)
    (folder,) = SearchFolder.all()
    (who, *_) = population(folder, promoted=True).collect().iter_rows(named=True)
    folder.weights(who["architecture_id"], who["candidate"], Run()).mkdir(parents=True)
    found = find_trained(who["architecture_id"], None, 0)
    told = found.origin()
    row = training(folder, promoted=True).collect().row(0, named=True)
    assert ("val_bits_per_byte", "2.5", "bits/byte") in told.results
    assert ("init_seed", str(row["init_seed"]), "") in told.results
    again = f"harmony reproduce toy/{who['architecture_id']} --promoted --replicate 0 --rate 0"
    assert told.commands[0].partition("    #")[0] == again
    assert found.context() == made.config.recipe.sequence_length
    tokenizer = found.tokenizer()
    assert tokenizer is not None
    assert tokenizer.kind == "byte"
