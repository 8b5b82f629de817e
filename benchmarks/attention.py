"""Where the fused attention kernel begins to pay on this CPU: the rule in mudra/models/layers.py.

python benchmarks/attention.py
"""

import statistics
import time

import torch

from mudra.models.layers import AttentionMethod, attend

# What attends together in the models: groups, positions, places x heads, width of a head.
SHAPES = (
    (32, 8, 148, 24),
    (1, 8, 2352, 64),
    (2, 16, 1182, 64),
    (4, 32, 600, 64),
    (256, 37, 4, 24),
    (256, 65, 4, 24),
    (32, 101, 6, 64),
    (8, 197, 12, 64),
    (1, 1569, 12, 64),
)


def seconds(method: AttentionMethod, qkv: torch.Tensor, backward: bool) -> float:
    """CPU time of attention on [G, L, P x H, 3, E], to the point where the projection would follow."""
    start = time.process_time()
    with torch.set_grad_enabled(backward):
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(3))
        answer = attend(q, k, v, method=method).transpose(1, 2).flatten(2)
    if backward:
        torch.autograd.grad(answer, qkv, torch.ones_like(answer))
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, 1 thread; time of plain / time of fused, above 1 the fused kernel is faster"
    )
    print("| groups, positions, heads, width | forward | forward and backward |\n| --- | --- | --- |")
    for groups, length, heads, width in SHAPES:
        qkv = torch.randn(groups, length, heads, 3, width, requires_grad=True)
        ratios = []
        for backward in (False, True):
            turns = [[seconds(method, qkv, backward) for method in ("plain", "fused")] for _ in range(9)][1:]
            plain, fused = (statistics.median(taken) for taken in zip(*turns, strict=True))
            ratios.append(f"{plain / fused:.2f}")
        print(f"| {groups}, {length}, {heads}, {width} | {' | '.join(ratios)} |")


if __name__ == "__main__":
    main()
