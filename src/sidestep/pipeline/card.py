"""The model card of a bundle: what it was trained on, how good it is and under which protocol, and what it cannot do.

It is the bundle's README.md, which the Hugging Face Hub shows as a model's card.
"""

from typing import Any

import numpy as np
import polars as pl

from sidestep.data.reads import Reads
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.evaluate import Evaluation, judged

HEAD = 0.01
"""Share of the items whose part of the training interactions is told."""


def model_card(contents: RunContents, meta: dict[str, Any]) -> str:
    """meta: of the bundle."""
    method, run = contents.method, contents.run
    paper = f" ({method.paper})" if method.paper else ""
    sizes = " x ".join(map(str, meta["codebook_sizes"]))
    ids = f" Its semantic IDs have {len(meta['codebook_sizes'])} levels ({sizes} codes)." if sizes else ""
    about = f"{method.summary}{paper}.{ids} It reads {_reads(Reads(**meta['reads']))} of a history."
    return f"""---
library_name: sidestep
tags: [recommendation, {meta["method"]}]
---
# {meta["method"]}, {meta["num_items"]:,} items

A recommender made by [Sidestep](https://pypi.org/project/sidestep/): {about}

## Data

{_data(contents)}

## Evaluation

{_evaluation(judged(run))}

## Limits

{_limits(contents)}

## Use

```sh
sidestep serve FOLDER          # an HTTP server, and a page that shows the path of thoughts
```

```python
import sidestep

model = sidestep.from_pretrained("FOLDER or owner/name")
print(model.recommend(["an item id"], k=10, explain=True))
```
"""


def _reads(reads: Reads) -> str:
    older = f" and up to {reads.long:,} items before them" if reads.long else ""
    return f"the last {reads.recent:,} items{older}{', with their times,' if reads.times else ''}"


def _data(contents: RunContents) -> str:
    log, divided = contents.interactions, contents.split
    known = log.known_times[log.known_times >= 0] if log.absolute_times else np.empty(0, np.int64)
    span = ""
    if len(known):
        first, last = (
            np.datetime64(int(moment), "ms").astype("datetime64[D]") for moment in (known.min(), known.max())
        )
        span = f", from {first} to {last}"
    return (
        f"{len(log.items):,} interactions of {log.num_users:,} users with {len(contents.catalog):,} items{span}. "
        f"{len(divided.train):,} interactions were trained on; {len(divided.valid.targets):,} were held out for "
        f"validation and {len(divided.test.targets):,} for the test ({contents.recipe.split.kind})."
    )


def _evaluation(found: Evaluation | None) -> str:
    if found is None:
        return "Its test cases were not ranked when it was exported; `sidestep evaluate RUN`, and export it again."
    metrics = [name for name in (found.main, found.main.replace("HR", "NDCG")) if name in found.table.columns]
    rows = found.table.filter((pl.col("seen") == "masked") & (pl.col("users") == "all"))
    lines = [f"| method | {' | '.join(metrics)} |", f"|---|{'---|' * len(metrics)}"]
    lines += [f"| {row['method']} | {' | '.join(f'{row[name]:.4f}' for name in metrics)} |" for row in rows.to_dicts()]
    return "\n".join([*lines, "", f"All users, seen items masked; {found.protocol}."])


def _limits(contents: RunContents) -> str:
    popularity = np.sort(contents.popularity)[::-1]
    share = popularity[: max(1, round(HEAD * len(popularity)))].sum() / max(popularity.sum(), 1)
    grown = "new ones get their IDs by `sidestep sids append`" if contents.method.grows else "new ones need a training"
    never = int((popularity == 0).sum())
    return f"""- It recommends items of its catalogue alone; {grown}.
- It has learnt what people took of what they were shown: the most popular {HEAD:.0%} of the items have {share:.0%} of
  the training interactions, and {never:,} items have none.
- An empty history is answered by popularity. Scores can be compared within one answer only.
- A short history says little. Whether the recommendations treat groups of people or sellers alike was not examined.
- It holds titles and fields of items, and how often each was taken; no users and no histories."""
