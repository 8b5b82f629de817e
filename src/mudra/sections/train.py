"""The loop: how long, how much at a time, what is saved, where a training starts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mudra.settings import Above0, Count, Positive, Rate, Settings, Share


class TrainSettings(Settings):
    """The loop.

    batch: clips that the model sees at a time, over all processes; an optimiser step sees `accumulate`
        times as many. So neither the number of processes nor accumulating changes what is learnt.
    precision: `fp32`, or autocast to `bf16` / `fp16` (with a gradient scaler). `auto` is bf16 where the
        processor multiplies it by itself, else fp32; a run keeps what it began with.
    matmul: how float32 products are computed, as torch.set_float32_matmul_precision takes it. `medium` helps
        processors that multiply bfloat16 by themselves and doubles the time of those that do not.
    early_stop: epochs without a lower validation loss before the end; None trains them all.
    choose: which weights are the result: those of the epoch that was `best` on validation, or the `last`, which is
        wiser where validation is a handful of clips.
    ema: decay of an exponential moving average of the weights, which is then what is evaluated.
    sampling: `balanced` draws every class equally often.
    save_every: optimiser steps between checkpoints; None saves at the end of each epoch.
    workers: loader processes; 0 reads in the training process. The samples do not depend on it.
    read_limit: seconds that a loader process may take for one clip before it is given up.
    decode_failures: the share of training clips that may be undecodable before training stops.
    keep: how many of the latest checkpoints stay, besides the best.
    probe: train the classifiers alone, on what the rest of the model makes of so many looks at each clip, each altered
        as `augment` says. They are computed once and kept in the user's cache, so that an epoch costs next to nothing;
        epoch e takes look e, and begins again with the first. None trains the whole model.
    init_from: whose weights the training starts from: a run, a bundle, or published weights: in transformers' form, as
        a folder or a name on the Hugging Face hub; a file of a state_dict (.pth, .safetensors); or torchvision:NAME or
        timm:NAME, such as torchvision:KINETICS400_V1 or timm:resnet50.a1_in1k, fetched from where they publish it.
        `--init-from` says another.
    """

    epochs: Positive = 50
    batch: Positive = 16
    accumulate: Positive = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    matmul: Literal["highest", "high", "medium"] = "highest"
    compile: bool = False
    clip_norm: Above0 | None = None
    early_stop: Positive | None = None
    choose: Literal["best", "last"] = "best"
    ema: Rate | None = None
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    seed: Count = 0
    workers: Count = 2
    save_every: Positive | None = None
    log_every: Positive = 10
    read_limit: Above0 = 20.0
    decode_failures: Share = 0.01
    keep: Positive = 2
    device: Literal["auto", "cpu", "cuda"] = "auto"
    probe: Positive | None = None
    init_from: Annotated[str, Field(min_length=1)] | None = None
