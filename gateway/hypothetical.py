"""What a hypothetical check and its results are written as: strictly, in the fields that a decision sees."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, structs

from catalog import Kind
from gateway.model import AwareTime, ShortText
from gateway.rules import Rules
from mapping import LocalName
from recognition import Context, Images, Mark, Reading, Result
from recognition.model import Identity, ResultStatus


class ReadingIn(Reading, frozen=True, forbid_unknown_fields=True):
    """What a name was read as."""

    item: ShortText | None = None
    concept: ShortText | None = None
    reason: ShortText = ""


class ImagesIn(Images, frozen=True, forbid_unknown_fields=True):
    """What the archive holds."""


class MarkIn(Mark, frozen=True, forbid_unknown_fields=True):
    """The mark, taken for what ``state`` says: nothing is verified."""


class ResultIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A hypothetical prior result: the fields of a result as a decision sees it.

    Without a ``reading`` its ``local_name`` is read; ``version_key`` is its id if left out.
    """

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    kind: Kind
    institution: ShortText
    node: ShortText = ""
    local_name: ShortText = ""
    reading: ReadingIn | None = None
    identity: Identity = "strong"
    status: ResultStatus = "final"
    performed: AwareTime | None = None
    reported: AwareTime | None = None
    version_key: ShortText = ""
    specimen: ShortText = ""
    value: ShortText = ""
    unit: ShortText = ""
    reference: ShortText = ""
    abnormal: bool = False
    study_uid: ShortText = ""
    images: ImagesIn | None = None
    printed_mark: ShortText = ""
    mark: MarkIn | None = None
    flags: Annotated[tuple[ShortText, ...], Meta(max_length=50)] = ()
    source: ShortText = ""

    def result(self, rules: Rules) -> Result:
        """The result, its name read by these rules where no reading is given."""
        reading = self.reading
        if reading is None:
            named = rules.normaliser.read(
                LocalName(name=self.local_name, kind=self.kind, specimen=self.specimen)
            )
            reading = ReadingIn(named.item, named.target, named.reason)
        fields = {name: value for name, value in structs.asdict(self).items() if name != "reading"}
        return Result(**{**fields, "version_key": self.version_key or self.id}, reading=reading)


class CheckIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A hypothetical check: the asking institution, codes of items or panels, facts of the encounter."""

    receiver: ShortText = ""
    planned: Annotated[tuple[ShortText, ...], Meta(min_length=1, max_length=50)]
    context: Context = Context()
