"""The documentation of all versions: a folder for each, an index, and a site that a failed build leaves as it was."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from command import contents

pytest.importorskip("mkdocs", reason="no mkdocs; `pip install -e '.[docs]'`")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("versions", Path(__file__).parents[1] / "docs" / "versions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A documentation of one page, whose theme fetches nothing."""
    (tmp_path / "docs").mkdir()
    path = tmp_path / "mkdocs.yml"
    path.write_text("site_name: A\nstrict: true\ntheme: {name: material, font: false}\nplugins: []\n")
    return path


def write(config: Path, text: str) -> None:
    (config.parent / "docs" / "index.md").write_text(text)


def leads_to(site: Path) -> str:
    (target,) = re.findall(r"url=([^/]+)/", (site / "index.html").read_text())
    return target


def test_every_version_keeps_its_pages_and_the_index_leads_to_the_newest_release(
    docs: ModuleType, config: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    for name in ("0.9.0", "0.10.0", "0.10.1rc1", "0.2.0"):
        write(config, f"# Pages of {name}")
        docs.publish(site, name, config)
    write(config, "# Mended pages")
    (site / "assets").mkdir()  # of somebody else
    assert docs.publish(site, "0.9.0", config) == ["0.10.0", "0.9.0", "0.2.0", "0.10.1rc1"]
    assert leads_to(site) == "0.10.0"
    assert [each["version"] for each in json.loads((site / "versions.json").read_text())] == docs.versions(site)
    for name in ("0.10.0", "0.10.1rc1", "0.2.0"):
        page = (site / name / "index.html").read_text()
        assert f"Pages of {name}" in page
        assert '"provider": "mike"' in page  # the theme's menu of versions
    assert "Mended pages" in (site / "0.9.0" / "index.html").read_text()


def test_a_page_that_does_not_build_leaves_the_site_as_it_was(docs: ModuleType, config: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    write(config, "# Pages")
    docs.publish(site, "1.0", config)
    before = contents(site)
    write(config, "[nowhere](nowhere.md)")
    for name in ("1.0", "1.1"):
        with pytest.raises(SystemExit):
            docs.publish(site, name, config)
        assert {path: digest for path, digest in contents(site).items() if not path.startswith(".")} == before


def test_before_the_first_release_the_index_leads_to_what_there_is(
    docs: ModuleType, config: Path, tmp_path: Path
) -> None:
    write(config, "# Pages")
    docs.publish(tmp_path / "site", "1.0rc1", config)
    assert docs.publish(tmp_path / "site", "1.0rc2", config) == ["1.0rc2", "1.0rc1"]
    assert leads_to(tmp_path / "site") == "1.0rc2"
