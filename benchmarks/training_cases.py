"""What `train_step.py` trains: the networks of each case, and one full step of ours and of the plain reference."""

from __future__ import annotations

from collections.abc import Callable

CASES = {
    "outline-16": "level 1 of hvg-mini, 24/16x16",
    "outline-32": "level 1, 12/32x32",
    "upsampler-64": "level 2, window 6 -> 12, 64x64",
    "upsampler-128": "level 2, window 6 -> 12, 128x128",
    "one-stage-128": "DVD-GAN, 12/128x128",
}
UPDATES = 3  # of a step: two of the discriminators, one of the generator


def case_config(name: str):  # type: ignore[no-untyped-def]
    """`(ModelConfig, level)` of a case: the papers' networks at an eighth of their widths or less (ch 16)."""
    from dataclasses import replace

    from hvgcli.config import DiscriminatorConfig, LevelConfig, ModelConfig
    from hvgcli.presets import PRESETS

    def widths(resolution: int) -> DiscriminatorConfig:
        return DiscriminatorConfig(16, (2, 4, 8, 16, 16) if resolution <= 32 else (1, 2, 4, 8, 16, 16))

    def level(resolution: int, stride: int, *, upper: bool) -> LevelConfig:
        multipliers = (8, 8, 4, 2, 1)[: max(4, resolution.bit_length() - 3)]
        d = widths(resolution)
        return LevelConfig(12, resolution, stride, 16, multipliers, d, d, widths(32) if upper else None, 16, 16)

    if name == "outline-16":
        return PRESETS["hvg-mini"].model, 1
    if name == "paper-128":
        return PRESETS["hvg-kinetics600-48x128"].model, 2
    if name.startswith("one-stage"):
        model = PRESETS[f"dvd-gan-12x{name.rpartition('-')[2]}"].model
        narrow = replace(model.levels[0].discriminator, channels=16)
        changes = {"channels": 16, "discriminator": narrow, "z_dim": 16, "embed_dim": 16}
        return replace(model, levels=(replace(model.levels[0], **changes),)), 1
    if name.startswith("upsampler"):
        resolution = int(name.rpartition("-")[2])
        return ModelConfig(name, (level(32, 4, upper=False), level(resolution, 2, upper=True))), 2
    resolution = int(name.rpartition("-")[2])
    return ModelConfig(name, (level(resolution, 2, upper=False),)), 1


def make_training(config, level: int, precision: str, batch: int, device: str):  # type: ignore[no-untyped-def]
    """A `LevelTraining` with HVG's numbers and no training aids."""
    import torch

    from hvgcli.config import TrainingConfig
    from hvgcli.training.level import LevelTraining

    torch.manual_seed(0)
    training = TrainingConfig(steps=1000, batch_size=batch, precision=precision)
    return LevelTraining(config, level, training, torch.device(device))


def make_batch(config, level: int, batch: int, device: str):  # type: ignore[no-untyped-def]
    """A `LevelBatch` of noise videos in our memory order."""
    import torch

    from hvgcli.training.distributed import Share
    from hvgcli.training.level import LevelBatch

    def video(frames: int, size: int) -> torch.Tensor:
        return (2 * torch.rand(batch, frames, size, size, 3, device=device) - 1).permute(0, 1, 4, 2, 3)

    spec = config.levels[level - 1]
    labels = torch.randint(config.num_classes, (batch,), device=device) if config.conditional else None
    low, fake_low = None, None
    if level > 1:
        shape = spec.frames // config.times_time(level), config.levels[level - 2].resolution
        low, fake_low = video(*shape), video(*shape)
    return LevelBatch(video(spec.frames, spec.resolution), labels, low, fake_low, labels, Share.whole(batch))


def our_step(name: str, side: str, batch: int, device: str) -> Callable[[int], None]:
    """One full step of ours, as a function of its number."""
    from hvgcli.training.level import discriminator_update, generator_update

    config, number = case_config(name)
    level = make_training(config, number, "fp32" if side == "fp32" else "bf16", batch, device)
    if side == "compiled":
        level.generator.compile()
        level.discriminator.compile()
    videos = [make_batch(config, number, batch, device)]

    def step(index: int) -> None:
        for update in range(UPDATES - 1):
            discriminator_update(level, videos, index, update)
        generator_update(level, videos, index)

    return step


def plain_step(name: str, batch: int, device: str) -> Callable[[int], None]:
    """One full step of the plain reference."""
    import torch
    from plain_training import PlainTraining

    config, number = case_config(name)
    level = make_training(config, number, "fp32", batch, device)
    reference = PlainTraining(level.generator, level.discriminator, level.training_config)
    videos = make_batch(config, number, batch, device)
    low, fake_low = (None if part is None else part.contiguous() for part in (videos.low, videos.fake_low))
    real = videos.video.contiguous(), videos.labels, low
    z_dim = config.levels[number - 1].z_dim

    def step(index: int) -> None:
        for _ in range(UPDATES - 1):
            reference.discriminator_update(real, torch.randn(batch, z_dim, device=device), videos.labels, fake_low)
        reference.generator_update(torch.randn(batch, z_dim, device=device), videos.labels, fake_low)

    return step
