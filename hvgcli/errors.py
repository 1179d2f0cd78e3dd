"""Exceptions that a user can meet: each has an exit code, and its message is one line.

The message says what was got, what was expected and what to do next. `hvgcli.cli` prints it and
exits with `exit_code`; anything that is not an `HvgError` is a bug and exits with 1.
"""


class HvgError(Exception):
    """Base of all expected errors."""

    exit_code = 1


class UsageError(HvgError):
    """A bad option, an unknown class, model or level, or options that contradict each other."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration whose numbers do not fit together."""

    def __init__(self, fault: str, change: str = "") -> None:
        """fault: what is wrong. change: the option of a training that mends it; a file has to be mended itself."""
        super().__init__(f"{fault}: change {change}" if change else fault)
        self.fault = fault


class MediaError(HvgError):
    """An input that cannot be read or decoded, or an output that cannot be written."""

    exit_code = 3


class OutputExistsError(MediaError):
    """An output file that is already there, without `--overwrite` or `--skip-existing`."""


class DataError(MediaError):
    """A data folder without usable clips."""


class WeightsError(HvgError):
    """Weights that are missing, damaged, of another level or format, or cannot be fetched."""

    exit_code = 4


class ResourceError(HvgError):
    """Not enough memory, or a device that is not there."""

    exit_code = 5


class TrainingError(HvgError):
    """Training that went wrong: a loss or weights that are not finite, or a loss that explodes."""


class PeerError(HvgError):
    """Another process of the run failed, and has said why: this one ends with its exit code, in silence."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process of the run failed: see its message")
        self.exit_code = exit_code


class PartialFailure(HvgError):
    """Some items of a batch failed; the others are done."""

    exit_code = 6


EXIT_INTERRUPTED = 130  # Ctrl-C, as shells report it
