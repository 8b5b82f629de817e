"""The catalogue of recipes: what each is, how large, what its source reports and what was measured."""

from __future__ import annotations

import re

import torch
from rich.console import Group
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from mudra import recipe as recipes
from mudra.bundle import build_model, fitted
from mudra.clips.dataset_json import stream_kind
from mudra.clips.preprocessing import Preprocessing
from mudra.models import count_parameters, flops
from mudra.recipe import Recipe
from mudra.types import StreamInfo, StreamKind

ASSUMED_CLASSES = 10  # of a task, where only a user's files tell how many there are
ASSUMED_LAYOUT = "sign92"  # and which points
ASSUMED_CHANNELS = 6  # and how many channels


def counts(recipe: Recipe) -> tuple[int, float]:
    """Trainable parameters, counted from the built model, and GFLOPs of one clip (2 per multiply-add)."""
    streams = {name: assumed(recipe, name) for name in recipe.clip.streams}
    preprocessing = Preprocessing(recipe.clip, streams)
    inputs, settings = preprocessing.inputs, fitted(recipe.model, preprocessing)
    with torch.device("meta"):
        model = build_model(settings, inputs, class_counts(recipe))
    return count_parameters(model), flops(model, inputs) / 1e9


def class_counts(recipe: Recipe) -> dict[str, int]:
    """Classes by task, as the kind of data fixes them or taken for granted."""
    known = recipe.data.class_counts()
    return known or dict.fromkeys(recipe.data.tasks or ("label",), ASSUMED_CLASSES)


def assumed(recipe: Recipe, stream: str) -> StreamInfo:
    """What is known of a stream without any file at hand, or else taken for granted."""
    kind: StreamKind = stream_kind(stream) or "video"
    if kind == "points":
        return StreamInfo(kind, recipe.data.point_layouts().get(stream, ASSUMED_LAYOUT))
    if kind == "series":
        return StreamInfo(kind, channels=recipe.data.series_channels().get(stream, ASSUMED_CHANNELS))
    return StreamInfo(kind)


def catalogue_table() -> Table:
    """All recipes, a row each; `mudra recipes NAME` says the rest."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("recipe", style="cyan", no_wrap=True)
    table.add_column("parameters", justify="right")
    table.add_column("GFLOPs", justify="right")
    table.add_column("what it is; what its source reports; what was measured")
    for name in recipes.catalogue():
        recipe = recipes.load(name)
        parameters, work = counts(recipe)
        about = Text(recipe.about.get("Title", ""))
        for key in ("Reported", "Ours"):
            if key in recipe.about:
                about.append(f"\n{key.lower()}: {in_short(recipe.about[key])}", style="dim")
        size = Text(f"{parameters:,}")
        if "Announced" in recipe.about:
            size.append(f"\nannounced {recipe.about['Announced'].removesuffix(' parameters')}", style="dim")
        table.add_row(name, size, f"{work:,.1f}", about)
    return table


def in_short(text: str) -> str:
    """The first clauses of what a recipe states, up to the first that holds a figure.

    >>> in_short("80 signs of one signer: 78.8 % [68.8, 87.5] (trees 66.2 %). Others were not tried: python x.py")
    '80 signs of one signer: 78.8 % [68.8, 87.5] (trees 66.2 %)'
    >>> in_short("not yet measured: the data set is not at hand")
    'not yet measured'
    """
    clauses = list(re.finditer(r".+?(?=; |: |\. |\.$|$)", text))
    telling = next((found for found in clauses if "%" in found[0]), clauses[0])
    return text[: telling.end()]


def recipe_page(name: str) -> Group:
    """One recipe: what it states, exact counts, and the resolved YAML."""
    recipe = recipes.load(name)
    parameters, work = counts(recipe)
    lines = [f"{recipe.about.get('Title', '')}"]
    lines += [f"{key}: {text}" for key, text in recipe.about.items() if key != "Title"]
    lines.append(f"trainable parameters: {parameters:,}")
    lines.append(f"GFLOPs per clip: {work:,.2f}")
    if not recipe.data.class_counts():
        those = ", ".join(f"{count} classes of {task}" for task, count in class_counts(recipe).items())
        if any(stream_kind(name) == "series" for name in recipe.clip.streams):
            those += f" and series of {ASSUMED_CHANNELS} channels"
        lines.append(f"(counted with {those}; your data decides)")
    yaml = Syntax(recipes.write_yaml(recipe.tree()), "yaml", background_color="default")
    return Group(Text("\n".join(lines)), Text(""), yaml)
