"""TimeSformer of mudra beside that of transformers: equal weights, equal inputs, taken in turns.

    python benchmarks/timesformer.py --size small --batch 2 --repeats 5
    python benchmarks/timesformer.py --size small --frames 8 16 32 64 96 --hybrid --precisions fp32
    python benchmarks/timesformer.py --device cuda --batch 16 --frames 8 32 --hybrid --compile --out timesformer-cuda.md

`--hybrid` adds the same model with retention, looking both ways, in place of temporal attention; its spatial
weights are the same, its answers are not.

Every variant is measured once a round, so that what else the machine does falls on all of them alike. The
table shows the fastest round (and the median); ratios are of fastest rounds, since a busy machine can only
add time. On a CPU the time is CPU time, and the memory is what a forward pass keeps for the backward pass; on a GPU
it is the peak of a train step. A train step is forward, loss, backward and AdamW. The outputs are
compared before anything is timed.
"""

from __future__ import annotations

import argparse
import gc
import math
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.models import count_parameters, flops
from mudra.models.retention import RetentionSettings
from mudra.models.timesformer import TimeSformer, TimeSformerSettings
from mudra.models.timesformer_weights import from_transformers_state
from mudra.training.hardware import processor_name
from publishing import publish

SIZES = {"base": (768, 12, 12), "small": (384, 8, 6)}  # width, depth, heads
CLASSES = 400
PRECISIONS = ("fp32", "medium", "bf16")


@dataclass
class Variant:
    """One model under one set of switches, and what was measured of it."""

    name: str
    precision: str
    answer: Callable[[Tensor], Tensor]
    optimiser: torch.optim.Optimizer
    difference: float = 0.0
    forward: list[float] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    memory: int = 0

    def switches(self, device: str) -> AbstractContextManager[None]:
        """Set the precision of matrix products; the result turns autocast on where it is meant."""
        torch.set_float32_matmul_precision("medium" if self.precision == "medium" else "highest")
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16")


def models(size: str, frames: int, device: str) -> tuple[nn.Module, TimeSformer]:
    """transformers' model and ours with the same random weights, no bias left at zero."""
    width, depth, heads = SIZES[size]
    config = transformers.TimesformerConfig(
        num_frames=frames, hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads,
        intermediate_size=4 * width, num_labels=CLASSES,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.TimesformerForVideoClassification(config)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    ours = TimeSformer(
        TimeSformerSettings(
            width=width, depth=depth, heads=heads, class_token="per_clip", temporal_dense=True, norm_eps=1e-6
        ),
        {"video": (frames, 3, 224, 224)},
        {"label": CLASSES},
    )  # fmt: skip
    ours.load_state_dict(from_transformers_state(theirs.state_dict(), heads))
    return theirs.to(device), ours.to(device)


def hybrid_of(ours: TimeSformer, frames: int, device: str) -> TimeSformer:
    """The same model with retention along time."""
    changes = {"temporal": "retention", "temporal_dense": False, "retention": RetentionSettings(causal=False)}
    settings = ours.settings.model_copy(update=changes)
    hybrid = TimeSformer(settings, {"video": (frames, 3, 224, 224)}, {"label": CLASSES}).to(device)
    own = hybrid.state_dict()
    shared = {name: x for name, x in ours.state_dict().items() if name in own}
    hybrid.load_state_dict({**own, **shared})
    return hybrid


def variants(args: argparse.Namespace, frames: int) -> list[Variant]:
    """transformers and ours at each precision; the first is transformers as its users run it."""
    theirs, ours = models(args.size, frames, args.device)
    answers: dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]] = {
        "transformers": (theirs, lambda video: theirs(video).logits),
        "mudra": (ours, lambda video: ours({"video": video})["label"]),
    }
    if args.compile:
        compiled = torch.compile(ours)
        answers["mudra, compiled"] = (ours, lambda video: compiled({"video": video})["label"])
    if args.hybrid:
        hybrid = hybrid_of(ours, frames, args.device)
        answers["mudra, hybrid"] = (hybrid, lambda video: hybrid({"video": video})["label"])
    made = []
    for name, (model, answer) in answers.items():
        # Rate 0: every step does all its work and leaves the weights as they are.
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
        made += [Variant(name, precision, answer, optimiser) for precision in args.precisions]
    return sorted(made, key=lambda variant: args.precisions.index(variant.precision))


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds that `work` takes: of CPU time on a CPU, of the clock on a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    work()
    return time.process_time() - start


def forward(variant: Variant, video: Tensor) -> Tensor:
    with variant.switches(video.device.type), torch.inference_mode():
        return variant.answer(video)


