"""One level in training: its networks and optimizers, and the two updates of a step (HVG section 2, eq. 2, 3)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hvgcli.config import ModelConfig, ReconstructionConfig, TrainingConfig
from hvgcli.layers.weights import power_iterate
from hvgcli.models import build_discriminator, build_generator
from hvgcli.models.discriminators import choose_frames
from hvgcli.models.encoder import ClipEncoder
from hvgcli.sampling.noise import seeded
from hvgcli.training import losses

Metrics = dict[str, float]


@dataclass(frozen=True)
class LevelBatch:
    """What one update sees. Videos are `(B, T, 3, D, D)` in [-1, 1], labels `(B,)` or None."""

    video: Tensor
    """Real x^l."""
    labels: Tensor | None
    low: Tensor | None
    """Real x^{l-1} = f_s(f_t(x^l)); None at level 1."""
    fake_low: Tensor | None
    """Generated x^{l-1} from the frozen levels below; None at level 1."""
    fake_labels: Tensor | None
    """Classes of the generated videos."""


class LevelTraining(nn.Module):
    """Generator, discriminators and optimizers of level `level`, with the training aids of its config."""

    def __init__(
        self, config: ModelConfig, level: int, training: TrainingConfig, device: torch.device, seed: int = 0
    ) -> None:
        super().__init__()
        self.config, self.level, self.training_config, self.device = config, level, training, device
        self.seed = seed
        self.generator = build_generator(config, level).to(device)
        self.discriminator = build_discriminator(config, level).to(device)
        aid = training.reconstruction
        spec = config.levels[level - 1]
        self.encoder = ClipEncoder(spec, config.num_classes).to(device) if aid and level == 1 else None
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if training.ema else None
        betas = (training.beta1, training.beta2)
        trained = [*self.generator.parameters(), *(self.encoder.parameters() if self.encoder else ())]
        self.optimizers = {
            "generator": torch.optim.Adam(trained, training.lr_generator, betas),
            "discriminator": torch.optim.Adam(self.discriminator.parameters(), training.lr_discriminator, betas),
        }

    @property
    def sampler(self) -> nn.Module:
        """The generator to sample from: the moving average where there is one."""
        return self.average or self.generator

    def adversarial(self, step: int) -> bool:
        """Whether the discriminators take part in step `step`."""
        aid = self.training_config.reconstruction
        return aid is None or step >= aid.steps

    def set_learning_rate(self, step: int) -> None:
        """The generator's learning rate of step `step`: the aid's own while it is alone."""
        aid = self.training_config.reconstruction
        alone = aid is not None and not self.adversarial(step)
        for group in self.optimizers["generator"].param_groups:
            group["lr"] = aid.lr if alone else self.training_config.lr_generator  # type: ignore[union-attr]

    def autocast(self) -> AbstractContextManager[object]:
        enabled = self.training_config.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def noise(self, step: int, use: str, batch: int) -> Tensor:
        """Standard normal z `(batch, z_dim)` that depends on the run's seed, the step and its use only."""
        z_dim = self.config.levels[self.level - 1].z_dim
        return torch.randn(batch, z_dim, generator=seeded("train-z", self.seed, self.level, step, use)).to(self.device)

    def generate(self, z: Tensor, labels: Tensor | None, low: Tensor | None) -> Tensor:
        """G_l(z, y, x^{l-1}) with the statistics of this batch."""
        return self.generator(z, labels) if low is None else self.generator(low, z, labels)

    def score(self, video: Tensor, labels: Tensor | None, low: Tensor | None, key: tuple[int | str, ...]) -> Tensor:
        """All discriminator scores `(B, S)`; `key` chooses the frames of the spatial one."""
        chooser = seeded("frames", self.seed, self.level, *key)
        frames = choose_frames(video, self.training_config.spatial_frames, chooser)
        return self.discriminator(video, frames, labels, low)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def discriminator_update(level: LevelTraining, batch: LevelBatch, step: int, number: int) -> Metrics:
    """One update of all discriminators of the level; `number` counts the updates within a step."""
    power_iterate(level.discriminator)
    with level.autocast():
        with torch.no_grad():
            z = level.noise(step, f"discriminator {number}", len(batch.video))
            fake = level.generate(z, batch.fake_labels, batch.fake_low)
        with parametrize.cached():
            real_scores = level.score(batch.video, batch.labels, batch.low, (step, number, "real"))
            fake_scores = level.score(fake, batch.fake_labels, batch.fake_low, (step, number, "fake"))
            loss = losses.geometric_hinge_discriminator(real_scores, fake_scores)
            _apply(level, "discriminator", loss)
    return {"loss_d": loss.item(), "score_real": real_scores.mean().item(), "score_fake": fake_scores.mean().item()}


