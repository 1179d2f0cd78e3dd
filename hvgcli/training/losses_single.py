"""Losses of hp-VAE-GAN (Gur et al. 2020, section 3): tensors in, one number out.

Volumes are `(B, 3, T, H, W)`, scores `(B, 1, T, H, W)`, one for each patch. Sums over patches in the paper's
equations are means here, so that the weights do not depend on the size of a scale.
"""

from __future__ import annotations

from torch import Tensor


def patch_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)), averaged over all values of the latent map (equation 3)."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()


def sample_latent(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """z' = noise * sigma + mean, all `(B, latent, T, H, W)` (section 3.1)."""
    return mean + noise * (0.5 * log_var).exp()


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of a reconstruction (equations 4 and 7)."""
    return (output - target).square().mean()


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What D lowers: E[D(fake)] - E[D(real)] (equation 10, without its penalty)."""
    return fake.mean() - real.mean()


def generator_loss(fake: Tensor) -> Tensor:
    """What G lowers: -E[D(fake)] (equation 10)."""
    return -fake.mean()


def between(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """share * real + (1 - share) * fake with `share` `()` uniform in 0..1: where D's gradient is looked at."""
    return share * real + (1 - share) * fake


def gradient_penalty(gradient: Tensor) -> Tensor:
    """(||gradient||_2 - 1)^2 (equation 10), averaged over all places of `(B, 3, T, H, W)`.

    The gradient is that of the sum of all scores. Its norm is over the channels of one place, as in SinGAN,
    whose procedure the paper follows; a norm over the whole clip would grow with its size.
    """
    # not .norm(): its gradient is not finite where the norm is 0
    norms = (gradient.square().sum(1) + 1e-12).sqrt()
    return (norms - 1).square().mean()
