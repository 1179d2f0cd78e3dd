"""One scale of hp-VAE-GAN in training: what is trained, what is frozen, and its update (section 3.2).

Every random number is drawn from the run's seed, the scale and the iteration, so that a run that was
interrupted goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hvgcli.config import SingleConfig, SingleTrainingConfig
from hvgcli.layers.volume import enlarge
from hvgcli.layers.weights import power_iterate
from hvgcli.models.hp_vae_gan import HpVaeGan, Noise, PatchDiscriminator, Size, set_compute
from hvgcli.sampling.noise import seeded
from hvgcli.sampling.single import own_statistics, random_path
from hvgcli.training import losses_single as losses

Metrics = dict[str, float]


# ---- the rules of section 3.2 and appendix A.1 -------------------------------------------------------


def trained_parts(config: SingleConfig, scale: int, freeze: bool) -> tuple[str, ...]:
    """Names of the parts of `HpVaeGan` that scale `scale` trains.

    A patch-VAE scale trains E, G^0 and its own G^n, a patch-GAN scale its own G^n; G^1..G^{n-1} are frozen.
    Without `freeze`, all that there is up to the scale is trained (the paper's ablation).
    """
    encoder = ("encoder",) if config.vae_scales else ()
    if not freeze:
        return (*encoder, *(f"generators.{n}" for n in range(scale + 1)))
    if scale >= config.vae_scales:
        return (f"generators.{scale}",)
    return (*encoder, *(f"generators.{n}" for n in sorted({0, scale})))


def learning_rate(config: SingleConfig, training: SingleTrainingConfig, part: str, scale: int) -> float:
    """Of one part at one scale: E and G^0 slow down by `lr_decay` at each patch-VAE scale after the first."""
    if part in ("encoder", "generators.0") and config.vae_scales:
        return training.lr * training.lr_decay ** min(scale, config.vae_scales - 1)
    return training.lr


def start_from(part: nn.Module, below: nn.Module | None) -> bool:
    """Take over the weights of the same part one scale below; False, and nothing changed, where they do not fit.

    So G^1, whose input is narrower than G^0's, and the first D begin afresh, and all others do not.
    """
    known = {} if below is None else below.state_dict()
    own = part.state_dict()
    if {key: value.shape for key, value in known.items()} != {key: value.shape for key, value in own.items()}:
        return False
    part.load_state_dict(known)
    return True


# ---- a scale ------------------------------------------------------------------------------------------


class ScaleTraining:
    """The networks and optimizers of scale `scale`, and its updates."""

    def __init__(
        self,
        network: HpVaeGan,
        scale: int,
        pyramid: Sequence[Tensor],
        training: SingleTrainingConfig,
        seed: int,
        below: PatchDiscriminator | None = None,
    ) -> None:
        """pyramid: x^0..x^N, `(P, 3, T, H, W)` each, on the network's device. below: D of the scale below."""
        self.network, self.scale, self.training, self.seed = network, scale, training, seed
        self.config = network.config
        self.pyramid = pyramid
        self.adversarial = scale >= self.config.vae_scales
        self.discriminator = self._discriminator(below) if self.adversarial else None
        for module in (network, *([self.discriminator] if self.discriminator else [])):
            set_compute(module, torch.bfloat16 if training.precision == "bf16" else torch.float32)
        self.optimizers = self._optimizers()
        self._still: dict[int, Tensor] = {}

    def _discriminator(self, below: PatchDiscriminator | None) -> PatchDiscriminator:
        discriminator = PatchDiscriminator(self.config).to(self.device, self.dtype)
        start_from(discriminator, below)
        return discriminator

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Freeze what is not trained, and make an optimizer for the rest."""
        training = self.training
        parts = trained_parts(self.config, self.scale, training.freeze)
        self.network.requires_grad_(False)
        # frozen patch-VAE scales have new inputs at every iteration, so they keep to the statistics of each
        self.network.train(not self.frozen_below)
        self.network.generators[self.scale].train()
        groups: list[dict[str, Any]] = []
        for part in parts:
            module = self.network.get_submodule(part).requires_grad_(True)
            rate = learning_rate(self.config, training, part, self.scale)
            groups.append({"params": list(module.parameters()), "lr": rate})
        betas = (training.beta1, training.beta2)
        optimizers: dict[str, torch.optim.Optimizer] = {"generator": torch.optim.Adam(groups, training.lr, betas)}
        if self.discriminator is not None:
            optimizers["discriminator"] = torch.optim.Adam(self.discriminator.parameters(), training.lr, betas)
        return optimizers

    @property
    def frozen_below(self) -> bool:
        """Whether all below G^n is frozen for good; its random samples are then made with standing statistics."""
        return self.adversarial and self.training.freeze

    @property
    def recorded(self) -> range:
        """Scales whose standing statistics are new when this one ends: G^0 changes at every patch-VAE scale."""
        return range(self.scale if self.frozen_below else 0, self.scale + 1)

    @property
    def device(self) -> torch.device:
        return self.network.amplitudes.device

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and volumes: float32, unless the network was made `.double()`."""
        return self.network.amplitudes.dtype

    @property
    def sizes(self) -> tuple[Size, ...]:
        return self.config.sizes

    # ---- what a saved state holds (`hvgcli.training.run_state`)

    @property
    def level(self) -> int:
        """Number of the scale, from 1."""
        return self.scale + 1

    def state_dict(self) -> dict[str, Tensor]:
        """All generators, E and D."""
        return self._networks.state_dict()

    def load_state_dict(self, state: dict[str, Tensor], strict: bool = True) -> object:
        """Put the weights in place."""
        return self._networks.load_state_dict(state, strict=strict)

    @property
    def _networks(self) -> nn.ModuleDict:
        discriminator = {} if self.discriminator is None else {"discriminator": self.discriminator}
        return nn.ModuleDict({"generator": self.network, **discriminator})

    # ---- randomness

    def noise(self, iteration: int | str, use: str) -> Noise:
        """Standard normal noise for each scale that depends on the run's seed, scale, iteration and use only."""

        def draw(scale: int, size: Size) -> Tensor:
            generator = seeded("train-single", self.seed, self.scale, iteration, use, scale)
            shape = (1, 3 if scale else self.network.latent, *size)
            return torch.randn(shape, generator=generator).to(self.device, self.dtype)

        return draw

    def part(self, iteration: int) -> int:
        """Which part of a long clip an iteration sees: one at random, for the sum over all (section 3.2)."""
        count = len(self.pyramid[0])
        if count == 1:
            return 0
        return int(torch.randint(count, (), generator=seeded("part", self.seed, self.scale, iteration)))

    def real(self, scale: int, part: int) -> Tensor:
        """x^scale of one part, `(1, 3, T, H, W)`."""
        return self.pyramid[scale][part : part + 1]

    # ---- the two paths

    def latent(self, part: int, noise: Noise | None) -> tuple[Tensor, Tensor | None]:
        """z' of the reconstruction and its mean KL; z' is the mean without noise.

        Without an encoder it is a map of noise that stays the same, as in SinGAN, and the KL is None.
        """
        encoder = self.network.encoder
        if encoder is None:
            generator = seeded("reconstruction", self.seed, part)
            return torch.randn((1, 3, *self.sizes[0]), generator=generator).to(self.device, self.dtype), None
        mean, log_var = encoder(self.real(0, part))
        if noise is None:
            return mean, None
        # in the memory order of the mean: mixed orders are five times slower
        drawn = noise(0, self.sizes[0]).contiguous(memory_format=torch.channels_last_3d)
        z = losses.sample_latent(mean, log_var, drawn)
        return z, losses.patch_kl(mean, log_var)

    @torch.no_grad()
    def still(self, part: int) -> Tensor:
        """The enlarged reconstruction of the scale below, while all below is frozen: made once for each part."""
        if part not in self._still:
            z, _ = self.latent(part, None)
            with own_statistics(self.network):
                below = self.network.grow(self.network.first(z), range(1, self.scale), self.sizes)
            self._still[part] = enlarge(below, self.sizes[self.scale])
        return self._still[part]

    def reconstruct(self, part: int, noise: Noise) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """x-bar^n, x-bar^0 and the mean KL (equation 6); the last two are None where they are not trained."""
        network, scale = self.network, self.scale
        if self.frozen_below and scale > 0:
            return network.refine(scale, self.still(part)), None, None
        z, kl = self.latent(part, noise)
        first = network.first(z)
        return network.grow(first, range(1, scale + 1), self.sizes), first if scale else None, kl

    def sample(self, noise: Noise) -> Tensor:
        """x-bar_rand^n (equation 9), with gradient where the weights are trained."""
        network, scale = self.network, self.scale
        if not self.frozen_below or scale == 0:
            return random_path(network, noise, self.sizes, scale + 1)
        with torch.no_grad():
            below = random_path(network, noise, self.sizes, scale)
        return network.grow(below, [scale], self.sizes, noise)

    @torch.no_grad()
    def set_amplitude(self) -> None:
        """z_n in proportion to the error that this scale has to mend: what is missing from the scale below."""
        if not self.adversarial or self.scale == 0:
            return
        parts = range(len(self.pyramid[0]))
        error = torch.stack([losses.squared_error(self.still(part), self.real(self.scale, part)) for part in parts])
        self.network.amplitudes[self.scale] = self.training.noise * error.mean().sqrt()
        if not self.training.freeze:
            self._still.clear()

    # ---- updates

    def update(self, iteration: int) -> Metrics:
        """One iteration: of D and G^n, or of E, G^0 and G^n. The metrics are those before it."""
        part = self.part(iteration)
        told = self._adversarial(iteration, part) if self.adversarial else self._reconstruction(iteration, part)
        values = torch.stack(list(told.values())).tolist()
        return dict(zip(told, values, strict=True))

    def _reconstruction(self, iteration: int, part: int) -> dict[str, Tensor]:
        """A patch-VAE scale (equations 5 and 8)."""
        assert self.network.encoder is not None
        power_iterate(self.network.encoder)
        return self._step_generator(iteration, part)

    def _vae_loss(self, part: int, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        """Errors of x-bar^n and, above scale 0, of x-bar^0, and the KL, weighted (equations 5, 8 and 11)."""
        output, first, kl = self.reconstruct(part, noise)
        error = losses.squared_error(output, self.real(self.scale, part))
        loss, told = self.training.reconstruction_weight * error, {"reconstruction": error.detach()}
        if kl is not None:
            loss, told = loss + self.training.kl_weight * kl, told | {"kl": kl.detach()}
            if first is not None:
                coarse = losses.squared_error(first, self.real(0, part))
                loss = loss + self.training.reconstruction_weight * coarse
                told["coarse"] = coarse.detach()
        return loss, told

    def _adversarial(self, iteration: int, part: int) -> dict[str, Tensor]:
        """A patch-GAN scale (equations 10 and 11): D and G, on the same sample and from the same scores of it.

        The loss of D needs its gradient at the sample anyway; with the other sign it is that of G's loss, so D
        is not run again for G: an estimated 9 % of an iteration, by the times of its convolutions. G follows D as it
        was before its update.
        """
        if not self.training.freeze and self.network.encoder is not None:
            power_iterate(self.network.encoder)
        fake = self.sample(self.noise(iteration, "random"))
        share = torch.rand((), generator=seeded("between", self.seed, self.scale, iteration)).to(fake)
        told, pull = self._step_discriminator(self.real(self.scale, part), fake.detach(), share)
        return told | self._step_generator(iteration, part, fake, pull)

    def _step_discriminator(self, real: Tensor, fake: Tensor, share: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Update D. Its metrics, and the gradient of G's adversarial loss at `fake`, weighted as in equation 11."""
        discriminator, optimizer, training = self.discriminator, self.optimizers["discriminator"], self.training
        assert discriminator is not None
        fake.requires_grad_()
        power_iterate(discriminator)
        with parametrize.cached():
            scores = discriminator(torch.cat((real, fake)))
            critic = losses.critic_loss(scores[:1], scores[1:])
            penalty = losses.gradient_penalty(discriminator.input_gradient(losses.between(real, fake.detach(), share)))
            optimizer.zero_grad(set_to_none=True)
            (training.adversarial_weight * (critic + training.gradient_penalty * penalty)).backward()
        optimizer.step()
        assert fake.grad is not None
        told = {"loss_d": critic, "penalty": penalty, "loss_g": losses.generator_loss(scores[1:])}
        return {name: value.detach() for name, value in told.items()}, -fake.grad

    def _step_generator(
        self, iteration: int, part: int, fake: Tensor | None = None, pull: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Update what else is trained, by its reconstruction and, with a `fake`, by the gradient `pull` at it."""
        optimizer = self.optimizers["generator"]
        with parametrize.cached():
            loss, told = self._vae_loss(part, self.noise(iteration, "reconstruction"))
            optimizer.zero_grad(set_to_none=True)
            if fake is None:
                loss.backward()
            else:
                torch.autograd.backward((loss, fake), (None, pull))
        optimizer.step()
        return told
