"""The frame of every page: one file, whose content security policy lets only its own script run."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.metadata import version
from importlib.resources import files

from mudra.reports import markup
from mudra.reports.palette import css_variables


def fill(
    *,
    brand: str,
    title: str,
    body: str,
    script: str,
    lead: str = "",
    facts: str = "",
    notes: str = "",
    nav: str = "",
) -> str:
    """A page. Everything but `script` is HTML, escaped by whoever made it.

    Args:
        script: a file beside this one.
    """
    folder = files("mudra.reports")
    code = folder.joinpath(script).read_text(encoding="utf-8")
    parts = {
        "brand": brand,
        "title": title,
        "lead": lead,
        "facts": facts,
        "notes": notes,
        "nav": nav,
        "body": body,
        "script": code,
        "script_hash": f"sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}",
        "version": markup.text(version("mudra")),
        "light": css_variables(dark=False),
        "dark": css_variables(dark=True),
    }
    template = folder.joinpath("template.html").read_text(encoding="utf-8")
    # in one pass: what is put in is never looked at again
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
