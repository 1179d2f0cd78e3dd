"""One level in training: its networks and optimizers, and the two updates of a step (HVG section 2, eq. 2, 3).

An update sees its batch in parts, one after the other, each spread over the processes of the run: its
gradient is that of the mean over all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hvgcli.config import ModelConfig, ReconstructionConfig, TrainingConfig
from hvgcli.layers.layout import join_time
from hvgcli.layers.norm import synchronised
from hvgcli.layers.weights import power_iterate
from hvgcli.models import build_discriminator, build_generator
from hvgcli.models.encoder import build_clip_encoder
from hvgcli.sampling.noise import seeded
from hvgcli.training import judging, losses
from hvgcli.training.augment import DRAWS, augment
from hvgcli.training.distributed import ALONE, AveragedLoss, Share, World

Metrics = dict[str, float]
Told = dict[str, Tensor]
"""Metrics of one part, `()` each, not yet read from the device."""


@dataclass(frozen=True)
class LevelBatch:
    """What one part of an update sees. Videos are `(B, T, 3, D, D)` in [-1, 1], labels `(B,)` or None."""

    video: Tensor
    """Real x^l."""
    labels: Tensor | None
    low: Tensor | None
    """Real x^{l-1} = f_s(f_t(x^l)), or the context `(B, C, 3, D, D)` of a predictor; None at level 1."""
    fake_low: Tensor | None
    """Generated x^{l-1} from the frozen levels below, or a predictor's context; None at level 1."""
    fake_labels: Tensor | None
    """Classes of the generated videos."""
    share: Share
    """Which B samples of the whole batch these are."""

    def to(self, dtype: torch.dtype) -> LevelBatch:
        """The same videos as numbers of type `dtype`."""
        low, fake_low = (None if video is None else video.to(dtype) for video in (self.low, self.fake_low))
        return replace(self, video=self.video.to(dtype), low=low, fake_low=fake_low)


class LevelTraining(nn.Module):
    """Generator, discriminators and optimizers of level `level`, with the training aids of its config."""

    def __init__(
        self,
        config: ModelConfig,
        level: int,
        training: TrainingConfig,
        device: torch.device,
        seed: int = 0,
        world: World = ALONE,
    ) -> None:
        super().__init__()
        self.config, self.level, self.training_config, self.device = config, level, training, device
        self.seed, self.world = seed, world
        self._losses: dict[str, AveragedLoss] = {}
        self.generator = build_generator(config, level).to(device)
        self.discriminator = build_discriminator(config, level).to(device)
        aid = training.reconstruction
        spec = config.levels[level - 1]
        self.encoder = build_clip_encoder(spec, config.num_classes).to(device) if aid and level == 1 else None
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if training.ema else None
        betas = (training.beta1, training.beta2)
        trained = [*self.generator.parameters(), *(self.encoder.parameters() if self.encoder else ())]
        self.optimizers = {
            "generator": torch.optim.Adam(trained, training.lr_generator, betas),
            "discriminator": torch.optim.Adam(self.discriminator.parameters(), training.lr_discriminator, betas),
        }

    @property
    def coded(self) -> bool:
        """Whether videos are made of the codes of clips only: a prior of codes is fitted when training is over."""
        return self.config.levels[self.level - 1].code_components > 0

    @property
    def judges_reconstructions(self) -> bool:
        """Whether what the discriminators judge are real clips made again, from their codes or their x^{l-1}."""
        aid = self.training_config.reconstruction
        return self.coded or (aid is not None and aid.judged)

    @property
    def sampler(self) -> nn.Module:
        """The generator to sample from: the moving average where there is one."""
        return self.average or self.generator

    def adversarial(self, step: int) -> bool:
        """Whether the discriminators take part in step `step`; in the last part of a training (`standing`) always."""
        return step >= self.training_config.steps_alone

    def set_learning_rate(self, step: int) -> None:
        """The generator's learning rate of step `step`: the aid's own while it is alone."""
        aid = self.training_config.reconstruction
        alone = aid is not None and not self.adversarial(step)
        for group in self.optimizers["generator"].param_groups:
            group["lr"] = aid.lr if alone else self.training_config.lr_generator  # type: ignore[union-attr]

    def autocast(self) -> AbstractContextManager[object]:
        enabled = self.training_config.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    @property
    def dtype(self) -> torch.dtype:
        """What the parameters, and so noise and videos, are held in: float32, unless all was made `.double()`."""
        return next(self.generator.parameters()).dtype

    def averaged(self, name: str) -> AveragedLoss:
        """The loss that optimizer `name` lowers.

        Made at the first use, by all processes together: when weights are loaded and in their final type.
        """
        if name not in self._losses:
            if name == "discriminator":
                self._losses[name] = AveragedLoss(discriminator_loss, [self.discriminator], self.world)
            else:
                trained = [self.generator, *([self.encoder] if self.encoder else [])]
                self._losses[name] = AveragedLoss(generator_loss, trained, self.world)
        return self._losses[name]

    def noise(self, step: int, use: str, batch: int) -> Tensor:
        """Standard normal z `(batch, z_dim)` that depends on the run's seed, the step and its use only."""
        z_dim = self.config.levels[self.level - 1].z_dim
        z = torch.randn(batch, z_dim, generator=seeded("train-z", self.seed, self.level, step, use))
        return z.to(self.device, self.dtype)

    def encode(self, batch: LevelBatch, *use: int | str) -> tuple[Tensor, Tensor, Tensor]:
        """A code `(B, z_dim)` of each clip, drawn for this use, and the mean and log-variance that it is drawn from.

        A predictor's encoder sees the context before the clip.
        """
        assert self.encoder is not None
        clip = batch.video if batch.low is None else join_time(batch.low, batch.video)
        mean, log_var = self.encoder(clip, batch.labels)
        noise = torch.randn(batch.share.total, mean.shape[1], generator=seeded("code", self.seed, *use))
        return losses.sample_code(mean, log_var, batch.share.of(noise).to(mean)), mean, log_var

    def generate(self, z: Tensor, labels: Tensor | None, low: Tensor | None) -> Tensor:
        """G_l(z, y, x^{l-1}) with the statistics of this batch, or fixed ones (`standing`)."""
        return self.generator(z, labels) if low is None else self.generator(low, z, labels)

    def score(
        self, video: Tensor, labels: Tensor | None, low: Tensor | None, key: tuple[int | str, ...], share: Share
    ) -> judging.Scores:
        """All discriminators' scores of this share; `key` chooses augmentations, single frames and crops.

        Real and generated videos are augmented alike, and with gradient (Zhao et al. 2020).
        """
        kinds = self.training_config.augment
        if kinds:
            draws = torch.rand(share.total, DRAWS, generator=seeded("augment", self.seed, self.level, *key))
            video, low = augment(video, low, kinds, share.of(draws).to(video))
        count = judging.frames_wanted(self.discriminator, self.training_config.spatial_frames)
        frames = judging.draw_frames(video, count, seeded("frames", self.seed, self.level, *key), share)
        places = judging.draw_places(seeded("places", self.seed, self.level, *key), share)
        return judging.judge(self.discriminator, self.config, video, frames, labels, low, places, self.world)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def discriminator_update(level: LevelTraining, batches: Sequence[LevelBatch], step: int, number: int) -> Metrics:
    """One update of all discriminators of the level; `number` counts the updates within a step.

    `batches` are this process's parts. The metrics are means over parts and processes.
    """
    power_iterate(level.discriminator)
    return _update(level, "discriminator", batches, step, number)


