"""What a body's points become, frame by frame: all of them as one vector, or each part of the body by itself.

A point that was not seen is NaN. It is read as a learnt vector of its own, never as a coordinate, and what is made of
it (its velocity, its bone) is not known either.

Axes: B clips, T frames, G = B x T frames of all clips, K points, C coordinates, P patches of a part, D width,
E width of a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.models.blocks import CrossAttention
from mudra.models.layers import Dropout, rotary_phases

SPEED = 8.0  # per difference: what a body moves from frame to frame is about so much smaller than itself
SHORTEST = 1e-3  # a bone that is shorter points nowhere in particular
BONE = 4.0  # what lies along a bone is about so much smaller than the body

Rows = Sequence[int]
Bones = Sequence[tuple[int, int]]
Patches = tuple[Tensor, Tensor]  # of one part [G, P, E], and which of them show anything, bool [G, P]


class PointFeatures(nn.Module):
    """Points, the bones between them, and how both move: [B, T, K, C] -> [B, T, K + bones, differences + 1, C].

    Args:
        directions: a bone is where it points, whatever its length, not the whole of its vector.
    """

    def __init__(self, bones: Bones, differences: int, directions: bool) -> None:
        super().__init__()
        self.differences = differences
        self.directions = directions
        self.tails, self.heads = [tail for tail, _ in bones], [head for _, head in bones]

    def forward(self, points_BTKC: Tensor) -> Tensor:
        absent_BTK = points_BTKC.isnan().any(-1)
        looks = points_BTKC.masked_fill(absent_BTK[..., None], torch.nan)
        if self.tails:
            bones = looks[:, :, self.heads] - looks[:, :, self.tails]
            bones = F.normalize(bones, dim=-1, eps=SHORTEST) if self.directions else bones * BONE
            looks = torch.cat([looks, bones], 2)
        features = [looks]
        before = torch.full_like(looks[:, :1], torch.nan)
        for _ in range(self.differences):
            features.append(features[-1].diff(dim=1, prepend=before) * SPEED)
        return torch.stack(features, -2)


class FrameEmbedding(nn.Module):
    """All points of a frame as one vector: features [B, T, N, differences + 1, C] in, [B, T, D] out.

    Args:
        points: how many of the N are points; the others are bones, which are not there where an end of them is not.
    """

    def __init__(self, points: int, bones: int, features: int, width: int, dropout: float) -> None:
        super().__init__()
        self.points = points
        self.linear = nn.Linear((points + bones) * features, width)
        self.absence = nn.Parameter(torch.zeros(points, width))
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        absent_BTK = features[:, :, : self.points, 0].isnan().any(-1)
        # difference by difference, and within each point by point
        known = features.transpose(2, 3).flatten(2).nan_to_num(0.0)
        x_BTD = self.linear(known) + absent_BTK.to(known.dtype) @ self.absence
        return self.dropout(self.norm(x_BTD))


class Part(nn.Module):
    """One part of the body: its points in patches, each patch a vector, and attention among them.

    Departs from S3: a patch that shows nothing is a learnt vector, and takes no part in the mean.
    """

    def __init__(self, rows: Rows, patch: int, features: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.patches = -(-len(rows) // patch)
        self.rows = [*rows, *[rows[-1]] * (self.patches * patch - len(rows))]
        self.filled = self.patches * patch - len(rows)
        self.linear = nn.Linear(patch * features, width)
        self.absence = nn.Parameter(torch.zeros(patch, width))
        self.position = nn.Parameter(torch.zeros(self.patches, width))
        self.missing = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        # attention with one key to choose from would learn nothing
        self.attention = CrossAttention(width, heads, dropout) if self.patches > 1 else None
        self.size = width // heads

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, K, F, C] of all points -> patches [G, P, E], and which show anything, bool [G, P]."""
        own = features[:, :, self.rows].flatten(0, 1)  # [G, P x patch, F, C]
        seen = ~own[:, :, 0].isnan().any(-1)
        if self.filled:  # the last patch is filled up with points that are never there
            seen = torch.cat([seen[:, : -self.filled], torch.zeros_like(seen[:, -self.filled :])], 1)
        seen_GPN = seen.unflatten(1, (self.patches, -1))
        known = own.flatten(2).masked_fill(~seen[..., None], torch.nan).nan_to_num(0.0)
        x_GPE = self.linear(known.unflatten(1, (self.patches, -1)).flatten(2))
        x_GPE = x_GPE + (~seen_GPN).to(x_GPE.dtype) @ self.absence + self.position
        x_GPE = self.norm(x_GPE)
        seen_GP = seen_GPN.any(-1)
        if self.attention is not None:
            phases = rotary_phases(self.patches, self.size, x_GPE)
            x_GPE = x_GPE + self.attention(x_GPE, x_GPE, seen_GP, phases)
        return x_GPE, seen_GP

    def mean(self, x_GPE: Tensor, seen_GP: Tensor) -> Tensor:
        """The part as one vector [G, E]: the mean of the patches that show anything, or a learnt vector."""
        weight_GP1 = seen_GP[..., None].to(x_GPE.dtype)
        count_G1 = weight_GP1.sum(1)
        mean = (x_GPE * weight_GP1).sum(1) / count_G1.clamp(min=1)
        return torch.where(count_G1 > 0, mean, self.missing)


