import json

import pytest

from harmony_core.errors import UserError
from harmony_core.search.config import Config
from harmony_core.store import SearchFolder, check_unchanged, read_manifest, write_manifest


def test_round_trip(folder: SearchFolder) -> None:
    manifest = read_manifest(folder.manifest)
    assert Config.parse(manifest.config).search.name == "small"
    written = folder.manifest.read_bytes()
    write_manifest(folder.manifest, manifest)
    assert folder.manifest.read_bytes() == written


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 99}', '{"format_version": 1}'])
def test_damage_is_a_user_error(folder: SearchFolder, content: str) -> None:
    folder.manifest.write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json"):
        read_manifest(folder.manifest)


def test_no_manifest_is_a_user_error(folder: SearchFolder) -> None:
    folder.manifest.unlink()
    with pytest.raises(UserError, match="no such file"):
        read_manifest(folder.manifest)


def test_more_generations_another_budget_and_other_workers_are_allowed(folder: SearchFolder) -> None:
    manifest = read_manifest(folder.manifest)
    data = json.loads(json.dumps(manifest.config))
    data["search"]["generations"] = 99
    data["execution"]["workers"] = 7
    data["budget"]["gpu_hours"] = 3.5
    check_unchanged("small", Config.parse(manifest.config).identity(), Config.parse(data).identity())


def test_every_change_is_named_with_both_values(folder: SearchFolder) -> None:
    manifest = read_manifest(folder.manifest)
    data = json.loads(json.dumps(manifest.config))
    data["search"]["seed"] = 5
    data["recipe"]["learning_rate"] = 0.1
    data["search"]["objectives"][1]["target"] = None
    with pytest.raises(UserError) as caught:
        check_unchanged("small", Config.parse(manifest.config).identity(), Config.parse(data).identity())
    text = str(caught.value)
    assert "recipe.learning_rate 0.003 -> 0.1" in text
    assert "search.seed 0 -> 5" in text
    assert "search.objectives [" in text
    assert "search.name" in caught.value.fix
    assert text.count(" -> ") == 3


def test_a_key_that_came_or_went_is_a_change(folder: SearchFolder) -> None:
    identity = Config.parse(read_manifest(folder.manifest).config).identity()
    other = {**identity, "recipe": {**identity["recipe"], "dropout": 0.1}}
    with pytest.raises(UserError, match=r"recipe\.dropout absent -> 0\.1"):
        check_unchanged("small", identity, other)
    with pytest.raises(UserError, match=r"recipe\.dropout 0\.1 -> absent"):
        check_unchanged("small", other, identity)
