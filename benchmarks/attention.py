"""Where the fused attention kernel begins to pay on this CPU: the rule in mudra/models/layers.py.

python benchmarks/attention.py
"""

import statistics
import time

import torch

from mudra.models.layers import AttentionMethod, attend
from mudra.training.hardware import processor_name

# What attends together in the models: groups, positions, places x heads, width of a head.
SHAPES = (
    (32, 8, 148, 24),
    (32, 48, 6, 32),
    (8, 128, 8, 64),
    (1, 600, 6, 64),
    (1, 8, 2352, 64),
    (2, 16, 1182, 64),
    (4, 32, 600, 64),
    (256, 37, 4, 24),
    (256, 65, 4, 24),
    (32, 101, 6, 64),
    (8, 197, 12, 64),
    (1, 1569, 12, 64),
)

PRECISIONS = ("fp32", "medium", "bf16")


def seconds(method: AttentionMethod, qkv: torch.Tensor, backward: bool) -> float:
    """CPU time of attention on [G, L, P x H, 3, E], to the point where the projection would follow."""
    start = time.process_time()
    with torch.set_grad_enabled(backward):
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(3))
        answer = attend(q, k, v, method=method).transpose(1, 2).flatten(2)
    if backward:
        torch.autograd.grad(answer, qkv, torch.ones_like(answer))
    return time.process_time() - start


def ratio(qkv: torch.Tensor, backward: bool) -> str:
    """Median time of plain / median time of fused."""
    turns = [[seconds(method, qkv, backward) for method in ("plain", "fused")] for _ in range(9)][1:]
    plain, fused = (statistics.median(taken) for taken in zip(*turns, strict=True))
    return f"{plain / fused:.2f}"


def main() -> None:
    torch.set_num_threads(1)
    print(
        f"{processor_name()}, torch {torch.__version__}, 1 thread; time of plain / time of fused, above 1 the fused "
        "kernel is faster: forward; forward and backward. medium is fp32 with train.matmul: medium"
    )
    print(f"| groups, positions, heads, width | {' | '.join(PRECISIONS)} |\n| --- | --- | --- | --- |")
    for shape in SHAPES:
        groups, length, heads, width = shape
        cells = [", ".join(map(str, shape))]
        for precision in PRECISIONS:
            torch.set_float32_matmul_precision("medium" if precision == "medium" else "highest")
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            qkv = torch.randn(groups, length, heads, 3, width, dtype=dtype, requires_grad=True)
            cells.append("; ".join(ratio(qkv, backward) for backward in (False, True)))
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
