"""Bounds of what a config may hold, and the one way to refuse it."""

from __future__ import annotations

from hvgcli.errors import ConfigError

FORMAT_VERSION = 1
BASE_RESOLUTION = 4  # the generators of HVG and DVD-GAN start from a 4x4 map
MAX_CLASSES = 100_000  # bounds keep a tampered config.json from asking for absurd memory
MAX_CHANNELS = 8192
MAX_RESOLUTION = 4096
MAX_FRAMES = 65_536
MAX_COMPONENTS = 256  # Gaussians of a class
MAX_CODED = 256  # dimensions of z that have covariances


def require(condition: bool, message: str, change: str = "") -> None:
    """`ConfigError` with the message where the condition does not hold. change: the option to change, if there is."""
    if not condition:
        raise ConfigError(message, change)


def require_components(components: int, z_dim: int) -> None:
    """Bounds of a prior of codes with full covariances."""
    require(0 <= components <= MAX_COMPONENTS, f"code_components {components} must be 0..{MAX_COMPONENTS}")
    require(not components or z_dim <= MAX_CODED, f"code_components needs a z_dim up to {MAX_CODED}, got {z_dim}")


def is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
