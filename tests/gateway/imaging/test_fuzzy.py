"""Fuzzy matching of names in Hanzi and pinyin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imaging.fuzzy import likenesses

HANZI = ["", "王^小东"]
PINYIN = ["Wang^XiaoDong"]


@pytest.mark.parametrize(
    "text",
    [
        "王小东",
        "王^小东",
        "王 小东",
        "小东 王",
        "小东",
        "王",
        "王小*",
        "*小东*",
        "王?东",
        "王小東",
        "王xiaodong",
        "wang xiaodong",
        "Wang^Xiao Dong",
        "WANGXIAODONG",
        "xiaodong wang",
        "Xiao-Dong, Wang",
        "wáng xiǎodōng",
        "wang2 xiao3dong1",
        "ｗａｎｇ　ｘｉａｏｄｏｎｇ",
        "wang",
        "wa*",
        "*xiao*",
        "wang xiaodong=",
        "li=王小东",
    ],
)
def test_a_name_in_hanzi_is_found_however_it_is_written(text: str) -> None:
    assert likenesses([text])[0](HANZI)


@pytest.mark.parametrize(
    "text",
    [
        "王晓冬",
        "李小东",
        "东小王",
        "dong",
        "wa",
        "wang xiaoxi",
        "li xiaodong",
        "wang xiaodong li",
        "^",
        "=",
        "-",
    ],
)
def test_another_name_is_not_like_it(text: str) -> None:
    assert not likenesses([text])[0](HANZI)


@pytest.mark.parametrize(
    "text", ["王小东", "王晓冬", "小东 王", "王*", "wang^xiaodong", "xiao dong wang", "WANG", "wángxiǎodōng"]
)
def test_a_name_in_pinyin_is_found_by_hanzi_that_sound_so(text: str) -> None:
    assert likenesses([text])[0](PINYIN)


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("zeng", "曾^国强"),
        ("shan xiongxin", "单雄信"),
        ("qiu", "仇^英"),
        ("lv bu", "吕布"),
        ("lü bu", "呂布"),
        ("lyu bu", "吕布"),
        ("吕布", "LYU^BU"),
        ("ouyang xiu", "欧阳修"),
        ("xiu ouyang", "欧阳修"),
        ("欧阳修", "歐陽^修"),
        ("xian", "西安^"),
        ("xi'an", "先^"),
        ("馬龍", "马龙"),
        ("楊鄭馮", "杨郑冯"),
        ("müller", "Muller^Hans"),
        ("hans muller", "MÜLLER^HANS"),
        ("ﾔﾏﾀﾞ", "ヤマダ^タロウ"),
        ("wang wei", "WANG WEI"),
        ("*dong", "Dongsheng^Dong"),
        ("w*d*g", "Wang^XiaoDong"),
        ("wei wang", "WANG WEI"),
        ("maria garcia", "Garcia Lopez^Maria"),
    ],
)
def test_readings_scripts_and_orders_are_followed(text: str, group: str) -> None:
    assert likenesses([text])[0]([group])


def test_hanzi_are_compared_as_hanzi_where_the_name_has_some() -> None:
    assert not likenesses(["王晓冬"])[0](["Wang^XiaoDong", "王^小东"])


@pytest.mark.parametrize("groups", [[], [""], ["", "", ""], ["^"], ["=", "^^"]])
@pytest.mark.parametrize("text", ["王", "wang", "?*", "*王"])
def test_a_name_without_a_group_is_like_nothing(text: str, groups: list[str]) -> None:
    assert not likenesses([text])[0](groups)


def test_the_prefix_and_the_suffix_of_a_name_are_nobodys_name() -> None:
    assert not likenesses(["jr"])[0](["Smith^Ann^^Dr^Jr"])


@given(
    st.text("王小东曾单wangli ^'*?=-ü2", max_size=24),
    st.lists(st.text("王曾单李wang ^=", max_size=12), max_size=3),
)
def test_any_two_names_are_compared(text: str, groups: list[str]) -> None:
    assert likenesses([text])[0](groups) in (True, False)


@given(st.text("王小东曾单李吕長龍", min_size=1, max_size=4))
def test_a_name_is_like_itself(name: str) -> None:
    assert likenesses([name])[0](["", name])


def test_each_text_of_several_is_compared_on_its_own() -> None:
    assert [like(HANZI) for like in likenesses(["wang", "li", "小东"])] == [True, False, True]


def test_all_readings_of_a_long_name_are_followed() -> None:
    assert likenesses(["单解仇曾朴华"])[0](["Shan^Xie Qiu Zeng Piao Hua"])


@pytest.mark.parametrize("text", ["单*" * 31 + "x", "单" * 65, "s*" * 31])
def test_a_long_pattern_is_read_at_once(text: str) -> None:
    assert not likenesses([text])[0](["单单单单" * 15 + "单单"])