class PartEmbedding(nn.Module):
    """Every part by itself, parts that look at each other, and one vector a frame of them all.

    Args:
        parts: rows of each part by name.
        couples: parts that look at each other, both at once, each patch at all patches of the other.
        width: of a part; `out` of the frame.
    """

    def __init__(
        self,
        parts: Mapping[str, Rows],
        couples: Sequence[tuple[str, str]],
        patch: int,
        features: int,
        width: int,
        heads: int,
        out: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.names = list(parts)
        self.couples = [(self.names.index(one), self.names.index(other)) for one, other in couples]
        self.parts = nn.ModuleList(
            Part(rows, patch, features, width, heads, dropout) for rows in parts.values()
        )
        self.crossing = nn.ModuleList(CrossAttention(width, heads, dropout) for _ in range(2 * len(couples)))
        self.weigh = nn.Linear(width, 1) if len(parts) > 1 else None
        self.fuse = nn.ModuleList(nn.Linear(width, out) for _ in parts)
        self.norm = nn.LayerNorm(out)
        self.dropout = Dropout(dropout)

    def apart(self, features: Tensor) -> list[Patches]:
        """Each part as it is by itself, of features [B, T, K, F, C]."""
        return [part(features) for part in self.parts]

    def crossed(self, looks: Sequence[Patches]) -> list[Patches]:
        """Each part after it looked at others, as those were before."""
        grown = [x_GPE for x_GPE, _ in looks]
        for number, (one, other) in enumerate(self.couples):
            (x_GPE, seen_GP), (other_GPE, other_seen_GP) = looks[one], looks[other]
            to_one, to_other = self.crossing[2 * number], self.crossing[2 * number + 1]
            grown[one] = grown[one] + to_one(x_GPE, other_GPE, other_seen_GP)
            grown[other] = grown[other] + to_other(other_GPE, x_GPE, seen_GP)
        return [(x_GPE, seen_GP) for x_GPE, (_, seen_GP) in zip(grown, looks, strict=True)]

    def vectors(self, looks: Sequence[Patches]) -> Tensor:
        """Each part as one vector: [G, parts, E]."""
        means = [part.mean(*look) for part, look in zip(self.parts, looks, strict=True)]  # type: ignore[operator]
        return torch.stack(means, 1)

    def together(self, looks: Sequence[Patches]) -> Tensor:
        """The frame that the parts make, as they look at each other: [G, D]."""
        parts_GNE = self.vectors(self.crossed(looks))
        fused_GND = torch.stack([fuse(parts_GNE[:, number]) for number, fuse in enumerate(self.fuse)], 1)
        if self.weigh is not None:
            fused_GND = fused_GND * (self.weigh(parts_GNE).softmax(1) * len(self.names))
        return self.dropout(self.norm(fused_GND.sum(1)))


def parts_of(points: int, named: Mapping[str, Rows] | None) -> dict[str, list[int]]:
    """Rows by part, every row in one of them: those that no part names are a part of their own."""
    parts = {name: list(rows) for name, rows in (named or {}).items()}
    rest = sorted(set(range(points)) - {row for rows in parts.values() for row in rows})
    return parts | ({"other" if parts else "all": rest} if rest else {})
