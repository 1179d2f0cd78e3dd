"""Enlarging a clip of any size and length with one level: tiles in space, streaming in time, grounded in its input.

The level is applied to whole tiles and streams over time (HVG section 2), so memory does not grow with the
clip's length. A part of a clip is computed from some frames before it and after it (`Enlarger.span`), and
is then what the whole clip computed at once has there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hvgcli.config import ModelConfig
from hvgcli.data.pyramid import downsample_space
from hvgcli.errors import UsageError, WeightsError
from hvgcli.models.upsampler import Upsampler, UpsamplerState
from hvgcli.sampling import statistics
from hvgcli.sampling.applications import Application, plan_applications
from hvgcli.sampling.grounding import ROUNDS, GroundedStream, Grounding, GroundingError, grounding_error
from hvgcli.sampling.hierarchy import Level
from hvgcli.sampling.noise import latents
from hvgcli.sampling.tiles import Blend, TilePlan, cut, plan_tiles

Images = NDArray[Any]
"""Frames `(T, H, W, 3)`, uint8 or uint16."""

PIECE = 4  # source frames at a time; measured: more of them are not faster
BATCH_PIXELS = {"cpu": 1 << 20}  # enlarged pixels computed at a time; measured on one core: 2 to 4 times it are slower
OTHER_BATCH_PIXELS = 1 << 23
DETAIL = 0.4  # measured on clips of training: nearer to the truth than all or none of what a level adds


def from_pixels(images: Images, device: torch.device) -> Tensor:
    """uint8 or uint16 `(T, H, W, 3)` -> float32 `(T, 3, H, W)` in [-1, 1], channels last."""
    half = np.iinfo(images.dtype).max / 2
    return torch.from_numpy(images.astype(np.float32) / np.float32(half) - 1).to(device).permute(0, 3, 1, 2)


def to_pixels(video: Tensor, dtype: np.dtype[Any]) -> Images:
    """`(T, 3, H, W)` in [-1, 1] -> `(T, H, W, 3)`, rounded to the whole range of uint8 or uint16."""
    half = np.iinfo(dtype).max / 2
    scaled = (video.permute(0, 2, 3, 1) + 1).mul_(half).round_().clamp_(0, 2 * half)
    pixels: Images = scaled.cpu().numpy().astype(dtype)
    return pixels


def class_weights(config: ModelConfig, labels: Sequence[int]) -> Tensor | None:
    """The condition of one clip: its class `(1,)`, or an even mixture `(1, num_classes)`, of all for none."""
    if not config.conditional:
        if labels:
            raise UsageError("this model has no classes: leave out --class")
        return None
    if len(labels) == 1:
        return torch.tensor(list(labels))
    weights = torch.zeros(1, config.num_classes)
    weights[0, list(labels) or slice(None)] = 1
    return weights / weights.sum()


def _share_of_detail(level: Level, asked: float | None) -> float:
    """What a level adds can be weighed only where it adds: others make the whole picture."""
    adds = level.generator.level.output_residual
    if asked is None:
        return DETAIL if adds else 1.0
    if not 0 <= asked <= 1:
        raise UsageError(f"--detail {asked:g} cannot be: give a share from 0 to 1")
    if not adds and asked != 1:
        raise UsageError(f"--detail {asked:g} cannot be: level {level.number} of this model makes the whole picture")
    return asked


# ---- one application of the level --------------------------------------------------------------------


class _Pass:
    """One application of the level to a stream of frames: tiles in batches, each with its own state."""

    def __init__(
        self,
        network: Upsampler,
        plan: TilePlan,
        condition: tuple[Tensor, Tensor | None],
        part: Application,
        *,
        batch: int,
        first: int,
        total: int,
        precision: torch.dtype,
        detail: float,
    ) -> None:
        """first: number of the first input frame; total: input frames of the whole clip; batch: tiles at a time."""
        self.network, self.plan, self.condition, self.precision, self.step, self.detail = (
            network, plan, condition, precision, part.step, detail,
        )  # fmt: skip
        self.total = total * network.times_time
        self.at = first * network.times_time  # number of the next frame that comes out
        self.size = tuple(side * part.space_after // part.space_before for side in plan.size)
        corners = plan.corners
        self.groups = [corners[at : at + batch] for at in range(0, len(corners), batch)]
        self.states = [UpsamplerState(low_start=first, fed=self.at, done=self.at) for _ in self.groups]
        self.blend = Blend(plan, network.level.resolution // network.input_size, condition[0].device)

    def feed(self, low: Tensor, last: bool) -> Tensor:
        """The next frames `(n, 3, h, w)` -> enlarged frames `(m, 3, H, W)` now finished, perhaps none."""
        canvas: Tensor | None = None
        for corners, state in zip(self.groups, self.states, strict=True):
            tiles = self._advance(cut(low, self.plan, corners), state, last)
            canvas = self.blend.canvas(tiles.shape[1]) if canvas is None else canvas
            self.blend.add(canvas, tiles, corners)
        assert canvas is not None
        kept = canvas[-self.at % self.step :: self.step]
        self.at += len(canvas)
        return downsample_space(kept.permute(0, 3, 1, 2)[None], (self.size[0], self.size[1]))[0]

    def _advance(self, tiles: Tensor, state: UpsamplerState, last: bool) -> Tensor:
        z, labels = (None if part is None else part.expand(len(tiles), *part.shape[1:]) for part in self.condition)
        assert z is not None
        with torch.autocast(tiles.device.type, self.precision, enabled=self.precision != torch.float32):
            return self.network.advance(tiles, z, labels, state, self.total, last, detail=self.detail)


# ---- the whole of it ---------------------------------------------------------------------------------


class Enlarged(NamedTuple):
    """Finished frames."""

    first: int
    """Number of the first of them in the enlarged clip."""
    images: Images
    """`(n, H, W, 3)`, of the source's dtype."""
    error: GroundingError
    """Of these frames as they are here, rounded; only every `times_time`-th has an input to compare with."""


