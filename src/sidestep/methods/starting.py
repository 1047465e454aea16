"""A recipe for somebody's own files: how they are read, as a look found, and sizes that follow from the counts."""

import json
import shlex
from pathlib import Path

from sidestep.data.inspect import Findings
from sidestep.data.sources import DataConfig
from sidestep.errors import DataError
from sidestep.methods.sizes import HEAD, Sizes

WRITTEN_KEYS = (
    *("source", "path", "interactions", "items", "user", "item", "order", "time", "time_unit", "absolute_times"),
    *("event", "events", "item_key", "item_id", "text_fields", "unknown_items", "duplicate_items", "bad_rows"),
)
TABLE_ONLY = {
    *("user", "item", "order", "time", "time_unit", "absolute_times", "event", "events"),
    *("item_key", "item_id", "text_fields"),
}
SIZED = """[tokenizer] # these sizes follow from the counts above, by the rules of methods/sizes.py
codebook_size = {codebook_size}
num_clusters = {num_clusters}

[generator]
width = {width}
num_heads = {num_heads}
head_width = {head_width}
inner = {inner}
encoder_layers = {layers}
decoder_layers = {layers}

[train] # more epochs and patience may find more
epochs = {epochs}
batch_size = {batch_size}
lr = 0.002
warmup_steps = {warmup_steps}
weight_decay = 0.05
patience = {patience}
"""


def recipe(findings: Findings) -> str:
    """A TOML recipe that trains the default method on the inspected files, of a size that suits the log."""
    config = findings.config.model_dump(mode="json")
    default = DataConfig().model_dump(mode="json")
    chosen = [key for key in WRITTEN_KEYS if config[key] != default[key] or key in ("source", "path")]
    if findings.config.source != "table":
        chosen = [key for key in chosen if key not in TABLE_ONLY]
    sizes = Sizes.of(findings.items, findings.interactions)
    shape = {"num_heads": sizes.width // HEAD, "head_width": HEAD, "inner": 4 * sizes.width}
    lines = [
        "# Written by `sidestep init`: every key may be changed, `sidestep recipes` shows more of them.",
        f"# {findings.users:,} users, {findings.items:,} items, {findings.interactions:,} interactions.",
        'method = "s2gr" # "s2gr-plain" leaves out the thoughts, in less time; `sidestep methods` lists all',
        "",
        "[data]",
        *(f"{key} = {_toml(config[key])}" for key in chosen),
        "",
        SIZED.format(**vars(sizes), **shape),
    ]
    return "\n".join(lines)


def expected(findings: Findings, path: Path) -> list[str]:
    """What to run next and how long it may take. path: of the recipe."""
    counts = findings.users, findings.items, findings.interactions
    sizes = Sizes.of(*counts[1:])
    whole, quick = sizes.minutes(*counts), sizes.baseline_minutes(*counts)
    name = shlex.quote(str(path))
    return [
        f"First a baseline, {_time(quick)} on one core: sidestep run {name} method=sasrec-ce --out runs/baseline",
        f"Next: sidestep run {name}, {_time(whole)} on one core",
    ]


def _time(minutes: float) -> str:
    if minutes < 1.5:
        return "about a minute"
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {minutes / 60:.0f} hours"


def _toml(value: object) -> str:
    """A value of the section as TOML; JSON's strings, booleans, numbers and lists of strings are TOML's as well."""
    if isinstance(value, (str, bool, int, float, list)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise DataError(f"Cannot write {value!r} as TOML")
