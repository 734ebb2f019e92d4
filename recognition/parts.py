"""How body parts lie to one another: the same, one inside the other, in one region. Pure.

Parts are those of concepts (``MODALITY|PART|SIDE|METHOD|VIEW``). What a film is named after and what a scan
is named after may be one part in two words (头颅 and 颅脑). A wider part *shows* the narrower ones: images of
the whole abdomen show its upper half. Containment is for ordering and for doubt only; whether one examination
may serve for another is a stand-in of the catalogue, with a clinical owner.

Source: the lists of parts under one word of DICOM PS3.16 Annex L, and general radiological usage.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

Relation = Literal["same", "wider", "narrower", "region", ""]

WHOLE = "全身"
_ALSO = {"头颅": "颅脑", "腹部": "腹部*"}

_INSIDE = {
    "头颈部": "颅脑 颈部 头颈血管 颈部血管 面部 颌面部 面颅 鼻部 鼻咽 咽 咽喉 喉咽 口咽 喉 腮腺 颌下腺"
    " 口腔全景 上颌骨 下颌骨 颧骨 颧弓 颞下颌关节 牙 根尖 牙槽骨 茎突",
    "颅脑": "垂体 蝶鞍 鞍区 颅底 眼眶 颞骨 岩乳 内听道 内耳 中耳 耳部 乳突 副鼻窦 鼻骨 颅骨 颅脑血管 颅脑静脉"
    " 海马 脑干 小脑 桥小脑角 后颅窝 三叉神经 面神经 听神经 视神经",
    "颈部": "甲状腺 喉 咽喉 喉咽 颈部血管 颈内动脉 颈静脉 颈椎",
    "头颈血管": "颅脑血管 颈部血管 椎动脉 椎基底动脉 颈内动脉",
    "胸部": "肋骨 肋软骨 胸骨 胸锁关节 纵隔 胸廓 胸壁 胸廓入口 胸廓出口 胸膜 胸腔"
    " 心脏 肺动脉 肺静脉 胸主动脉 食管 胸椎",
    "心脏": "冠状动脉",
    "主动脉": "胸主动脉 腹主动脉",
    "腹盆腔": "全腹部 盆腔",
    "全腹部": "上腹部 中腹部 下腹部 中下腹部 腹部* 腹腔 腹膜后 泌尿系 盆腔 小肠 结肠"
    " 腹部血管 腹主动脉 肾动脉 腰椎",
    "上腹部": "肝脏 肝胆 肝胆胰 肝胆脾 肝胆胰脾 肝胆胰脾肾 胆道 胆囊 胆囊区 脾脏"
    " 胰腺 胰胆管 胃 肾上腺 肾脏 肾区 门静脉",
    "泌尿系": "肾脏 肾区 输尿管 膀胱 膀胱区",
    "腹部血管": "腹主动脉 肾动脉 门静脉 腹腔干 肠系膜动脉 肠系膜上动脉",
    "盆腔": "前列腺 子宫附件 子宫 附件 卵巢 宫颈 阴道 膀胱 膀胱区 直肠 直肠肛管 骨盆 骶尾椎",
    "骨盆": "髂骨 骶髂关节 耻骨 坐骨 髋关节",
    "全脊柱": "颈椎 颈胸椎 胸椎 胸腰段 腰椎 腰骶椎 骶椎 骶尾椎 尾椎 颈腰椎",
    "颈腰椎": "颈椎 胸椎 腰椎",
    "颈胸椎": "颈椎 胸椎",
    "颈椎": "颈椎间盘 颈髓 寰枢椎 寰枕关节 齿状突",
    "胸椎": "胸椎间盘 胸髓",
    "腰骶椎": "腰椎 骶椎 腰骶椎间盘",
    "腰椎": "腰椎间盘 腰髓",
    "骶尾椎": "骶椎 尾椎",
    "上肢": "肩部 肱骨 上臂 肘关节 前臂 腕关节 手 上肢血管 上肢静脉",
    "肩部": "肩关节 肩胛骨 锁骨 肩锁关节",
    "上臂": "肱骨",
    "前臂": "尺桡骨",
    "尺桡骨": "尺骨 桡骨",
    "腕关节": "腕骨 舟骨",
    "手": "腕骨 舟骨 掌骨 掌指骨 掌指关节 手指 拇指 食指 中指 环指 小指",
    "下肢": "髋关节 大腿 膝关节 小腿 踝关节 足 下肢血管 下肢静脉",
    "髋关节": "股骨头 股骨颈",
    "大腿": "股骨",
    "股骨": "股骨头 股骨颈 股骨粗隆",
    "膝关节": "髌骨",
    "小腿": "胫腓骨",
    "胫腓骨": "胫骨 腓骨",
    "踝关节": "距骨 跟距关节",
    "足": "跟骨 足跟 距骨 跟距关节 足舟骨 跗骨 跖骨 跖趾关节 跗跖关节 足趾 拇趾 跖趾骨",
}

_WITHIN: dict[str, frozenset[str]] = {}
for _wide, _narrow in _INSIDE.items():
    for _part in _narrow.split():
        _WITHIN[_part] = _WITHIN.get(_part, frozenset()) | {_wide}


@cache
def containing(part: str) -> frozenset[str]:
    """Every part that a part lies inside of, near and far; the whole body not counted."""
    near = _WITHIN.get(_ALSO.get(part, part), frozenset())
    return near.union(*(containing(wide) for wide in near))


def known(part: str) -> bool:
    """Whether anything is said here of where the part lies."""
    return part == WHOLE or _ALSO.get(part, part) in _WITHIN or part in _INSIDE


def relation(part: str, wanted: str) -> Relation:
    """How a part lies to the one that is wanted; empty where nothing joins them, or one is not said."""
    one, other = _ALSO.get(part, part), _ALSO.get(wanted, wanted)
    if not one or not other:
        return ""
    if one == other:
        return "same"
    around, about = containing(one), containing(other)
    if one == WHOLE or one in about:
        return "wider"
    if other == WHOLE or other in around:
        return "narrower"
    return "region" if around & about else ""