class Enlarger:
    """A level, ready to enlarge clips. The same frames, seed and class give the same result, part by part."""

    def __init__(
        self,
        level: Level,
        *,
        times_space: int | None = None,
        times_time: int | None = None,
        labels: Sequence[int] = (),
        seed: int = 0,
        sigma: float | None = None,
        detail: float | None = None,
        tile: int | None = None,
        overlap: int | None = None,
        piece: int = PIECE,
        batch: int | None = None,
        precision: torch.dtype = torch.float32,
        ground: bool = True,
    ) -> None:
        """Everything that is None is the level's own.

        labels   : classes that are mixed evenly; none = all of them
        detail   : share of what the level adds to the plain enlargement, in [0, 1]
        overlap  : least overlap of tiles in input pixels
        piece    : source frames at a time; like `batch` (tiles at a time), it changes memory and speed alone
        precision: of the convolutions: torch.float32, torch.bfloat16 or torch.float16
        """
        network = level.generator
        if tile not in (None, network.input_size):
            raise UsageError(f"--tile {tile} cannot be: this level takes {network.input_size} pixels, no more, no less")
        if piece < 1 or (batch is not None and batch < 1):
            raise UsageError(f"a piece of {piece} frames and a batch of {batch} tiles cannot be: give 1 or more")
        self.level, self.overlap, self.piece, self.precision = level, overlap, piece, precision
        self._own = own = (level.config.times_space(level.number), level.config.times_time(level.number))
        self.times_space = own[0] if times_space is None else times_space
        self.times_time = own[1] if times_time is None else times_time
        self.applications = plan_applications((self.times_space, self.times_time), own)
        self.sigma = level.config.sigma if sigma is None else sigma
        self.detail = _share_of_detail(level, detail)
        self.rounds = ROUNDS if ground else 0
        pixels = BATCH_PIXELS.get(level.device.type, OTHER_BATCH_PIXELS)
        self.batch = batch or max(2, pixels // (piece * own[1] * network.level.resolution**2))
        z = self.sigma * latents([seed], level.number, level.config.levels[level.number - 1].z_dim)
        weights = class_weights(level.config, labels)
        self._condition = (z.to(level.device), None if weights is None else weights.to(level.device))
        self._networks = [network, *(deepcopy(network) for _ in self.applications[1:])]

    # ---- before ------------------------------------------------------------------------------------

    @property
    def context(self) -> int:
        """Source frames before and after a part that its result depends on."""
        left = right = 0  # frames beyond the part, first of the result, then of what is fed to each application
        for part, network in zip(reversed(self.applications), reversed(self._networks), strict=True):
            left = -(-(left * part.step + network.reach) // network.times_time)
            right = (right * part.step + network.reach) // network.times_time
        between = self.times_time > 1  # the frame after the part is grounded with it, for those in between
        return max(left, right + between)

    def span(self, keep: range, total: int) -> range:
        """Source frames to feed for a result of the frames `keep` of a clip of `total` frames."""
        start = 0 if self.level.generator.recurrent else max(0, keep.start - self.context)
        return range(start, min(total, keep.stop + self.context))

    def plans(self, size: tuple[int, int]) -> list[TilePlan]:
        """The tiles of each application, for a source of `size` (height, width)."""
        tile = self.level.generator.input_size
        return [
            plan_tiles((size[0] * part.space_before, size[1] * part.space_before), tile, self.overlap)
            for part in self.applications
        ]

    def describe(self, size: tuple[int, int]) -> str:
        """What is done to a source of `size` (height, width), and why, for people."""
        steps, own = [], self._own
        for part, plan in zip(self.applications, self.plans(size), strict=True):
            reduced = "" if part.space_after == part.space_before * own[0] else f", then f_s to x{part.space_after}"
            reduced += "" if part.step == 1 else f", then f_t: every {part.step} frames"
            steps.append(f"x{own[0]} in space, x{own[1]} in time by {plan}{reduced}")
        return "; ".join(steps)

    def tile_frames(self, size: tuple[int, int], frames: int) -> int:
        """Work: tiles x frames that the network makes of `frames` source frames (each pass, before any reduction)."""
        return sum(
            len(plan.corners) * frames * part.time_before * network.times_time
            for plan, part, network in zip(self.plans(size), self.applications, self._networks, strict=True)
        )

    def memory(self, size: tuple[int, int]) -> int:
        """Bytes that a clip of `size` (height, width) takes, whatever its length, beside the program: an estimate.

        Measured with hvg-mini on 64x48 to 320x240 pixels, it was within 25 percent (glibc).
        """
        network, piece = self.level.generator, self.piece
        widths, bytes_each, times = network.level.widths, (2 if self.precision != torch.float32 else 4), self._own[0]
        sides = [min(4 << number, network.level.resolution) for number in range(len(widths))]
        kept = 3 * sum(side**2 * width for side, width in zip(sides, (widths[0], *widths), strict=False))
        held, working, frames = 0, [], []
        for part, plan in zip(self.applications, self.plans(size), strict=True):
            piece *= network.times_time
            tiles = len(plan.corners)
            held += tiles * kept * bytes_each  # the last inputs of each temporal convolution
            working.append(min(self.batch, tiles) * piece * network.level.resolution**2 * 13 * widths[-1] * bytes_each)
            frames.append(piece * plan.size[0] * plan.size[1] * times**2 * 3 * 4)
            piece //= part.step
        return held + max(working) + 10 * max(frames)  # ten copies: blended, waiting, corrected, rounded ...

    # ---- making ------------------------------------------------------------------------------------

    @torch.inference_mode()
    def enlarge(self, images: Iterable[Images], keep: range, total: int) -> Iterator[Enlarged]:
        """Source frames -> the enlarged frames of `keep`, in order, as they are finished.

        images: the frames `span(keep, total)` of the source, each `(H, W, 3)`, uint8 or uint16.
        keep  : numbers of the source frames whose result is wanted, `times_time` frames for each of them.
        total : frames of the whole source.

        Errors: `WeightsError` where the level has no standing statistics for that sigma.
        """
        yield from _Making(self, keep, total).run(images)

    def networks(self, total: int) -> list[Upsampler]:
        """The network of each application, with the standing statistics for a source of `total` frames."""
        for network, part in zip(self._networks, self.applications, strict=True):
            frames = total * part.time_before * network.times_time
            table = statistics.choose(self.level.tables, self.sigma, frames)
            if table is None:
                known = ", ".join(f"{sigma:g}" for sigma in sorted({table.sigma for table in self.level.tables}))
                raise WeightsError(
                    f"no standing statistics for {frames} frames of level {self.level.number} at sigma {self.sigma}: "
                    f"run `hvg stats MODEL --frames {frames} --sigma {self.sigma}`, or choose a sigma of {known or '-'}"
                )
            statistics.install(network, table)
        return self._networks

    def passes(self, size: tuple[int, int], first: int, total: int) -> list[_Pass]:
        """The applications of the level to a clip, from source frame `first` on."""
        return [
            _Pass(
                network,
                plan,
                self._condition,
                part,
                batch=self.batch,
                first=first * part.time_before,
                total=total * part.time_before,
                precision=self.precision,
                detail=self.detail,
            )
            for network, plan, part in zip(self.networks(total), self.plans(size), self.applications, strict=True)
        ]


class _Making:
    """One call of `Enlarger.enlarge`."""

    def __init__(self, enlarger: Enlarger, keep: range, total: int) -> None:
        if not 0 <= keep.start < keep.stop <= total:
            raise UsageError(f"frames {keep.start} to {keep.stop} are not in a clip of {total}")
        self.enlarger, self.keep, self.total = enlarger, keep, total
        self.times = enlarger.times_time
        self.span = enlarger.span(keep, total)
        self.lows: list[Tensor] = []  # inputs whose result is not grounded yet
        self.at = self.span.start * self.times  # number of the next frame of the last pass
        self.first = keep.start * self.times  # number of the next finished frame

    def run(self, images: Iterable[Images]) -> Iterator[Enlarged]:
        passes: list[_Pass] = []
        number = self.span.start
        for group in _groups(images, self.enlarger.piece):
            pixels = np.stack(group)
            low = from_pixels(pixels, self.enlarger.level.device)
            if not passes:
                size = (pixels.shape[1], pixels.shape[2])
                passes = self.enlarger.passes(size, number, self.total)
                grounding = Grounding(size, self.enlarger.times_space, low.device, self.enlarger.rounds)
                self.stream = GroundedStream(grounding, self.times)
            self._remember(low, number)
            number += len(low)
            made = _through(passes, low, number == self.span.stop)
            yield from self._finished(made, pixels.dtype)
        if number != self.span.stop:
            raise ValueError(f"got frames {self.span.start} to {number}, expected those up to {self.span.stop}")
        if self.first < self.keep.stop * self.times:
            yield self._result(self.stream.finish(), [], 0, pixels.dtype)

    def _remember(self, low: Tensor, number: int) -> None:
        """Keep the inputs of frames that are wanted, and of the one after them."""
        wanted = slice(max(self.keep.start - number, 0), max(self.keep.stop + 1 - number, 0))
        self.lows.extend(low[wanted])

    def _finished(self, made: Tensor, dtype: np.dtype[Any]) -> Iterator[Enlarged]:
        """Frames of the last pass -> those that are wanted and grounded, if there are any."""
        begin, at = self.keep.start * self.times, self.at
        end = self.keep.stop * self.times + 1  # with the next one that has an input
        self.at += len(made)
        made, at = made[max(begin - at, 0) : max(end - at, 0)], max(begin, at)
        if len(made) == 0:
            return
        anchors = len(range(-(-at // self.times), -(-(at + len(made)) // self.times)))
        lows, self.lows = self.lows[:anchors], self.lows[anchors:]
        first = self.stream.first_input()
        done = self.stream.push(made, torch.stack(lows) if lows else made[:0])
        if len(done):
            yield self._result(done, lows, first, dtype)

    def _result(self, done: Tensor, lows: list[Tensor], first: int, dtype: np.dtype[Any]) -> Enlarged:
        wanted = self.keep.stop * self.times - self.first
        images = to_pixels(done[:wanted], dtype)
        anchors = images[first :: self.times][: len(lows)]
        error = GroundingError()
        if len(anchors):
            rounded = from_pixels(anchors, done.device)
            error = grounding_error(rounded, torch.stack(lows[: len(anchors)]))
        result = Enlarged(self.first, images, error)
        self.first += len(images)
        return result


def _groups(images: Iterable[Images], count: int) -> Iterator[list[Images]]:
    """Successive groups of `count` images; the last may be smaller."""
    source = iter(images)
    while group := list(islice(source, count)):
        yield group


def _through(passes: Sequence[_Pass], frames: Tensor, last: bool) -> Tensor:
    """Frames through all passes; a pass that has nothing to give stops the others until more comes."""
    for part in passes:
        if len(frames) == 0:
            break
        frames = part.feed(frames, last)
    return frames


def enlarge_alpha(alphas: NDArray[np.uint8], times_space: int, times_time: int) -> NDArray[np.uint8]:
    """Alpha of successive frames `(T, H, W)` -> `(times_time * T, kH, kW)`: bilinear, and held until the next frame.

    Alpha of one bit (all values 0 or 255) stays so.
    """
    low = torch.from_numpy(alphas.astype(np.float32))[:, None]
    size = (alphas.shape[1] * times_space, alphas.shape[2] * times_space)
    fine = F.interpolate(low, size=size, mode="bilinear", align_corners=False)[:, 0]
    if np.isin(alphas, (0, 255)).all():
        fine = torch.where(fine < 127.5, 0.0, 255.0)
    held: NDArray[np.uint8] = fine.round().byte().repeat_interleave(times_time, dim=0).numpy()
    return held
