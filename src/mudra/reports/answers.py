"""What the terminal shows of answers for files."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mudra.types import Prediction

BAR = 24  # characters of a full bar


def prediction_table(title: str, answer: Prediction, top: int) -> Group:
    """The likeliest classes of every task, with bars."""
    table = Table(box=None, pad_edge=False)
    table.add_column("task", style="dim")
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column("", style="cyan")
    for task in answer.tasks:
        rejected = task in answer.rejected
        if rejected:
            table.add_row(Text(task), "none of these", "", "", style="bold")
        for place, ranked in enumerate(answer.top(top, task)):
            style = "dim" if rejected else "bold" if place == 0 else ""
            bar = "█" * round(ranked.probability * BAR)
            heading = "" if place or rejected else Text(task)
            table.add_row(heading, Text(ranked.name), f"{ranked.probability:.1%}", bar, style=style)
    return Group(Text(title, style="bold"), table)  # a title of the table's own breaks where that is narrow