def generator_update(level: LevelTraining, batches: Sequence[LevelBatch], step: int) -> Metrics:
    """One update of the generator: adversarial, and reconstruction where the config has that aid.

    `batches` are this process's parts. The metrics are means over parts and processes.
    """
    power_iterate(level.generator)
    level.set_learning_rate(step)
    with _frozen(level.discriminator):
        metrics = _update(level, "generator", batches, step)
    if level.average is not None:
        _update_average(level, step)
    return metrics


def _update(level: LevelTraining, name: str, batches: Sequence[LevelBatch], *when: int) -> Metrics:
    """A step of optimizer `name` down the mean of its loss over parts and processes."""
    optimizer, loss = level.optimizers[name], level.averaged(name)
    optimizer.zero_grad(set_to_none=True)
    told: list[Told] = []
    with synchronised(level.generator, level.world.group):
        for number, batch in enumerate(batches, start=1):
            with level.autocast(), parametrize.cached(), loss.part(last=number == len(batches)):
                value, metrics = loss(level, batch.to(level.dtype), *when)
                with torch.autocast(level.device.type, enabled=False):
                    (value / len(batches)).backward()
            told.append(metrics)
    optimizer.step()
    return level.world.mean(_mean(told))


def _mean(told: Sequence[Told]) -> Metrics:
    """Metrics of equal parts as those of the whole; each part is read from the device once."""
    values = zip(*(torch.stack(list(part.values())).tolist() for part in told), strict=True)
    return {key: sum(parts) / len(parts) for key, parts in zip(told[0], values, strict=True)}


def discriminator_loss(level: LevelTraining, batch: LevelBatch, step: int, number: int) -> tuple[Tensor, Told]:
    """Geometric hinge on the scores of real and of newly generated videos (HVG appendix B)."""
    with torch.no_grad():
        if level.judges_reconstructions:
            fake, labels, low = _make_again(level, batch, step, number)[0], batch.labels, batch.low
        else:
            fake, labels, low = _make_up(level, batch, step, f"discriminator {number}")
    real_scores = level.score(batch.video, batch.labels, batch.low, (step, number, "real"), batch.share)
    fake_scores = level.score(fake, labels, low, (step, number, "fake"), batch.share)
    loss = judging.discriminator_hinge(real_scores, fake_scores)
    told = {
        "loss_d": loss,
        "score_real": judging.mean_score(real_scores),
        "score_fake": judging.mean_score(fake_scores),
    }
    return loss, {key: value.detach() for key, value in told.items()}


