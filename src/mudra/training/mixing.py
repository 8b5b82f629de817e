"""MixUp and CutMix: clips of a batch are blended or pasted into each other, and so are their targets.

Sources: Zhang et al. 2018, arXiv:1710.09412 (MixUp); Yun et al. 2019, arXiv:1905.04899 (CutMix).
Departs from them: a share and a box for every clip, not one for the whole batch.

What happens is drawn over the whole optimiser step (all ranks, all accumulated parts) before any
pixel is touched, from a generator that the loop makes of (seed, step) alone; a process that trains on
some rows only gets the very same values.

Axes: B clips, T frames, C channels (classes, in targets), H height, W width, K points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mudra.errors import RecipeError
from mudra.sections import AugmentSettings
from mudra.training.losses import one_hot


@dataclass(frozen=True)
class MixPlan:
    """What happens to each clip of a step; its parts have one row a clip.

    Attributes:
        kind: one for the whole step.
        partner: int64 [B], the row that is mixed into each row; a permutation of the whole step.
        share: float64 [B] in 0..1, how much of itself each clip is meant to keep.
        centre: float64 [B,2], middle of the box that CutMix cuts, as shares of height and width.
        before: int64 [B], the row whose end comes before each row; its own number where nothing does.
    """

    kind: Literal["none", "mixup", "cutmix"]
    partner: NDArray[np.int64]
    share: NDArray[np.float64]
    centre: NDArray[np.float64]
    before: NDArray[np.int64]

    def of(self, rows: NDArray[np.int64]) -> MixPlan:
        """The plan of some rows; `partner` and `before` still count over the whole step."""
        parts = (self.partner[rows], self.share[rows], self.centre[rows], self.before[rows])
        return MixPlan(self.kind, *parts)


def draw_mix(settings: AugmentSettings, clips: int, rng: np.random.Generator) -> MixPlan:
    """Draw what happens to the `clips` clips of one optimiser step.

    With probability `mix_share` the step is mixed; where both kinds are on, either is as likely. The
    same numbers are drawn whatever comes of them, so the settings never shift each other's draws.
    """
    mixed = rng.random() < settings.mix_share
    cut = rng.random() < 0.5
    partner = rng.permutation(clips)
    centre = rng.random((clips, 2))
    kind: Literal["none", "mixup", "cutmix"] = "none"
    if mixed and settings.cutmix > 0 and (cut or settings.mixup == 0):
        kind = "cutmix"
    elif mixed and settings.mixup > 0:
        kind = "mixup"
    alpha = {"none": 0.0, "mixup": settings.mixup, "cutmix": settings.cutmix}[kind]
    share = rng.beta(alpha, alpha, clips) if alpha > 0 else np.ones(clips)
    before = np.where(rng.random(clips) < settings.preceded, rng.permutation(clips), np.arange(clips))
    return MixPlan(kind, partner.astype(np.int64), share, centre, before.astype(np.int64))


def boxes(plan: MixPlan, height: int, width: int) -> NDArray[np.int64]:
    """The boxes that CutMix cuts out: int64 [B,4] of top, bottom, left, right; ends are excluded.

    A box of relative area 1 - share stands around its centre; what hangs over the border is lost.
    """
    size = np.array([height, width])
    half = np.sqrt(1 - plan.share)[:, None] * size / 2
    first = np.clip(np.rint(plan.centre * size - half), 0, size).astype(np.int64)
    last = np.clip(np.rint(plan.centre * size + half), 0, size).astype(np.int64)
    return np.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], axis=1)


def kept(plan: MixPlan, height: int, width: int) -> NDArray[np.float64]:
    """How much of itself each clip really keeps, float64 [B]: for CutMix, by the pixels cut."""
    if plan.kind != "cutmix":
        return plan.share
    top, bottom, left, right = boxes(plan, height, width).T
    return 1 - (bottom - top) * (right - left) / (height * width)


def mix_video(plan: MixPlan, own: Tensor, partners: Tensor) -> Tensor:
    """Mix clips with their partners, row by row; the same in all frames.

    Args:
        own, partners: float [B,T,C,H,W]; row i of `partners` is the clip that `plan.partner[i]` names.
    Returns:
        a new tensor [B,T,C,H,W], or `own` itself where nothing is mixed.
    """
    if plan.kind == "none":
        return own
    if plan.kind == "mixup":
        share = torch.from_numpy(plan.share).to(own)[:, None, None, None, None]
        return torch.lerp(partners, own, share)
    height, width = own.shape[-2:]
    places = torch.from_numpy(boxes(plan, height, width)).to(own.device)
    top, bottom, left, right = places.T[:, :, None, None]  # each [B,1,1]
    row, column = torch.arange(height, device=own.device), torch.arange(width, device=own.device)
    inside = ((row >= top) & (row < bottom)).mT & (column >= left) & (column < right)  # [B,H,W]
    return torch.where(inside[:, None, None], partners, own)


def mix_points(plan: MixPlan, own: Tensor, partners: Tensor, seen: str = "either") -> Tensor:
    """Mix streams with their partners': where both are known, their mean by share; where one is, that one.

    Args:
        own, partners: float [B,T,K,C], [B,T,C], or pictures [B,T,C,H,W] beside other streams, NaN where nothing is
            known, the clip is over, or lacks the stream.
        seen: `either`, or `main`: nothing is known where the clip of the larger share does not show it.
    """
    if plan.kind == "none":
        return own
    share = torch.from_numpy(plan.share).to(own).view(-1, *[1] * (own.ndim - 1))
    both = torch.lerp(partners, own, share)
    one = torch.where(own.isnan(), partners, own)
    mixed = torch.where(both.isnan(), one, both)
    if seen == "main":
        main = torch.where(share >= 0.5, own, partners)
        mixed = torch.where(main.isnan(), main, mixed)
    return torch.where(share == 1, own, mixed)


def cut_points(plan: MixPlan, own: Tensor, partners: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
    """Paste a run of neighbouring points of the partners into the clips: of layouts, whole parts and pieces of them.

    Args:
        own, partners: float [B,T,K,C], NaN where a point was not seen or the clip is over.
    Returns:
        the mixture, and how much of what it shows is the clip's own, float64 [B].
    """
    points = own.shape[2]
    middle, half = plan.centre[:, 0] * points, (1 - plan.share) * points / 2
    first, last = (np.clip(np.rint(edge), 0, points) for edge in (middle - half, middle + half))
    inside = (np.arange(points) >= first[:, None]) & (np.arange(points) < last[:, None])
    inside_BK = torch.from_numpy(inside).to(own.device)
    mixed = torch.where(inside_BK[:, None, :, None], partners, own)
    seen_BK = (~mixed.isnan().any(-1)).sum(1).double()
    theirs_B = (seen_BK * inside_BK).sum(1) / seen_BK.sum(1).clamp(min=1)
    return mixed, (1 - theirs_B).cpu().numpy()


def precede(own: Tensor, before: Tensor, preceded: Tensor) -> Tensor:
    """Clips whose first third shows the end of another clip.

    Args:
        own, before: float [B,T,...]; row i of `before` is the clip that comes before row i of `own`.
        preceded: bool [B], where that is so.
    """
    first = own.shape[1] // 3
    if first == 0:
        return own
    which = preceded.view(-1, *[1] * (own.ndim - 1))
    past = torch.where(which, before[:, -first:], own[:, :first])
    return torch.cat([past, own[:, first:]], dim=1)


def mix_targets(share: NDArray[np.float64], own: Tensor, partners: Tensor, classes: int, task: str) -> Tensor:
    """Soft targets float32 [B, classes] of mixed clips.

    Args:
        share: how much of itself each clip keeps, [B], from `kept`.
        own, partners: class numbers int64 [B] of the clips and of their partners.

    Where the class of either part is unknown, so is what the mixture shows: the row is 0, and weighs
    nothing in the loss.
    """
    share_B1 = torch.from_numpy(share).to(own.device, torch.float32)[:, None]
    own_BC, partners_BC = one_hot(own, classes, task), one_hot(partners, classes, task)
    mixed = torch.lerp(partners_BC, own_BC, share_B1)
    own_known, partner_known = own_BC.sum(1, keepdim=True), partners_BC.sum(1, keepdim=True)
    known = torch.where(share_B1 == 1, own_known, own_known * partner_known)
    return mixed * known


def mix(
    streams: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    classes: Mapping[str, int],
    settings: AugmentSettings,
    rng: np.random.Generator,
    *,
    rows: NDArray[np.int64] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Mix the clips of one optimiser step.

    Args:
        streams: pictures float [B,T,C,H,W], points float [B,T,K,C] and series float [B,T,C] by name, the clips of the
            whole step in their global order.
        targets: class numbers int64 [B] by task, UNLABELLED where unknown.
        classes: number of classes by task.
        rng: made of (seed, step) by the loop.
        rows: which of them are wanted, by default all.
    Returns:
        those rows of the mixed streams, and soft targets float32 [B, classes] by task, whether or not this step was
        drawn to be mixed.
    Raises:
        RecipeError: a stream that cannot be mixed so; boxes are cut out of pictures, runs out of points alone.
    """
    clips = len(next(iter(streams.values())))
    plan = draw_mix(settings, clips, rng)
    plan = plan if rows is None else plan.of(rows)
    height, width = _picture_size(streams, settings)

    mine = np.arange(clips) if rows is None else rows

    def picked(x: Tensor, numbers: NDArray[np.int64]) -> Tensor:
        return x[torch.from_numpy(numbers).to(x.device)]

    def own(x: Tensor) -> Tensor:
        return x if rows is None else picked(x, rows)

    def partners(x: Tensor) -> Tensor:
        return picked(x, plan.partner)

    mixed, share = {}, kept(plan, height, width)
    for name, x in streams.items():
        looks = own(x)
        if settings.preceded:
            preceded = torch.from_numpy(plan.before != mine).to(x.device)
            looks = precede(looks, picked(x, plan.before), preceded)
        alone = x.ndim == 5 and len(streams) == 1  # then no picture is missing
        if plan.kind == "none":
            mixed[name] = looks
        elif alone or (x.ndim == 5 and plan.kind == "cutmix"):
            mixed[name] = mix_video(plan, looks, partners(x))
        elif plan.kind == "mixup":
            mixed[name] = mix_points(plan, looks, partners(x), settings.mixup_seen)
        else:
            mixed[name], share = cut_points(plan, looks, partners(x))
    soft = {task: mix_targets(share, own(y), partners(y), classes[task], task) for task, y in targets.items()}
    return mixed, soft


def _picture_size(streams: Mapping[str, Tensor], settings: AugmentSettings) -> tuple[int, int]:
    """Height and width that all streams have; refuse what cannot be mixed."""
    sizes = {name: tuple(stream.shape[-2:]) for name, stream in streams.items() if stream.ndim == 5}
    if not settings.mixes:
        return 1, 1
    for name, stream in streams.items():
        alone = stream.ndim == 4 and len(streams) == 1
        if stream.ndim not in (3, 4, 5) or (settings.cutmix and stream.ndim != 5 and not alone):
            raise RecipeError(
                f"augment.cutmix: found the stream {name!r} {tuple(stream.shape)}; expected pictures [clips, frames, "
                "channels, height, width], or points alone; set it to 0 for this stream"
            )
    if len(set(sizes.values())) > 1:
        raise RecipeError(
            f"augment.cutmix: found pictures of sizes {sizes}; expected one size; give all streams the same"
        )
    height, width = next(iter(sizes.values()), (1, 1))
    return int(height), int(width)
