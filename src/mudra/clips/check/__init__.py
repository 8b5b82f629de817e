"""The data doctor: reads a whole data set before training does, and says what should be mended.

Problems make results wrong or stop a training: what cannot be decoded, what stands on both sides of
a split, what is empty. Warnings are told and left to the user: outliers, imbalance, copies within a
split, a mirror table that seems to be missing.

examination     what is looked at, in which order
balance         what the list of clips alone tells
inspection      what one file holds, read in a process of its own
stream_files    the files of a stream, and the clips that are cut from them
outliers, sensors, twins    what is odd about single files, about series and clocks, about files side by side
findings        what was found, for people and for programs
"""

from mudra.clips.check.examination import check
from mudra.clips.check.findings import Finding, Report, render, to_json

__all__ = ["Finding", "Report", "check", "render", "to_json"]
