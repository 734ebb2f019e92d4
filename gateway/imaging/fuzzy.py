"""Whether a name is like another: fuzzy matching of person names (PS3.18 8.3.4.2, PS3.4 C.2.2.2.1.1).

A Chinese name stands in archives in Hanzi, in pinyin, or in both; in one component or in two; with tones or
without; family name first or last. So a name is spoken, syllable by syllable, in each order that it may have,
and what is asked for is like it when it is the beginning of one of these, up to the end of a syllable: WANG,
XIAODONG WANG, and 小东 are like 王^小东; WA is not, and WA* is. Hanzi are compared as Hanzi (in simplified
script), with names that have some: 王晓冬 is not like 王小东, though it sounds so.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache, lru_cache
from itertools import accumulate, islice, product

from mapping.text import folded

Orders = Callable[[tuple[str, ...]], list[tuple[str, ...]]]

_GROUPS, _LONGEST, _WAYS, _READINGS, _WORDS = 3, 64, 81, 3, 5
"""Groups of a name and characters of a group that are read (PS3.5 section 6.2), ways in which it is spoken in
one order, readings of one character, and words of a name of which one may come first."""
_HANZI = "㐀-䶿一-鿿豈-﫿\U00020000-\U0003ffff"
_UNIT = re.compile(rf"[{_HANZI}*?]|[^{_HANZI}*?\s=,.'’`´·•・‧\-_/]+")
_HAN = re.compile(rf"[{_HANZI}]")
_MARKS = re.compile(r"[\u0300-\u036f]")
_TONE = re.compile(r"(?<=[a-z])[1-5](?![0-9])")
_UMLAUT = re.compile(r"(?<=[ln])(?:v|yu)")  # lü is written lv, lyu and lu
_PERSONAL = 3
"""Components of a name that are a person's: family, given and middle name; not prefix and suffix."""
_NAMES = str.maketrans(
    "傑凱勛勳勵厲呂喬囑堯塗塢墳墻墾壇奐奮妝婁媧嫺嫻嬋嬌嬡寵寶峴峽崗崢嵐嶸嶺嶼嶽巒巖廈廬弒彌彥恆悅愛愷"
    "慄慟慶憐憲懌懷戀撫擁攬斕晉暉暘暢曄曠朧東柵棗棟楊楓楨極榮榿樂樓樺櫓櫟櫻權欽歐殞氈沖浹淩淪渙渾湞湯"
    "滄漢漣潤潯澀澗濘濤濰瀅瀋瀏瀘瀟瀾灑灝煒煬熾燁燦燭燾獅琺琿瑋瑤瑩璉璣璦璽瓏甯疇癡皚盡硯碩祿禎禪稟穌"
    "竪筍箏篤簫紓紗紘紜紹絢絳綏綸綺綾綿緗緯緹縈縉縝縵績繆繡纓纘罷羨義習翬翹聳聶芻荊莢蒞蒼蓀蔣蔭蕓蕭薑"
    "薔薺藎藺蘆蘊蘿虯蟬褘訓訢詔詠詩誠誼談諍諒諧諭諶諸諾謀謐謙謨謹譙譚譽豐豔貞貢貴貽賀賁賈賑賜賡賢賦贇"
    "軍軒軻軾輅輾轅轍迴迺遙邁郟鄆鄒鄔鄧鄭鄲鄺酈醞釗鈁鈞鈴鈺鉉銓銘銜鋒錕錚錦鍇鎔鎧鎬鏗鏘鏢鐔鐸鑄鑽鑾閆"
    "閔閩閻闔闕闞闡陝隴雋霽靄鞏韋韙韜韻頊頌頎頡頤顓顥颯飆飴饒馮馳馴駒駟駱駿騁騏騫騮驊驍驕驥驪鮑鯉鯤鳳"
    "鳶鴒鴛鴦鴻鵑鵬鶯鶴鷗鷹鷺鸝鸞黌龐龑龔",
    "杰凯勋勋励厉吕乔嘱尧涂坞坟墙垦坛奂奋妆娄娲娴娴婵娇嫒宠宝岘峡岗峥岚嵘岭屿岳峦岩厦庐弑弥彦恒悦爱恺"
    "栗恸庆怜宪怿怀恋抚拥揽斓晋晖旸畅晔旷胧东栅枣栋杨枫桢极荣桤乐楼桦橹栎樱权钦欧殒毡冲浃凌沦涣浑浈汤"
    "沧汉涟润浔涩涧泞涛潍滢沈浏泸潇澜洒灏炜炀炽烨灿烛焘狮珐珲玮瑶莹琏玑瑷玺珑宁畴痴皑尽砚硕禄祯禅禀稣"
    "竖笋筝笃箫纾纱纮纭绍绚绛绥纶绮绫绵缃纬缇萦缙缜缦绩缪绣缨缵罢羡义习翚翘耸聂刍荆荚莅苍荪蒋荫芸萧姜"
    "蔷荠荩蔺芦蕴萝虬蝉袆训䜣诏咏诗诚谊谈诤谅谐谕谌诸诺谋谧谦谟谨谯谭誉丰艳贞贡贵贻贺贲贾赈赐赓贤赋赟"
    "军轩轲轼辂辗辕辙回乃遥迈郏郓邹邬邓郑郸邝郦酝钊钫钧铃钰铉铨铭衔锋锟铮锦锴镕铠镐铿锵镖镡铎铸钻銮闫"
    "闵闽阎阖阙阚阐陕陇隽霁霭巩韦韪韬韵顼颂颀颉颐颛颢飒飙饴饶冯驰驯驹驷骆骏骋骐骞骝骅骁骄骥骊鲍鲤鲲凤"
    "鸢鸰鸳鸯鸿鹃鹏莺鹤鸥鹰鹭鹂鸾黉庞䶮龚",
)
"""Traditional characters that names have and :func:`mapping.text.folded` does not know: general knowledge of
the script."""


