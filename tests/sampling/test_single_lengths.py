"""Standing statistics of hp-VAE-GAN for other lengths: what they are, when they are used, and that they are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from single_models import make_single_model
from small_single import small_config
from torch import Tensor

from hvgcli.layers.volume import EPS, VolumeNorm
from hvgcli.sampling import single_lengths
from hvgcli.sampling.single import SeedNoise, Single, generate, load_single, random_path
from hvgcli.sampling.single_blocks import Blockwise
from hvgcli.sampling.single_lengths import attach, is_kept, measure, passes_for, path_of, sizes_for, steps

FRAMES = 9  # the model has those of 5


def silent(_: str) -> None:
    """No one is warned."""


@pytest.fixture
def single(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Single:
    monkeypatch.setenv("HVG_CACHE", str(tmp_path / "cache"))
    return load_single(make_single_model(tmp_path / "model"))


def moments(single: Single) -> list[Tensor]:
    norms = [part for part in single.network.modules() if isinstance(part, VolumeNorm)]
    return [tensor.clone() for norm in norms for tensor in (norm.mean, norm.var)]


def differ(a: list[Tensor], b: list[Tensor]) -> bool:
    return any(not torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_scale_has_the_moments_of_random_samples_of_that_length(single: Single) -> None:
    """Of the last scale's first norm: its convolution sees the output of the scales below."""
    measure(single, FRAMES, warn=silent)
    sizes = sizes_for(single.config, FRAMES)
    blockwise = single.network.generators[3]
    assert isinstance(blockwise, Blockwise)
    generator = blockwise.generator
    conv, norm = generator.convs[0], generator.norms[0]
    assert isinstance(norm, VolumeNorm)
    seen: list[Tensor] = []
    hook = conv.register_forward_hook(lambda module, args, y: seen.append(y.double()))
    with torch.no_grad():
        for number in range(passes_for(sizes)[3]):
            noise = SeedNoise([f"length {number}"], single.network.latent, single.device)
            random_path(single.network, noise, sizes, 4)
    hook.remove()
    values = torch.cat(seen).transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.mean.double(), values.mean(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(norm.var.double(), values.var(1, correction=0), atol=EPS, rtol=1e-4)
    assert not norm.training


def test_kept_statistics_make_the_same_video_at_any_precision(single: Single, tmp_path: Path) -> None:
    calls: list[int] = []
    measure(single, FRAMES, warn=silent, progress=calls.append)
    assert sum(calls) == steps(single.config, FRAMES)
    again, half = load_single(tmp_path / "model"), load_single(tmp_path / "model", half=True)
    before = moments(again)
    assert attach(again, FRAMES, warn=silent)
    assert differ(moments(again), before)
    assert torch.equal(generate(again, [1], frames=FRAMES), generate(single, [1], frames=FRAMES))
    (kept,) = (tmp_path / "cache").rglob("*.safetensors")
    kept.unlink()
    measure(half, FRAMES, warn=silent)
    assert not differ(moments(half), moments(again))


def test_statistics_of_another_measure_are_not_used(
    single: Single, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> tuple[bool, bool, list[str]]:
        told: list[str] = []
        again = load_single(tmp_path / "model")
        return is_kept(again.sha, again.config, FRAMES), attach(again, FRAMES, warn=told.append), told

    measure(single, FRAMES, warn=silent)
    kept = path_of(single.sha, FRAMES)
    assert found() == (True, True, [])
    monkeypatch.setattr(single_lengths, "MEASURE", single_lengths.MEASURE + 1)
    assert found() == (False, False, [])
    kept.rename(path_of(single.sha, FRAMES))
    _, used, (warning,) = found()
    assert not used
    assert "is of another model, length or measure" in warning


def test_a_length_without_statistics_changes_nothing(single: Single) -> None:
    before = moments(single)
    assert not attach(single, FRAMES, warn=silent)
    assert not differ(moments(single), before)


@pytest.mark.parametrize("kept", [False, True])
def test_the_own_length_has_its_own_statistics_after_another_one(single: Single, kept: bool, tmp_path: Path) -> None:
    before, frames = moments(single), small_config().frames
    measure(single, FRAMES, warn=silent)
    if kept:
        single = load_single(tmp_path / "model")
        assert attach(single, FRAMES, warn=silent)
    measure(single, FRAMES + 2, warn=silent)
    assert differ(moments(single), before)
    assert attach(single, frames, warn=silent)
    assert not differ(moments(single), before)
