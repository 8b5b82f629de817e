"""Stems: a frame becomes a grid of tokens. Every token depends on its own frame alone (or its predecessor).

Axes: B clips, T frames, C channels, H height, W width, P patches of a frame (row by row), D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.errors import ModelError


class LinearStem(nn.Module):
    """One linear layer per patch, kept as the convolution that the field's weights are stored as."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.convolution = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, P, D]."""
        n, c, height, width = x_NCHW.shape
        p = self.patch
        # A matrix product on cut-out patches gives tokens in the order the blocks want, without a transpose.
        patches = x_NCHW.view(n, c, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        patches = patches.reshape(n, -1, c * p * p)
        return F.linear(patches, self.convolution.weight.flatten(1), self.convolution.bias)


class ConvolutionStem(nn.Module):
    """3x3 convolutions of stride 2 down to the patch grid, then 1x1 to the width.

    Source: Xiao et al., "Early convolutions help transformers see better", NeurIPS 2021, arXiv:2106.14881.
    Departs from it: each frame is normalised as a whole in place of batch norm, so that its tokens do not
    depend on other clips and a stream sees what training saw. (A norm at each place by itself would
    make the noise of a still background as loud as a moving hand.)

    Raises:
        ModelError: patch is not a power of two from 2 to 64, or the width is too small to halve that often.
    """

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        steps = patch.bit_length() - 1
        if patch != 2**steps or not 1 <= steps <= 6:
            raise ModelError(
                f"model.patch: found {patch}; expected 2, 4, 8, 16, 32 or 64, "
                "because each convolution of the stem halves the frame; choose one of them or stem: linear"
            )
        sizes = [max(8, width >> (steps - 1 - step)) for step in range(steps)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            for before, after in zip([channels, *sizes], sizes, strict=False)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, size) for size in sizes)
        self.projection = nn.Linear(sizes[-1], width)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, P, D]."""
        x = x_NCHW.contiguous(memory_format=torch.channels_last)  # 1.4 times faster on a CPU, both ways
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x)))
        return self.projection(x.flatten(2).mT)


def with_differences(x_BTCHW: Tensor, *, alone: bool = False) -> Tensor:
    """Put each frame's change since the one before beside it: [B, T, 2C, H, W]; the first frame's is zero.

    Only the past is looked at, so a stream can do the same by keeping one frame.

    Args:
        alone: the change in place of the frame: [B, T, C, H, W].
    """
    change = torch.diff(x_BTCHW, dim=1, prepend=x_BTCHW[:, :1])
    return change if alone else torch.cat([x_BTCHW, change], dim=2)
