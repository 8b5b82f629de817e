"""A branch for each task over the frames of a clip, and branches that look at each other.

What is done and what it is done with depend on each other: a kettle is poured from, not folded. So the branch of the
verb may look at what the branch of the noun found in each frame, and the other way round.

Source: mudra. S5's study had the idea and gave each branch one vector, so that attention had one key to choose from,
whose weight is 1 whatever it is: it learned nothing. Here a branch is a sequence, a token a frame, and each token of a
branch chooses among the tokens of all the others. All branches look at the same moment, at what the others were
before any of them looked; so no task comes first.

Axes: B clips, N tasks, T frames, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mudra.models.blocks import Block, CrossAttention, start_quiet
from mudra.models.layers import DropPath, Phases, TaskHeads, start_scaled


class BranchLayer(nn.Module):
    """One layer of all branches: they look at each other (unless `crossed` is off), then each at itself."""

    def __init__(
        self,
        tasks: int,
        width: int,
        heads: int,
        *,
        crossed: bool,
        mlp_ratio: float,
        dropout: float,
        attention_dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.crossings = nn.ModuleList(
            CrossAttention(width, heads, dropout) for _ in range(tasks if crossed else 0)
        )
        self.drop_path = DropPath(drop_path)
        self.own = nn.ModuleList(
            Block(
                width,
                heads,
                mlp_ratio=mlp_ratio,
                dropout=dropout,
                attention_dropout=attention_dropout,
                drop_path=drop_path,
            )
            for _ in range(tasks)
        )

    def forward(self, branches: Sequence[Tensor], phases: Phases | None) -> list[Tensor]:
        """A [B, T, D] of each task in, the same out."""
        before = list(branches)
        after = list(branches)
        for task, cross in enumerate(self.crossings):
            others = torch.cat([x_BTD for other, x_BTD in enumerate(before) if other != task], 1)
            after[task] = before[task] + self.drop_path(cross(before[task], others, phases=phases))
        return [own(x_BTD, phases) for own, x_BTD in zip(self.own, after, strict=True)]


class TaskBranches(nn.Module):
    """A branch for each task: [B, T, D] of the frames in, what each task's classifier reads out, [B, N x D].

    The branches stand in the order of the tasks.
    """

    def __init__(self, tasks: int, width: int, heads: int, *, depth: int, **layer: float | bool) -> None:
        super().__init__()
        self.entries = nn.ModuleList(nn.Linear(width, width) for _ in range(tasks))
        self.layers = nn.ModuleList(
            BranchLayer(tasks, width, heads, **layer)  # type: ignore[arg-type]
            for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(tasks))
        self.apply(start_scaled)
        self.apply(start_quiet)

    def forward(self, x_BTD: Tensor, phases: Phases | None = None) -> Tensor:
        branches = [entry(x_BTD) for entry in self.entries]
        for layer in self.layers:
            branches = layer(branches, phases)
        return torch.cat([norm(x).mean(1) for norm, x in zip(self.norms, branches, strict=True)], -1)


class BranchHeads(TaskHeads):
    """One linear classifier per task, each on its own branch: [B, N x D] -> {task: logits [B, classes]}."""

    def __init__(self, width: int, classes: Mapping[str, int], dropout: float = 0.0) -> None:
        super().__init__(width, classes, dropout)

    def forward(self, x_BF: Tensor) -> dict[str, Tensor]:
        parts = self.dropout(x_BF).chunk(len(self.tasks), -1)
        return {
            task: self.get_submodule(f"to_{task}")(x_BD) for task, x_BD in zip(self.tasks, parts, strict=True)
        }
