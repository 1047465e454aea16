"""`sidestep export` and `sidestep serve`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sidestep.cli.options import RunArgument, say
from sidestep.cli.parsing import read_replicas
from sidestep.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from sidestep.recommenders.facade import Facade
    from sidestep.serving.worker import Answerer

LOCAL = ("127.0.0.1", "::1", "localhost")
HistoriesOption = Annotated[
    str | None, typer.Option(help="The store of users' events: a SQLite file, or redis://HOST.")
]
SetsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=FILE", help="A named set of items: a file with one id per line."),
]
KeyOption = Annotated[Path | None, typer.Option(help="A file with the key that requests need [or SIDESTEP_API_KEY].")]
AdminKeyOption = Annotated[Path | None, typer.Option(help="A file with the key of /v1/admin [or SIDESTEP_ADMIN_KEY].")]
EngineOption = Annotated[
    Literal["local", "ray"], typer.Option(help="This process, or replicas on a cluster by Ray Serve.")
]
ReplicasOption = Annotated[
    str, typer.Option(metavar="N[:MOST]", help="Of --engine ray; with two numbers, as many as requests need.")
]


def export(
    run: RunArgument,
    to: Annotated[Path, typer.Option("--to", help="The bundle's folder; an older bundle in it is replaced.")],
    fields: Annotated[
        list[str] | None, typer.Option("--field", help="A column of the catalogue to include; may be repeated [all].")
    ] = None,
    graph: Annotated[
        bool, typer.Option("--graph", help="Include the whole search as one graph: fast answers without PyTorch.")
    ] = False,
) -> None:
    """Write a trained run as one folder that can be served, copied and published."""
    from sidestep.pipeline.exporting import export as write
    from sidestep.pipeline.run import Run

    manifest = write(Run.open(run), to, fields, graph)
    size = sum(path.stat().st_size for path in to.iterdir()) / 1e6
    print(
        f"{to}: {manifest.meta['method']}, {manifest.meta['num_items']:,} items, {size:.1f} MB, {manifest.digest[:12]}"
    )
    print(f"\nNext: sidestep serve {to}")


def serve(
    bundles: Annotated[
        list[str], typer.Argument(metavar="[NAME=]BUNDLE...", help="Bundles; the first is the default model.")
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535)] = 8000,
    histories: HistoriesOption = None,
    sets: SetsOption = None,
    threads: Annotated[int, typer.Option(min=1, help="Of each model [all cores but one].")] = max(
        (os.cpu_count() or 2) - 1, 1
    ),
    max_batch: Annotated[int, typer.Option(min=1, help="Maximum number of histories in one search.")] = 32,
    patience_ms: Annotated[
        float, typer.Option(min=0, help="Maximum time a free model waits for more histories.")
    ] = 4.0,
    deadline_ms: Annotated[int, typer.Option(min=1, help="Default deadline of a request.")] = 2_000,
    max_queue: Annotated[int, typer.Option(min=1, help="Maximum number of waiting histories.")] = 1_024,
    max_body: Annotated[int, typer.Option(min=1, help="Maximum bytes of a request.")] = 1_000_000,
    hang_seconds: Annotated[float, typer.Option(min=0.1, help="Replace a model that hangs for so long.")] = 30.0,
    kept_events: Annotated[int, typer.Option(min=1, help="Number of latest events stored per user.")] = 1_000,
    api_key_file: KeyOption = None,
    admin_key_file: AdminKeyOption = None,
    engine: EngineOption = "local",
    replicas: ReplicasOption = "1",
) -> None:
    """Serve bundles over HTTP, with a page at / that shows the path of thoughts. SIGHUP reloads them."""
    number = read_replicas(replicas, engine)
    try:
        from sidestep.serving.settings import Settings
        from sidestep.serving.standing import run
    except ImportError as error:
        raise MissingExtraError(f"{error.name!r} is missing; serving needs `pip install 'sidestep[serve]'`") from None
    folders = _named(bundles, "a bundle's folder", lambda text: Path(text).resolve().name)
    for folder in folders.values():
        _refuse_other_than_bundle(folder)
    settings = Settings(
        folders,
        histories,
        _named(sets or [], "NAME=FILE", None),
        threads,
        max_batch,
        patience_ms,
        deadline_ms,
        max_queue,
        max_body,
        hang_seconds=hang_seconds,
        kept_events=kept_events,
        api_key=_key(api_key_file, "SIDESTEP_API_KEY"),
        admin_key=_key(admin_key_file, "SIDESTEP_ADMIN_KEY"),
        open_metrics=host in LOCAL,
    )
    if host not in LOCAL and settings.api_key is None:
        say(f"warning: {host} can be reached from other machines, and no API key is set; set one with --api-key-file")
    ready: Callable[[str], None] = lambda url: say(f"Sidestep answers at {url} (Ctrl-C stops it)")  # noqa: E731
    if engine == "ray":
        from sidestep.launch.ray_serve import run as run_on_ray

        run_on_ray(open_model, settings, number, host, port, ready)
        return
    run(open_model, settings, host, port, ready)


def _refuse_other_than_bundle(folder: Path) -> None:
    from sidestep import bundle
    from sidestep.errors import ArtifactError

    if bundle.is_bundle(folder):
        return
    if (folder / "recipe.json").is_file():
        raise ArtifactError(f"{str(folder)!r} is a run; make a bundle of it with `sidestep export {folder} --to DIR`")
    raise ArtifactError(f"No bundle in {str(folder)!r}; make one with `sidestep export RUN --to {folder}`")


def open_model(folder: Path, digest: str, threads: int) -> "Answerer":
    """Load a model in its own process, without torch where there is a graph. The HTTP process never imports it."""
    if answers_by_graph(folder):
        from sidestep.fast.answering import GraphAnswering

        return GraphAnswering(folder, digest, threads)
    from sidestep.pipeline.answering import Answering

    return Answering(folder, digest, threads)


def load_model(folder: Path) -> "Facade":
    """The model of a run or of a bundle, by its graph where it has one."""
    if answers_by_graph(folder):
        from sidestep.fast.model import open_model as open_graph

        return open_graph(folder)
    from sidestep.pipeline.models import load

    return load(folder)


def answers_by_graph(folder: Path) -> bool:
    """Whether a bundle has a graph and ONNX Runtime can run it; says so where only the latter is missing."""
    from sidestep.fast.recommender import has_graph
    from sidestep.fast.session import can_run

    if not has_graph(folder):
        return False
    if not can_run():
        say(
            f"note: {str(folder)!r} has a graph, which needs `pip install 'sidestep[fast]'`; PyTorch answers instead, "
            "the same and slower"
        )
        return False
    return True


def _named(texts: list[str], expected: str, own_name: Callable[[str], str] | None) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or (own_name is not None and Path(text).exists()):
            if own_name is None:
                raise ConfigError(f"{text!r} has no name; expected {expected}")
            name, path = own_name(text), text
        if not name or name in paths:
            raise ConfigError(f"{text!r}: a second {name!r}; give it another name with NAME={path}")
        paths[name] = Path(path)
    return paths


def _key(file: Path | None, variable: str) -> str | None:
    if file is None:
        return os.environ.get(variable) or None
    try:
        key = file.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{str(file)!r} is not text; expected a key") from None
    if not key:
        raise ConfigError(f"{str(file)!r} is empty; expected a key")
    return key
