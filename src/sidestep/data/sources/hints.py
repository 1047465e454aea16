"""What the names of columns hint at, in the languages we know. A hint never outweighs what the values say."""

# ruff: noqa: RUF001

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

USERS = (
    *("userid", "user", "uid", "reviewerid", "customerid", "customer", "visitorid", "memberid", "accountid"),
    *("clientid", "buyerid", "playerid", "author", "userno", "usernumber", "userhash", "who", "msno", "person"),
    *("kunde", "kundeid", "kundennr", "kundennummer", "benutzer", "nutzer", "benutzerid", "nutzerid"),
    *("client", "utilisateur", "idclient", "idutilisateur", "usuario", "cliente", "idusuario", "idcliente", "utente"),
    *("gebruiker", "klant", "klantid", "anvandare", "bruger", "kayttaja", "uzytkownik", "kullanici"),
    *("пользователь", "клиент", "用户", "用户id", "ユーザー", "사용자", "sessionid", "session"),
)
ITEMS = (
    *("itemid", "item", "iid", "parentasin", "asin", "productid", "product", "sku", "ean", "isbn", "movieid"),
    *("videoid", "trackid", "songid", "bookid", "articleid", "newsid", "gameid", "adid", "businessid", "contentid"),
    *("itemno", "itemnumber", "productcode", "stockcode", "movie", "video", "track", "song", "book", "article", "game"),
    *("venueid", "venue", "artistid", "anime", "animeid", "recipeid", "courseid", "what", "goodsid", "podcastid"),
    *("artikel", "artikelid", "artikelnr", "artikelnummer", "produkt", "produktid", "produktnr", "ware"),
    *("produit", "idproduit", "articulo", "producto", "idproducto", "prodotto", "produto", "idarticulo"),
    *("товар", "товарid", "商品", "商品id", "アイテム", "상품"),
)
TIMES = (
    *("timestamp", "timems", "times", "time", "ts", "datetime", "eventtime", "eventtimestamp", "unixreviewtime"),
    *("unixtime", "createdat", "date", "day", "when", "relseconds", "reltime", "reviewtime", "tdat", "utctime"),
    *("zeit", "zeitpunkt", "zeitstempel", "datum", "kaufdatum", "fecha", "hora", "data", "dataora", "heure", "quand"),
    *("tijd", "tid", "дата", "время", "时间", "时间戳", "日期", "日時", "시간"),
)
POSITIONS = ("position", "pos", "step", "seqno", "sequence", "sequenceno", "itemposition")
RATINGS = (
    *("rating", "ratings", "stars", "star", "overall", "score", "starrating", "bookrating", "userrating"),
    *("reviewscore", "bewertung", "sterne", "note", "notes", "punktzahl", "puntuacion", "calificacion"),
    *("valoracion", "voto", "avaliacao", "оценка", "рейтинг", "评分", "評価", "평점"),
)
LABELS = (
    *("label", "target", "y", "liked", "like", "likes", "islike", "isliked", "click", "clicked", "clicks", "isclick"),
    *("isclicked", "purchased", "bought", "purchase", "ispurchase", "isbuy", "follow", "isfollow", "longview"),
    *("islongview", "finish", "finished", "watched", "response", "relevant", "recommended", "isrecommended"),
    *("positive", "feedback"),
)
"""Names of columns of 0 and 1 that say whether an interaction counts."""
EVENTS = (
    *("eventtype", "event", "behavior", "behaviour", "behaviortype", "behaviourtype", "action", "actiontype"),
    *("interactiontype", "activity", "ereignis", "aktion", "evento", "evenement", "действие", "событие", "行为"),
)
PRICES = ("price", "prices", "amount", "revenue", "preis", "betrag", "prix", "precio", "prezzo", "цена", "价格")
TITLES = (
    *("title", "name", "itemname", "productname", "movietitle", "prodname", "titel", "titre", "titulo", "titolo"),
    *("bezeichnung", "nombre", "nom", "nome", "название", "标题", "名称", "タイトル"),
)
NOUNS = ("id", "ids", "no", "nr", "number", "code", "key")
"""Words that say no more than that a column holds ids."""


def plain(name: str) -> str:
    """A name without case, accents and punctuation: `Book-Rating` -> `bookrating`."""
    bare = unicodedata.normalize("NFKD", name.lower())
    return re.sub(r"[\W_]", "", "".join(mark for mark in bare if not unicodedata.combining(mark)))


@lru_cache
def _all_plain(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a list, which every column of a table is compared with."""
    return tuple(map(plain, words))


def column_like(names: Sequence[str], words: tuple[str, ...]) -> str | None:
    """The column whose name, without case and punctuation, is one of the words, the earliest word first."""
    spelled = {plain(name): name for name in reversed(names)}
    return next((spelled[word] for word in _all_plain(words) if word in spelled), None)


def like(name: str, words: tuple[str, ...]) -> bool:
    """Whether a column's name is one of the words."""
    return plain(name) in _all_plain(words)


def likeness(first: str, second: str) -> float:
    """How alike two columns are by name alone: 1 for the same, .9 but for case and marks, .7 for `movie` and
    `movie_id`, .4 for two names of items, .2 for an item and `key` or `no`, else 0.
    """
    if first == second:
        return 1.0
    ours, theirs = plain(first), plain(second)
    if ours == theirs:
        return 0.9
    if _stem(first) and _stem(first) == _stem(second):
        return 0.7
    if like(first, ITEMS) and (like(second, ITEMS) or theirs in ("id", "ids")):
        return 0.4
    return 0.2 if like(first, ITEMS) and theirs in NOUNS else 0.0


def _stem(name: str) -> str:
    """A name without the words that only say "id", and without a plural's s."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    words = [plain(word) for word in re.split(r"[\W_]+", spaced)]
    kept = "".join(word for word in words if word not in NOUNS)
    for noun in NOUNS:
        if kept.endswith(noun) and len(kept) > len(noun) + 2 and kept == plain(name):
            kept = kept.removesuffix(noun)
            break
    return kept.removesuffix("s")