def train_step(variant: Variant, video: Tensor, labels: Tensor) -> None:
    with variant.switches(video.device.type):
        loss = F.cross_entropy(variant.answer(video), labels)
    loss.backward()
    variant.optimiser.step()
    variant.optimiser.zero_grad(set_to_none=True)


def compare_outputs(all_variants: list[Variant], video: Tensor) -> None:
    """Note how far each variant's logits are from transformers' in full precision; stop where fp32 differs."""
    reference = forward(all_variants[0], video).float()
    scale = reference.abs().max()
    for variant in all_variants:
        difference = (forward(variant, video).float() - reference).abs().max() / scale
        variant.difference = float(difference)
        if "hybrid" in variant.name:
            variant.difference = math.nan
        elif variant.precision == "fp32" and variant.difference > 1e-4:
            raise SystemExit(
                f"{variant.name} fp32: logits differ by {difference:.1e} of their size; nothing timed"
            )


def measure(all_variants: list[Variant], video: Tensor, repeats: int) -> None:
    device = video.device.type
    labels = torch.arange(len(video), device=device) % CLASSES
    for turn in range(repeats + 1):  # the first turn warms up
        for variant in all_variants:
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds = (
                timed(lambda: forward(variant, video), device),  # noqa: B023  (called at once)
                timed(lambda: train_step(variant, video, labels), device),  # noqa: B023
            )
            if device == "cuda":
                variant.memory = torch.cuda.max_memory_allocated()
            elif not turn:
                variant.memory = kept(variant, video)
            if turn:
                variant.forward.append(seconds[0])
                variant.train.append(seconds[1])
        gc.collect()


def kept(variant: Variant, video: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights aside."""
    sizes: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        if not isinstance(x, nn.Parameter) and not x.is_leaf:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), variant.switches(video.device.type):
        variant.answer(video)
    return sum(sizes.values())


def table(all_variants: list[Variant], clips: int, device: str) -> list[str]:
    """Milliseconds a clip and how many times faster than transformers, in Markdown."""
    like = {variant.precision: variant for variant in all_variants if variant.name == "transformers"}
    default = all_variants[0]
    head = ["", "precision", "logits differ by"]
    for work in ("forward", "train step"):
        head += [f"{work}, ms a clip (median)", "x same switches", "x transformers' defaults"]
    head += ["peak memory, MiB" if device == "cuda" else "kept for backward, MiB", "x transformers"]
    rows = [head, ["---"] * len(head)]
    for variant in all_variants:
        row = [variant.name, variant.precision]
        row += ["other model" if math.isnan(variant.difference) else f"{variant.difference:.0e}"]
        for work in ("forward", "train"):
            taken, same, usual = (getattr(v, work) for v in (variant, like[variant.precision], default))
            fastest, median = min(taken), statistics.median(taken)
            row.append(f"{1e3 * fastest / clips:.0f} ({1e3 * median / clips:.0f})")
            row += [f"{min(other) / fastest:.2f}" for other in (same, usual)]
        row += [f"{variant.memory / 2**20:.0f}", f"{variant.memory / like[variant.precision].memory:.2f}"]
        rows.append(row)
    return ["| " + " | ".join(row) + " |" for row in rows]


def describe(args: argparse.Namespace, frames: int) -> list[str]:
    width, depth, heads = SIZES[args.size]
    with torch.device("meta"):
        ghost = models(args.size, frames, "meta")[1]
    size, work = count_parameters(ghost), flops(ghost, {"video": (frames, 3, 224, 224)})
    where = torch.cuda.get_device_name() if args.device == "cuda" else processor_name()
    return [
        f"## {args.size}: {frames} frames of 224 px, batch {args.batch}, {args.device}",
        "",
        f"Width {width}, depth {depth}, heads {heads}: {size:,} parameters, {work / 1e9:.0f} GFLOPs a clip "
        f"(a multiplication and an addition are two). {args.repeats} rounds, {torch.get_num_threads()} threads; "
        f"{where}; torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--frames", type=int, nargs="+", default=[8])
    parser.add_argument("--hybrid", action="store_true", help="also measure ours with retention along time")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="on a CPU; with 1 the times are the steadiest")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--compile", action="store_true", help="also measure ours under torch.compile")
    parser.add_argument("--out", help="append the table to this file in benchmarks/results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for frames in args.frames:
        torch.manual_seed(0)
        video = torch.randn(args.batch, frames, 3, 224, 224).to(args.device)
        everything = variants(args, frames)
        compare_outputs(everything, video)
        measure(everything, video, args.repeats)
        lines = [*describe(args, frames), *table(everything, args.batch, args.device), ""]
        publish(lines, args.out)


if __name__ == "__main__":
    main()
