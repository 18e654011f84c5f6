"""What all parts of a definition are made of: one strict pydantic model and the field types."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Strict,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from executor.flow.operators import ALIASES, Op

Number = Annotated[float, Strict(), AllowInfNan(False)]
Share = Annotated[Number, Field(ge=0, le=1)]
Weight = Annotated[Number, Field(ge=0)]
Flag = Annotated[bool, Strict()]
Many = Annotated[int, Strict(), Field(ge=1, le=50)]
#: What the patterns of names allow, in words.
PATTERNS: Mapping[str, str] = {
    (NODE_ID := r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$"): (
        "letters, digits and _ . : - only, at most 100"
    ),
    (PREFIX := r"^[a-z][a-z0-9_]{0,30}$"): (
        "a small letter, then small letters, digits and _ only, at most 31"
    ),
    (NAME := r"^[A-Za-z][A-Za-z0-9_]{0,62}$"): (
        "a letter, then letters, digits and _ only, at most 63"
    ),
}
NodeId = Annotated[str, Field(pattern=NODE_ID)]
#: The start of the names of the columns that an enrichment adds.
Prefix = Annotated[str, Field(pattern=PREFIX)]
#: What a property or a computed field is called in formulas, templates and files.
Name = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, Field(min_length=1, max_length=255)]


def _scalar(value: object) -> object:
    if isinstance(value, int | float):
        if not abs(value) < 1e308:  # more than a column of numbers can hold, or no number
            raise PydanticCustomError("finite", "a number between -1e308 and 1e308")
    elif value is not None and not isinstance(value, str):
        raise PydanticCustomError("scalar", "text, a number, true, false or null")
    return value


Scalar = Annotated[
    Any,
    AfterValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]


class Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        field_title_generator=lambda name, _: name.replace("_", " "),
    )


class ConditionLeaf(Model):
    """One comparison; `value` is left out for is_null and is_not_null."""

    field: str = Field(description="customer.<column>, offer.<attribute> or channel.<attribute>")
    operator: Annotated[str, WithJsonSchema({"enum": [*map(str, Op), *ALIASES], "type": "string"})]
    value: Any = None


class ConditionGroup(Model):
    """All (AND) or any (OR) of the conditions."""

    combinator: Literal["AND", "OR"] = "AND"
    conditions: Annotated[tuple["ConditionLeaf | ConditionGroup", ...], Field(min_length=1)]


class ConditionSchema:
    """Describes a condition in the JSON Schema; conditions are read by `parse_condition`."""

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(TypeAdapter(ConditionLeaf | ConditionGroup).core_schema)


class Conditions(Model):
    """All (AND) or any (OR) of the conditions."""

    conditions: Annotated[
        tuple[Annotated[Any, ConditionSchema()], ...], Field(min_length=1, max_length=200)
    ]
    combinator: Literal["AND", "OR"] = "AND"

    def as_condition(self) -> dict[str, Any]:
        """The JSON of one condition."""
        return {"combinator": self.combinator, "conditions": list(self.conditions)}


class FieldSource(Model):
    """A factor read from a field: `min` becomes 0, `max` becomes 1, beyond is cut off."""

    field: str = Field(
        max_length=200,
        description="customer.<column> or offer.<attribute>; the column's name may contain"
        " {offer.<attribute>} and {channel.<attribute>}",
    )
    low: Number = Field(default=0.0, alias="min")
    high: Number = Field(default=1.0, alias="max")
    default: Share | None = Field(
        default=None, description="the factor, 0 to 1, where the field is missing"
    )


NUMBER_TAG, FIELD_TAG = "<number>", "<field>"


def source_tag(value: object) -> str:
    return NUMBER_TAG if isinstance(value, int | float) else FIELD_TAG


Source = Annotated[
    Annotated[Share, Tag(NUMBER_TAG)] | Annotated[FieldSource, Tag(FIELD_TAG)],
    Discriminator(source_tag),
]


def percent_of(field: str) -> FieldSource:
    return FieldSource.model_validate({"field": field, "max": 100})
