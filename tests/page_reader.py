"""A page as its reader meets it: tags, attributes and text. And a title that must stay text."""

from html.parser import HTMLParser

NASTY = "<script>alert(1)</script> & \"both\" 'quotes' $x^2$ 鏡"
VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Tags, attributes and text of a page; refuses one whose tags do not close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())
