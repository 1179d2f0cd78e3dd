"""What a run will cost, found without running it: memory of the networks and of a step, steps an epoch, disk.

The networks are built and run as fake tensors, which have shapes and types but no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from hvgcli.data.clips import ClipIndex
from hvgcli.training import judging, losses
from hvgcli.training.distributed import ALONE
from hvgcli.training.level import LevelTraining, weight_matrices
from hvgcli.training.plan import Run, usable_clips
from hvgcli.training.run_state import state_bytes


@dataclass(frozen=True)
class Estimate:
    """Sizes in bytes; those of memory are of one process."""

    generator_parameters: int
    discriminator_parameters: int
    encoder_parameters: int
    """Of the training aid of level 1; 0 without it."""
    networks: int
    """Weights, gradients, the optimizers' moments, the moving average and the levels below."""
    activations: int
    """What the largest update keeps for its backward pass, and its largest temporary tensors."""
    state: int
    """One saved state on disk."""

    @property
    def memory(self) -> int:
        """Peak of training, without the frames that are kept decoded and the libraries themselves."""
        return self.networks + self.activations


def estimate(run: Run, processes: int = 1) -> Estimate:
    """Estimate the cost of a run whose batch is spread over `processes`; nothing is trained or written."""
    with torch.device("meta"):
        level = LevelTraining(run.config, run.level, run.training, torch.device("meta"), run.seed)
    with FakeTensorMode():
        _on_fake_cpu(level)
        batch = run.training.batch_size // (run.training.accumulate * processes)
        activations = max(_kept(level, update, batch) for update in _updates(level))
    return Estimate(
        _count(level.generator),
        _count(level.discriminator),
        0 if level.encoder is None else _count(level.encoder),
        _network_bytes(level),
        activations,
        state_bytes(level),
    )


def _on_fake_cpu(level: LevelTraining) -> None:
    """Replace the tensors of a level on the meta device, which autocast does not know, by fake ones of the CPU."""
    level.device = torch.device("cpu")
    for module in level.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(_fake(parameter), requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, _fake(buffer))


def _fake(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _network_bytes(level: LevelTraining) -> int:
    values = sum(tensor.nbytes for tensor in level.state_dict().values())
    trained = sum(p.nbytes for o in level.optimizers.values() for group in o.param_groups for p in group["params"])
    return values + 3 * trained  # its gradient and the two moments of Adam


Update = Callable[[LevelTraining, int], Tensor]


def _updates(level: LevelTraining) -> list[Update]:
    """The forward passes that a step keeps for its backward passes, one after the other."""
    aid = level.training_config.reconstruction
    alone = aid is not None and not level.adversarial(level.training_config.steps - 1)
    return [_generator_pass] if alone else [_discriminator_pass, _generator_pass]


def _videos(level: LevelTraining, batch: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """A batch like those of training: x^l, labels, x^{l-1}."""
    config = level.config
    spec = config.levels[level.level - 1]
    video = torch.zeros(batch, spec.frames, spec.resolution, spec.resolution, 3).permute(0, 1, 4, 2, 3)
    labels = torch.zeros(batch, dtype=torch.long) if config.conditional else None
    if config.predictor:
        return video, labels, video[:, :1].expand(-1, config.context, -1, -1, -1)
    if level.level == 1:
        return video, labels, None
    size = config.levels[level.level - 2].resolution
    frames = spec.frames // config.times_time(level.level)
    return video, labels, torch.zeros(batch, frames, size, size, 3).permute(0, 1, 4, 2, 3)


def _score(level: LevelTraining, video: Tensor, labels: Tensor | None, low: Tensor | None) -> Tensor:
    # the single frames and crops that would be seen are chosen by number, which fake tensors do not have
    count = judging.frames_wanted(level.discriminator, level.training_config.spatial_frames)
    frames = video[:, : min(count, video.shape[1])].clone()
    scores = judging.judge(level.discriminator, level.config, video, frames, labels, low, None, ALONE)
    return judging.generator_hinge(scores)


def _z(level: LevelTraining, batch: int) -> Tensor:
    return torch.zeros(batch, level.config.levels[level.level - 1].z_dim)


def _discriminator_pass(level: LevelTraining, batch: int) -> Tensor:
    video, labels, low = _videos(level, batch)
    with torch.no_grad():
        fake = level.generate(_z(level, batch), labels, low)
    return _score(level, video, labels, low) + _score(level, fake, labels, low)


def _generator_pass(level: LevelTraining, batch: int) -> Tensor:
    video, labels, low = _videos(level, batch)
    aid = level.training_config.reconstruction
    loss, fake = torch.zeros(()), None
    if aid is not None:
        z = _z(level, batch)
        if level.encoder is not None:
            clip = video if low is None else torch.cat((low, video), dim=1)
            z = sum(level.encoder(clip, labels), z)
        again = level.generate(z, labels, low)
        loss = loss + (again - video).abs().mean()
        fake = again if level.judges_reconstructions else None
    if aid is None or level.adversarial(level.training_config.steps - 1):
        level.discriminator.requires_grad_(False)
        fake = level.generate(_z(level, batch), labels, low) if fake is None else fake
        loss = loss + _score(level, fake, labels, low)
    if level.training_config.orthogonal_penalty:
        loss = loss + losses.orthogonal_penalty(weight_matrices(level.generator))
    return loss


@dataclass
class _Kept:
    """Storages that autograd keeps, each counted once, with the largest of them."""

    sizes: dict[int, int] = field(default_factory=dict)
    alive: list[Tensor] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.sizes.values())

    @property
    def largest(self) -> int:
        return max(self.sizes.values(), default=0)


@contextmanager
def _counting(level: LevelTraining) -> Iterator[_Kept]:
    kept = _Kept()
    own = {tensor.untyped_storage()._cdata for tensor in level.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept.sizes[storage._cdata] = storage.nbytes()
            kept.alive.append(tensor)  # so that its number is not given to another storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


def _kept(level: LevelTraining, update: Update, batch: int) -> int:
    """Bytes kept by the forward pass of an update, and three of its largest tensors for the work on them."""
    with _counting(level) as kept, level.autocast(), torch.nn.utils.parametrize.cached():
        loss = update(level, batch)
    del loss
    return kept.total + 3 * kept.largest


def steps_per_epoch(run: Run, index: ClipIndex) -> float:
    """Steps in which as many windows are drawn as there are clips long enough for one."""
    drawn = run.training.batch_size * (run.training.discriminator_updates + 1)
    return usable_clips(run, index) / drawn
