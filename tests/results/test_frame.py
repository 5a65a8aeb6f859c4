"""What a hypervolume is measured in: read, chosen, made of a first generation, recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harmony_core.errors import UserError
from harmony_core.evolution.generation import mutate_generation, select_generation
from harmony_core.resources import resource_names
from harmony_core.results.framing import choose_frame, frame_around, read_frame
from harmony_core.search.config import Config
from harmony_core.search.frame import Frame
from harmony_core.store import SearchFolder, read_manifest, write_manifest

Start = Callable[..., SearchFolder]
Measure = Callable[..., None]
NANO = {"space": "nano", "recipe": {"tokens": 196608, "batch_size": 8}}


def loss(frame: Frame) -> tuple[float, float]:
    return frame.ideal["val_bits_per_byte"], frame.reference["val_bits_per_byte"]


@pytest.mark.parametrize("name", resource_names("frames"))
def test_a_frame_of_ours_is_sound_and_its_scale_exists(name: str) -> None:
    frame = Frame.read(name)
    assert frame.scale is not None
    frame.require([objective.name for objective in Config().search.objectives], name)
    Config.parse({"search": {"hypervolume": name}, "space": frame.scale.space}).check_names()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ideal": {"val_bits_per_byte": 2.0}}, r"ideal: num_params: give each metric in ideal and in reference"),
        ({"ideal": {"val_bits_per_byte": 4.0, "num_params": 1}}, r"ideal.val_bits_per_byte: 4.0: must be below"),
        ({"ideal": {"val_bits_per_byte": 2.0, "num_params": 0}}, r"ideal.num_params: 0.0: must be positive"),
        ({"log": ["colour"]}, r"log.colour: colour: unknown metric; use val_bits_per_byte, "),
        ({"nadir": {}}, r"nadir: \{\}: unknown key"),
    ],
)
def test_a_wrong_frame_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    points = {
        "ideal": {"val_bits_per_byte": 2.0, "num_params": 1},
        "reference": {"val_bits_per_byte": 3, "num_params": 9},
    }
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({**points, "log": ["num_params"], **change}))
    with pytest.raises(UserError, match=rf"wrong\.yaml\.{said}"):
        Frame.read(path)


def test_names_and_lacking_objectives_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"search.hypervolume: nanno: no such name; did you mean 'nano'\?"):
        Config.parse({"search": {"hypervolume": "nanno"}}).check_names()
    path = tmp_path / "loss.yaml"
    path.write_text("{ideal: {val_bits_per_byte: 1}, reference: {val_bits_per_byte: 2}}")
    with pytest.raises(UserError, match=r"search.hypervolume: .*loss.yaml: this frame has no latency_seconds"):
        Config.parse({"search": {"hypervolume": str(path)}}).check_names()


def test_a_pilots_frame_is_taken_for_its_scale_alone() -> None:
    config = Config.parse(NANO)
    frame = choose_frame(config, "shakespeare", 0.5)
    assert frame is not None
    pilot = Frame.read("nano")
    assert frame.reference["latency_seconds"] == 0.5 * pilot.reference["latency_seconds"]
    assert frame.ideal["latency_seconds"] == 0.5 * pilot.ideal["latency_seconds"]
    assert frame.reference["num_params"] == pilot.reference["num_params"]
    # A search's space is there in full.
    assert choose_frame(config.resolved(), "shakespeare", 0.5) == frame
    assert choose_frame(config, "installed-python", 0.5) is None
    more = {**NANO, "recipe": {"tokens": 800_000, "batch_size": 8}}
    assert choose_frame(Config.parse(more), "shakespeare", 0.5) is None
    assert choose_frame(Config.parse({**NANO, "space": "harmony"}), "shakespeare", 0.5) is None
    named = Config.parse({**more, "search": {"hypervolume": "nano"}})
    assert choose_frame(named, "installed-python", 0.5) == frame


def test_the_demo_is_measured_in_its_pilots_frame() -> None:
    demo = Config.from_yaml(Path(__file__).parents[2] / "config" / "nano.yaml")
    assert choose_frame(demo, demo.data.source, 1.0) is not None


def test_a_first_generation_by_hand() -> None:
    rows = [
        {"val_bits_per_byte": bits, "latency_seconds": seconds, "kv_bytes_per_token": kv}
        for bits, seconds, kv in ((2.0, 0.04, 0), (2.3, 0.01, 512), (7.9, 0.02, 128))
    ]
    frame = frame_around(rows, "here")
    # The median is 0.3 above the best.
    assert loss(frame) == pytest.approx((1.4, 2.3))
    assert (frame.ideal["latency_seconds"], frame.reference["latency_seconds"]) == (0.005, 0.08)
    assert (frame.ideal["kv_bytes_per_token"], frame.reference["kv_bytes_per_token"]) == (64, 1024)
    assert set(frame.log) == {"latency_seconds", "kv_bytes_per_token"}


@pytest.mark.parametrize(
    ("losses", "expected"),
    [((2.0,), (1.6, 2.2)), ((2.0, 2.0, 2.0), (1.6, 2.2)), ((2.0, 8.0, 8.0), (1.2, 2.4)), ((0.0, 0.0), (-0.2, 0.1))],
    ids=["one", "equal", "most did not learn", "nought"],
)
def test_a_generation_that_tells_little_still_makes_a_frame(
    losses: tuple[float, ...], expected: tuple[float, float]
) -> None:
    rows = [{"val_bits_per_byte": bits, "state_bytes": 0, "latency_seconds": None} for bits in losses]
    frame = frame_around(rows, "here")
    assert loss(frame) == pytest.approx(expected)
    # A cost that nobody has; one that was not measured is left out.
    assert (frame.ideal["state_bytes"], frame.reference["state_bytes"]) == (0.5, 2.0)
    assert "latency_seconds" not in frame.ideal


def test_the_first_generation_that_ends_well_makes_the_frame_once(start: Start, measure: Measure) -> None:
    folder = start(framed=False)
    volumes = []
    for generation in range(4):
        mutate_generation(folder, generation)
        measure(folder, generation, fail=generation == 0)
        volumes.append(select_generation(folder, generation).hypervolume)
        if generation == 0:
            assert not folder.frame.exists()
        if generation == 1:
            made = folder.frame.read_bytes()
    assert volumes[0] == 0.0
    assert 0 < volumes[1] <= volumes[2] <= volumes[3] < 1
    assert volumes[3] > volumes[1]
    assert folder.frame.read_bytes() == made
    frame = read_frame(folder, read_manifest(folder.manifest))
    assert frame is not None
    assert frame.origin == "generation 1 of search toy"
    # A lost file is made again of the rows, by whichever selection comes next.
    folder.frame.unlink()
    select_generation(folder, 3)
    assert folder.frame.read_bytes() == made


def test_another_search_can_share_it(start: Start, measure: Measure) -> None:
    folder = start(framed=False)
    mutate_generation(folder, 0)
    measure(folder, 0)
    select_generation(folder, 0)
    config = Config.parse({"search": {"hypervolume": str(folder.frame)}})
    assert choose_frame(config, "synthetic", 9.0) == Frame.from_file(folder.frame)
    # Where the latency of the reference architecture is known, seconds of one machine become those of another.
    manifest = read_manifest(folder.manifest)
    in_seconds = read_frame(folder, manifest)
    write_manifest(folder.manifest, manifest.model_copy(update={"reference_latency": {"prefill": 0.5}}))
    select_generation(folder, 0)
    there = choose_frame(config, "synthetic", 9.0)
    assert there is not None
    assert in_seconds is not None
    for point, other in ((there.ideal, in_seconds.ideal), (there.reference, in_seconds.reference)):
        assert point["latency_seconds"] == pytest.approx(18 * other["latency_seconds"])
        assert point["val_bits_per_byte"] == other["val_bits_per_byte"]
    here = read_frame(folder, read_manifest(folder.manifest))
    assert here is not None
    assert here.reference["latency_seconds"] == pytest.approx(in_seconds.reference["latency_seconds"])


def test_a_frame_as_searches_had_it_before_is_read(start: Start) -> None:
    """Ideal 0 for all, a reference, no scales: every metric linear."""
    folder = start()
    text = folder.manifest.read_text()
    assert '"log"' in text
    frame = read_frame(folder, read_manifest(folder.manifest))
    assert frame is not None
    old = {"ideal": frame.ideal, "reference": frame.reference}
    assert Frame.parse(old) == frame
