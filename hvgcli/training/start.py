"""The first weights of a run that begins with the networks of another run or of a model (`--from`)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hvgcli.checkpoints import CONFIG, read_level, read_model_config
from hvgcli.errors import WeightsError
from hvgcli.layers.weights import power_iterate
from hvgcli.sampling import statistics
from hvgcli.training.level import LevelTraining
from hvgcli.training.plan import Run
from hvgcli.training.run_state import last_networks, states
from hvgcli.training.standing import check_given

_BAKED, _NORMALISED = ".weight", ".parametrizations.weight.original"
_ITERATIONS = 5  # until the first singular vectors are known, as for fresh weights


def check_start(run: Run) -> None:
    """`WeightsError` where a run cannot begin with what it was given; nothing is written.

    A run that has a state goes on from that, whatever became of its beginning.
    """
    if states(run.out):
        return
    if run.start is None and not run.training.standing:
        return
    with torch.device("meta"):
        level = LevelTraining(run.config, run.level, run.training, torch.device("meta"), run.seed)
    if run.training.standing:
        check_given(run, level.generator)
    if run.start is not None:
        _fitting(run.start, level)


def start_from(start: Path, level: LevelTraining) -> tuple[int, int]:
    """Begin with the networks of another run's last state, or with the generator of a model folder.

    Of a run come generator, discriminators, moving average and the encoder of the training aid; of a model only
    the generator, rounded as it is shipped. Where there is no moving average, it begins as the generator.
    Taken are the weights whose name and shape are the same; the others, such as those of other classes or of
    further stages, stay fresh, and so do the optimizers. Returns how many weights were taken, of how many.

    Errors: `WeightsError` where there is no state, weights are damaged, or most of the generator does not fit.
    """
    fitting = _fitting(start, level)
    level.load_state_dict(fitting, strict=False)
    if _is_model(start):
        for _ in range(_ITERATIONS):
            power_iterate(level.generator)
            power_iterate(level.sampler)
    return len(fitting), len(level.state_dict())


def _is_model(start: Path) -> bool:
    return (start / CONFIG).is_file()


def _fitting(start: Path, level: LevelTraining) -> dict[str, Tensor]:
    """The weights of `start` that have a place of their name and shape in `level.state_dict()`, on any device."""
    found = _model_weights(start, level) if _is_model(start) else last_networks(start)
    if not any(name.startswith("average.") for name in found):
        found |= {f"average.{name.removeprefix('generator.')}": value for name, value in found.items() if _made(name)}
    own = level.state_dict()
    fitting = {name: value for name, value in found.items() if name in own and value.shape == own[name].shape}
    _check_enough(start, level, fitting)
    return fitting


def _check_enough(start: Path, level: LevelTraining, fitting: dict[str, Tensor]) -> None:
    """Some weights, such as the last bias, fit into any generator: that alone is no beginning."""
    weights = [f"generator.{name}" for name, _ in level.generator.named_parameters()]
    taken = sum(name in fitting for name in weights)
    if 2 * taken < len(weights):
        raise WeightsError(
            f"{start} cannot be the start of this run: {taken} of {len(weights)} weights of its generator fit: "
            "give the preset that it was trained with, or another --from"
        )


def _made(name: str) -> bool:
    return name.startswith("generator.")


def _model_weights(folder: Path, level: LevelTraining) -> dict[str, Tensor]:
    """The generator of a model folder, named as in training, where spectral norm keeps W apart from W / sigma.

    A shipped weight is W / sigma already, whose largest singular value is 1, so it can stand for W.
    """
    config = read_model_config(folder)
    if config.single is not None:
        raise WeightsError(f"{folder} learned one clip or image: no other model begins with that, give another --from")
    if level.level > len(config.levels):
        raise WeightsError(f"{folder} has levels 1..{len(config.levels)}, so level {level.level} cannot begin with it")
    weights, _ = statistics.from_tensors(read_level(folder, level.level, config=config), None)
    normalised = {n for n in level.generator.state_dict() if n.endswith(_NORMALISED)}
    return {f"generator.{_in_training(name, normalised)}": value.float() for name, value in weights.items()}


def _in_training(name: str, normalised: set[str]) -> str:
    with_norm = name.removesuffix(_BAKED) + _NORMALISED
    return with_norm if name.endswith(_BAKED) and with_norm in normalised else name