def generator_loss(level: LevelTraining, batch: LevelBatch, step: int) -> tuple[Tensor, Told]:
    """Adversarial and reconstruction loss, weighted; each where it takes part in step `step`."""
    told: Told = {}
    loss = torch.zeros((), device=level.device)
    aid = level.training_config.reconstruction
    if aid is not None:
        again, error, told = _reconstruct(level, batch, step, aid)
        loss = loss + (aid.weight if level.adversarial(step) else 1.0) * error
    if level.adversarial(step):
        if level.judges_reconstructions:
            fake, labels, low = again, batch.labels, batch.low
        else:
            fake, labels, low = _make_up(level, batch, step, "generator")
        scores = level.score(fake, labels, low, (step, "generator"), batch.share)
        adversarial = judging.generator_hinge(scores)
        told["loss_g"] = adversarial.detach()
        loss = loss + level.training_config.adversarial_weight * adversarial
    if level.training_config.orthogonal_penalty:
        penalty = losses.orthogonal_penalty(weight_matrices(level.generator))
        loss = loss + level.training_config.orthogonal_penalty * penalty
    return loss, told


def weight_matrices(module: nn.Module) -> Iterator[Tensor]:
    """Every weight of linear and convolution layers before spectral norm; embeddings are left out, as in BigGAN."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
            normalised = parametrize.is_parametrized(layer, "weight")
            yield layer.parametrizations["weight"].original if normalised else layer.weight  # type: ignore[index, union-attr, misc]


def _make_up(
    level: LevelTraining, batch: LevelBatch, step: int, use: str
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Videos of N(0, I) and generated conditions, with their classes and conditions."""
    z = batch.share.of(level.noise(step, use, batch.share.total))
    labels, low = batch.fake_labels, batch.fake_low
    return level.generate(z, labels, low), labels, low


def _make_again(level: LevelTraining, batch: LevelBatch, *use: int) -> tuple[Tensor, Tensor | None]:
    """The real clip made again, and the KL `(B,)` of the code that it is made of.

    From its code (level 1, one-stage), or from its real x^{l-1} (above), where there is no KL. A predictor gets the
    context beside the code, which then has to tell only what the context leaves open. `use` chooses the noise.
    """
    share = batch.share
    if level.encoder is None:
        assert batch.low is not None
        noise = seeded("disturb", level.seed, *use)
        low = _disturb(batch.low, level.training_config.condition_noise, noise, share)
        z = share.of(level.noise(use[0], " ".join(("reconstruction", *map(str, use[1:]))), share.total))
        return level.generate(z, batch.labels, low), None
    z, mean, log_var = level.encode(batch, *use)
    return level.generate(z, batch.labels, batch.low), losses.gaussian_kl(mean, log_var)


def _reconstruct(
    level: LevelTraining, batch: LevelBatch, step: int, aid: ReconstructionConfig
) -> tuple[Tensor, Tensor, Told]:
    """The real clip made again, and its error.

    The mean KL is that over all processes. Over the parts of an accumulated batch it is each part's own, as
    its batch statistics are, so that no part needs to be computed twice.
    """
    again, divergence = _make_again(level, batch, step)
    error, told = _error(again, batch.video, aid)
    if divergence is None:
        return again, error, told
    kl = level.world.average(divergence.mean())
    return again, error + aid.capacity_weight * losses.capacity(kl, aid.nats), told | {"kl": kl.detach()}


def _error(output: Tensor, target: Tensor, aid: ReconstructionConfig) -> tuple[Tensor, Told]:
    """Error of the frames and, weighted, of the motion between them and of their structure functions."""
    frames, motion = losses.reconstruction_error(output, target), losses.motion_error(output, target)
    error, told = frames + aid.motion_weight * motion, {"reconstruction": frames.detach(), "motion": motion.detach()}
    if aid.structure_weight:
        structure = losses.structure_error(output, target)
        error, told = error + aid.structure_weight * structure, told | {"structure": structure.detach()}
    return error, told


def _disturb(low: Tensor, largest: float, generator: torch.Generator, share: Share) -> Tensor:
    """Add noise of a random strength up to `largest` a clip: generated conditions are not clean either."""
    if largest == 0:
        return low
    strength = share.of(largest * torch.rand(share.total, 1, 1, 1, 1, generator=generator))
    noise = share.of(torch.randn(share.total, *low.shape[1:], generator=generator))
    return low + (strength * noise).to(low)


@torch.no_grad()
def _update_average(level: LevelTraining, step: int) -> None:
    """EMA of the weights; buffers (singular vectors) are copied.

    It begins at step `ema_start` with the weights of that moment; where that is 0, it is shorter early on.
    """
    assert level.average is not None
    training = level.training_config
    decay = training.ema if training.ema_start else min(training.ema, (1 + step) / (10 + step))
    share = 1.0 if step < training.ema_start else 1 - decay
    for mean, value in zip(level.average.parameters(), level.generator.parameters(), strict=True):
        mean.lerp_(value, share)
    for mean, value in zip(level.average.buffers(), level.generator.buffers(), strict=True):
        mean.copy_(value)
