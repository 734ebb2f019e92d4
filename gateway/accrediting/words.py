"""The findings in words: what was looked at, and what to do where it is not so. Chinese, then English."""

from __future__ import annotations

from msgspec import Struct


class Words(Struct, frozen=True):
    """What is looked at (``zh``, ``en``), and what to do about it."""

    zh: str
    en: str
    fix_zh: str
    fix_en: str


WORDS: dict[str, Words] = {
    "identity.reachable": Words(
        "节点可达，并说明其接口",
        "It answers, and says what it is",
        "检查地址、证书和防火墙",
        "check address, certificate and firewall",
    ),
    "identity.version": Words(
        "采用 FHIR R4 (4.0.1)",
        "It speaks FHIR R4 (4.0.1)",
        "提供 R4 接口",
        "offer an R4 interface",
    ),
    "identity.found": Words(
        "可按证件号码找到患者",
        "Each patient is found by number",
        "支持按 Patient.identifier（system|value）检索，并在 Patient 中返回该号码",
        "support searching Patient by identifier (system|value), and show that number in the Patient",
    ),
    "identity.once": Words(
        "一个号码只对应一个患者",
        "A number leads to one patient",
        "合并重复的患者记录",
        "merge duplicate patients; records of all of them are shown meanwhile",
    ),
    "identity.unknown": Words(
        "未知号码没有结果",
        "An unknown number leads to nothing",
        "检索不得忽略 identifier 参数",
        "a search must not ignore the identifier",
    ),
    "identity.exact": Words(
        "号码的一部分没有结果",
        "A part of a number leads to nothing",
        "identifier 必须精确匹配",
        "match the whole identifier, not its beginning",
    ),
    "identity.own": Words(
        "只返回所问患者的记录",
        "Only the records of the person asked about are shown",
        "检索必须按患者过滤",
        "searches must filter by patient: another person's record was shown",
    ),
    "search.method": Words(
        "支持所配置的检索方式",
        "Searches work by the configured method",
        "支持 POST _search，或将 dialect.search 设为 get",
        "support POST _search, or set dialect.search = get",
    ),
    "search.other_method": Words(
        "GET 与 POST 检索结果一致",
        "GET and POST searches answer alike",
        "两种方式应返回相同结果（R4 3.1.1.1）",
        "both should find the same (R4 section 3.1.1.1)",
    ),
    "search.bounds": Words(
        "遵守时间范围",
        "Bounds on the date are kept to",
        "支持 ge 日期条件，或将 dialect.since 设为 false",
        "support ge on dates, or set dialect.since = false",
    ),
    "search.paging": Words(
        "分页完整，不重不漏",
        "Pages together hold everything, once",
        "修正 next 链接（QIDO-RS：limit、offset）",
        "correct the next links (QIDO-RS: limit, offset)",
    ),
    "search.page_size": Words(
        "遵守每页条数",
        "The size of a page is kept to",
        "支持 _count（QIDO-RS：limit）",
        "support _count (QIDO-RS: limit)",
    ),
    "search.complete": Words(
        "找到所有预期结果",
        "Every expected result was found",
        "对照名称、时间与检查实例号，补全缺失的结果",
        "compare names, times and study UIDs, and supply what is missing",
    ),
    "retrieval.readable": Words(
        "所有资源可读",
        "Every resource can be read",
        "修正所列资源",
        "correct the resources that are listed",
    ),
    "retrieval.flags": Words(
        "结果没有质量问题",
        "The results carry no flag of quality",
        "补全或更正所列内容",
        "supply or correct what is listed; such results are shown and not recognised",
    ),
    "retrieval.values": Words(
        "检验结果有结果值",
        "Laboratory results have values",
        "在 valueQuantity 或 valueString 中给出结果值",
        "give the value, as valueQuantity or valueString",
    ),
    "retrieval.studies": Words(
        "影像检查有实例号和影像数",
        "Imaging studies have a UID and a number of images",
        "在 ImagingStudy 中给出 urn:dicom:uid 标识和 numberOfInstances",
        "give ImagingStudy.identifier (urn:dicom:uid) and numberOfInstances",
    ),
    "retrieval.institution": Words(
        "结果属于该节点的机构",
        "Results are of the node's institutions",
        "更正 performer，或在 further_institutions 中列出该机构",
        "correct the performer, or list the institution in further_institutions",
    ),
    "retrieval.images": Words(
        "影像数与声明一致",
        "As many images as are stated",
        "核对影像归档是否完整",
        "check whether the archive holds every image",
    ),
    "retrieval.metadata": Words(
        "可取检查元数据",
        "The metadata of a study can be had",
        "提供 WADO-RS /metadata",
        "offer WADO-RS /metadata; viewers need it",
    ),
    "retrieval.instance": Words(
        "可取影像实例",
        "An instance can be retrieved",
        "按 multipart/related 提供 WADO-RS 实例（PS3.18 10.4）",
        "offer WADO-RS instances as multipart/related (PS3.18 section 10.4)",
    ),
    "retrieval.frames": Words(
        "可取单帧影像",
        "Single frames can be retrieved",
        "提供 WADO-RS /frames/{n}",
        "offer WADO-RS /frames/{n}; the first image is shown sooner",
    ),
    "names.read": Words(
        "项目名称可对应到互认项目",
        "The names are understood",
        "在审核队列中确认所列名称（lianren review）",
        "confirm the listed names in the review queue (lianren review)",
    ),
    "units.stated": Words(
        "定量结果有单位",
        "Numbers have units",
        "给出 valueQuantity.unit",
        "give valueQuantity.unit",
    ),
    "units.known": Words(
        "单位可与目录比较",
        "The units can be compared with the catalogue's",
        "采用目录单位，或登记换算关系",
        "use the catalogue's unit, or have a conversion listed",
    ),
    "units.values": Words(
        "结果值与单位同原报告",
        "Values and units are as written",
        "按原样传送结果值，保留末尾的零",
        "send values as they were written, with their zeros",
    ),
    "times.stated": Words(
        "时间完整并带时区",
        "Times are whole and carry a zone",
        "给出带时区的日期时间",
        "give date and time with the zone",
    ),
    "times.expected": Words(
        "检查时间与预期一致",
        "Times are as expected",
        "核对时区：常见为相差 8 小时",
        "check the zone: a difference of 8 hours is the usual slip",
    ),
    "times.clock": Words(
        "服务器时钟准确",
        "The server's clock is right",
        "启用 NTP",
        "use NTP",
    ),
    "charset.text": Words(
        "文字无乱码",
        "The text is not garbled",
        "核对字符集：UTF-8，或将 charset 设为 gb18030",
        "check the character set: UTF-8, or set charset = gb18030",
    ),
    "charset.person_names": Words(
        "患者姓名与预期一致",
        "Patients' names are as expected",
        "核对字符集（DICOM：SpecificCharacterSet）",
        "check the character set (DICOM: SpecificCharacterSet)",
    ),
    "errors.bad_request": Words(
        "拒绝错误的参数",
        "A wrong parameter is refused",
        "返回 400 和 OperationOutcome",
        "answer 400 with an OperationOutcome",
    ),
    "errors.unknown_path": Words(
        "拒绝未知的地址",
        "An unknown path is refused",
        "返回 404",
        "answer 404",
    ),
    "errors.unknown_resource": Words(
        "不存在的资源返回 404",
        "What is not there is refused",
        "返回 404，而不是 200 或 500",
        "answer 404, neither 200 nor 500",
    ),
    "errors.token": Words(
        "拒绝错误的凭据",
        "Wrong credentials are refused",
        "要求凭据，错误时返回 401",
        "ask for credentials, and answer 401 to wrong ones",
    ),
    "behaviour.slow_client": Words(
        "容忍缓慢的客户端",
        "A slow client is served",
        "放宽服务器的读写时限（至少 5 秒）",
        "give clients at least 5 s to send and to read",
    ),
    "behaviour.many_clients": Words(
        "并发提问，回答不变",
        "Many clients at once get the same answers",
        "增加并发能力，或调低 connections",
        "serve more at once, or set connections lower",
    ),
    "behaviour.leaving_client": Words(
        "客户端离开后仍可用",
        "It goes on after clients left",
        "客户端断开时释放资源",
        "give up what a client does not wait for",
    ),
    "latency.questions": Words(
        "95% 的回答在时限内",
        "95 % of the answers are in time",
        "加快检索（按患者和时间建索引），或调高 timeout_ms",
        "make searches faster (index by patient and time), or raise timeout_ms",
    ),
}
"""By the id of the finding; the part before the point is its group."""

GROUPS: dict[str, tuple[str, str]] = {
    "identity": ("身份", "Identity"),
    "search": ("检索", "Search"),
    "retrieval": ("调阅", "Retrieval"),
    "names": ("名称", "Names"),
    "units": ("单位", "Units"),
    "times": ("时间", "Times"),
    "charset": ("字符集", "Character sets"),
    "errors": ("错误处理", "Errors"),
    "behaviour": ("负载行为", "Behaviour"),
    "latency": ("时延", "Latency"),
}
STATES: dict[str, tuple[str, str]] = {
    "passed": ("通过", "passed"),
    "advice": ("建议", "advice"),
    "fix": ("须整改", "to fix"),
    "not_made": ("未测", "not made"),
}
