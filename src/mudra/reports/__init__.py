"""What a person reads of a run: pictures, one HTML page, a table for the terminal."""

from mudra.reports.report import write_report
from mudra.reports.terminal import summary

__all__ = ["summary", "write_report"]
