"""Rows on disk and tables in benches/RESULTS.md, for the parts beside compare.py."""

import json
import math
import textwrap
import time

from compare import RESULTS, ROWS, rows, spread, table

__all__ = ["insert", "now", "rank", "rows", "save", "spread", "table"]


def now():
    return time.strftime("%Y-%m-%d %H:%M:%S")


def rank(ordered, percent):
    """The value that this share of the ordered values does not exceed."""
    if not ordered:
        return math.nan
    return ordered[min(len(ordered), math.ceil(len(ordered) * percent / 100)) - 1]


def save(name, result):
    ROWS.mkdir(exist_ok=True)
    (ROWS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def insert(script, lines):
    """Puts `lines` between the script's two marks; prose is wrapped."""
    begin, end = f"<!-- begin: {script} -->", f"<!-- end: {script} -->"
    before, mark, rest = RESULTS.read_text().partition(begin)
    _, closing, after = rest.partition(end)
    if not mark or not closing:
        raise SystemExit(f"{RESULTS} lacks the marks of {script}")
    wrapped = [part for line in lines
               for part in ([line] if line.startswith(("|", "#")) or not line else textwrap.wrap(line, 80))]
    RESULTS.write_text(before + "\n".join([begin, "", *wrapped, end]) + after)