def generator_update(level: LevelTraining, batch: LevelBatch, step: int) -> Metrics:
    """One update of the generator: adversarial, and reconstruction where the config has that aid."""
    power_iterate(level.generator)
    level.set_learning_rate(step)
    metrics: Metrics = {}
    loss = torch.zeros((), device=level.device)
    with level.autocast(), _frozen(level.discriminator), parametrize.cached():
        aid = level.training_config.reconstruction
        if level.adversarial(step):
            fake = level.generate(level.noise(step, "generator", len(batch.video)), batch.fake_labels, batch.fake_low)
            scores = level.score(fake, batch.fake_labels, batch.fake_low, (step, "generator"))
            adversarial = losses.geometric_hinge_generator(scores)
            metrics["loss_g"] = adversarial.item()
            loss = loss + level.training_config.adversarial_weight * adversarial
        if aid is not None:
            error, parts = _reconstruct(level, batch, step)
            metrics |= parts
            loss = loss + (aid.weight if level.adversarial(step) else 1.0) * error
        _apply(level, "generator", loss)
    if level.average is not None:
        _update_average(level, step)
    return metrics


def _apply(level: LevelTraining, name: str, loss: Tensor) -> None:
    optimizer = level.optimizers[name]
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(level.device.type, enabled=False):
        loss.backward()
    optimizer.step()


def _reconstruct(level: LevelTraining, batch: LevelBatch, step: int) -> tuple[Tensor, Metrics]:
    """Error of the real clip made again from its code (level 1) or from its real x^{l-1} (above)."""
    aid = level.training_config.reconstruction
    assert aid is not None
    if level.encoder is None:
        assert batch.low is not None
        low = _disturb(batch.low, level.training_config.condition_noise, seeded("disturb", level.seed, step))
        output = level.generate(level.noise(step, "reconstruction", len(low)), batch.labels, low)
        return _error(output, batch.video, aid)
    mean, log_var = level.encoder(batch.video, batch.labels)
    z = losses.sample_code(mean, log_var, seeded("code", level.seed, step))
    error, metrics = _error(level.generate(z, batch.labels, None), batch.video, aid)
    kl = losses.gaussian_kl(mean, log_var)
    return error + aid.capacity_weight * losses.capacity(kl, aid.nats), metrics | {"kl": kl.mean().item()}


def _error(output: Tensor, target: Tensor, aid: ReconstructionConfig) -> tuple[Tensor, Metrics]:
    """Error of the frames and, weighted, of the motion between them."""
    frames, motion = losses.reconstruction_error(output, target), losses.motion_error(output, target)
    return frames + aid.motion_weight * motion, {"reconstruction": frames.item(), "motion": motion.item()}


def _disturb(low: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """Add noise of a random strength up to `largest` a clip: generated conditions are not clean either."""
    if largest == 0:
        return low
    strength = largest * torch.rand(len(low), 1, 1, 1, 1, generator=generator)
    return low + (strength * torch.randn(low.shape, generator=generator)).to(low.device)


@torch.no_grad()
def _update_average(level: LevelTraining, step: int) -> None:
    """EMA of the weights; buffers (singular vectors) are copied. Early on the average is shorter."""
    assert level.average is not None
    decay = min(level.training_config.ema, (1 + step) / (10 + step))
    for mean, value in zip(level.average.parameters(), level.generator.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)
    for mean, value in zip(level.average.buffers(), level.generator.buffers(), strict=True):
        mean.copy_(value)
