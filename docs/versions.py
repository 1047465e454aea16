"""A site with the documentation of every version: a folder for each, and an index that leads to the newest.

`python docs/versions.py SITE` builds this version's folder, or builds it again, and leaves those of others as they are.
Nothing is fetched. SITE is what a web server shows: a folder, or a checkout of the branch that a host publishes.
"""

import sys
from html import escape
from importlib.metadata import version
from pathlib import Path

from mkdocs.commands.build import build
from mkdocs.config import load_config
from packaging.version import InvalidVersion, Version

from sidestep.durable import replacing, write_json, write_text

CONFIG = Path(__file__).parents[1] / "mkdocs.yml"
LIST, INDEX = "versions.json", "index.html"


def publish(site: Path, name: str, config: Path = CONFIG) -> list[str]:
    """Build the documentation into `site/NAME`, and return all versions there, the newest first.

    A page that does not build leaves the site as it was. The theme reads `versions.json` for its menu of versions.
    """
    with replacing(site / name) as staging:
        build(load_config(str(config), site_dir=str(staging), extra={"version": {"provider": "mike"}}))
    names = versions(site)
    write_json(site / LIST, [{"version": each, "title": each, "aliases": []} for each in names])
    write_text(site / INDEX, index(names))
    return names


def versions(site: Path) -> list[str]:
    """The folders that are named as versions, the newest first, and what comes before a release behind all releases."""
    found = {path.name: parsed for path in site.iterdir() if (parsed := _version(path.name))}
    return sorted(found, key=lambda name: (not found[name].is_prerelease, found[name]), reverse=True)


def _version(name: str) -> Version | None:
    try:
        return Version(name)
    except InvalidVersion:
        return None


def index(names: list[str]) -> str:
    """A page that goes on to the first version and links to all."""
    links = "".join(f'<li><a href="{escape(name)}/">{escape(name)}</a></li>' for name in names)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sidestep</title>'
        f'<meta http-equiv="refresh" content="0; url={escape(names[0])}/">'
        f"<p>The documentation of every version:</p><ul>{links}</ul></html>\n"
    )


if __name__ == "__main__":
    for each in publish(Path(sys.argv[1]), version("sidestep")):
        print(each)