def likenesses(texts: Iterable[str]) -> list[Callable[[Sequence[str]], bool]]:
    """What tells, for each text, whether a name, given by its groups, is like it.

    A text may have groups, parted by ``=``: each is good on its own. ``*`` and ``?`` are as in PS3.4
    C.2.2.2.4. A name without any group is like nothing.
    """
    orders: Orders = cache(lambda name: [order for group in name[:_GROUPS] for order in _orders(group)])
    spoken: Orders = cache(lambda name: _spoken(orders(name)))
    return [_likeness(text, orders, spoken) for text in texts]


def _likeness(text: str, orders: Orders, spoken: Orders) -> Callable[[Sequence[str]], bool]:
    groups = [one.replace("^", " ") for one in text.split("=", _GROUPS)[:_GROUPS] if len(one) <= _LONGEST]
    asked = [units for one in groups if (units := _units(one))]

    @cache
    def like(name: tuple[str, ...]) -> bool:
        written = [order for order in orders(name) if any(map(_HAN.fullmatch, order))]
        return any(
            _begins([(unit,) for unit in units], written)
            if written and _of_hanzi(units)
            else _begins([_readings(unit) for unit in units], spoken(name))
            for units in asked
        )

    return lambda name: like(tuple(name))


def _begins(asked: Sequence[Sequence[str]], names: Iterable[Sequence[str]]) -> bool:
    """Whether one of the names begins with what is asked for, each unit of it in one of its readings. The
    ends of syllables may stand anywhere, because XIAN is XI'AN, too; but what is asked for ends at one."""
    return any(not _ends(name).isdisjoint(_reached(asked, "".join(name))) for name in names)


def _reached(asked: Iterable[Sequence[str]], text: str) -> Collection[int]:
    """Where the readings end that fit from the beginning of the text on: all of them at once, so that no
    pattern is tried again and again."""
    places: Collection[int] = {0}
    for readings in asked:
        if not places:
            break
        if readings[0] == "*":
            places = range(min(places), len(text) + 1)
        elif readings[0] == "?":
            places = {place + 1 for place in places if place < len(text)}
        else:
            places = {place + len(one) for one in readings for place in places if text.startswith(one, place)}
    return places


def _ends(name: Sequence[str]) -> set[int]:
    return set(accumulate(map(len, name)))


def _units(text: str) -> tuple[str, ...]:
    """The Hanzi and words of a text, without tones, in one script, width and case."""
    plain = unicodedata.normalize("NFKC", text[:_LONGEST]).lower().replace("ü", "u")
    units = (folded(one).lower().translate(_NAMES) for one in _UNIT.findall(_bare(plain)))
    return tuple(one for one in units if one)


def _bare(text: str) -> str:
    """Without marks over letters, digits for tones, and with one way of writing ü."""
    letters = unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFD", text)))
    return _UMLAUT.sub("u", _TONE.sub("", letters))


def _of_hanzi(units: Sequence[str]) -> bool:
    return all(_HAN.fullmatch(one) or one in "*?" for one in units)


def _orders(group: str) -> list[tuple[str, ...]]:
    """The units of a name as it is written, and with the family name last, or first."""
    parts = [units for part in group.split("^")[:_PERSONAL] if (units := _units(part))]
    flat = tuple(unit for units in parts for unit in units if unit not in "*?")
    if len(parts) > 1:
        cuts: Iterable[int] = (len(parts[0]),)
    elif flat and _of_hanzi(flat):  # a family name has one character, or two
        cuts = (1, 2)
    else:
        cuts = range(1, min(len(flat), _WORDS))
    return [flat, *(flat[cut:] + flat[:cut] for cut in cuts if cut < len(flat))] if flat else []


def _spoken(orders: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """How a name is spoken in these orders: several ways where a character has several readings."""
    ways = (way for order in orders for way in islice(product(*map(_readings, order)), _WAYS))
    return list(dict.fromkeys(ways))


@lru_cache(4096)
def _readings(unit: str) -> tuple[str, ...]:
    """The syllables that a character stands for, the usual one first; a word stands for itself."""
    if not _HAN.fullmatch(unit):
        return (unit,)
    os.environ.setdefault("PYPINYIN_NO_PHRASES", "true")  # words are not read here, and cost 40 MB and 0.4 s
    from pypinyin import Style, pinyin

    found = pinyin(unit, style=Style.NORMAL, heteronym=True, errors="ignore")
    return tuple(dict.fromkeys(_bare(one) for one in (found[0] if found else [])))[:_READINGS] or (unit,)
