"""A file of customers, uploaded: streamed to disk, then imported as the command does it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser, DataAndFiles
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import fields
from campaigns.api.camel import StrictSerializer
from campaigns.api.parser import TooLarge, refuse_unstorable
from campaigns.api.schemas import SchemaSerializer
from campaigns.api.viewsets import TenantViewSet, read_body
from campaigns.models import Schema
from campaigns.services.imports import ImportOptions, Mode, import_customers
from executor.errors import Rejected

MAX_BYTES = 1 << 30
SWAP_WAIT_SECONDS = 10.0
#: What the import calls the fields of an upload; all else is about what the file holds.
OUTSIDE_NAMES = {"schema": "name", "key": "keyColumn"}
SAME_NAMES = ("mode", "delimiter", "encoding")


class ToDisk(TemporaryFileUploadHandler):
    """Writes a file under a name of our own: the caller's never comes near a path."""

    def new_file(self, field_name: str, file_name: str, *rest: Any, **named: Any) -> None:
        super().new_file(field_name, "upload", *rest, **named)


class UploadParser(BaseParser):
    media_type = "multipart/form-data"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> "DataAndFiles[Any, Any]":
        meta = {**(parser_context or {})["request"].META, "CONTENT_TYPE": media_type}
        # The server never reads more of a body than this says.
        if int(meta.get("CONTENT_LENGTH") or 0) > MAX_BYTES:
            raise TooLarge(f"The body is larger than {MAX_BYTES:,} bytes.")
        try:
            parser = MultiPartParser(meta, cast("Any", stream), [ToDisk()], "utf-8")
            texts, files = parser.parse()
        except (MultiPartParserError, SuspiciousOperation) as error:
            raise ParseError(f"The body is not valid multipart/form-data: {error}") from error
        return DataAndFiles(texts, files)


@extend_schema_field({"type": "string", "format": "binary"})
class UploadedFile(serializers.FileField):
    pass


class Upload(StrictSerializer):
    file = UploadedFile(help_text="CSV or Parquet.")
    name = fields.Text(max_length=255)
    keyColumn = fields.Text(
        required=False, max_length=255, help_text="A column, or row_number to number the rows."
    )
    entityType = fields.Choice(Schema.EntityType.choices, required=False)
    mode = fields.Choice([(mode.value, mode.value) for mode in Mode], required=False)
    delimiter = fields.Text(required=False, max_length=3, trim_whitespace=False)
    encoding = fields.Text(required=False, max_length=40)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        mode = attrs.setdefault("mode", Mode.CREATE.value)
        if mode == Mode.CREATE and "keyColumn" not in attrs:
            raise ValidationError({"keyColumn": ["Is needed to create a schema."]})
        if mode != Mode.CREATE and "entityType" in attrs:
            raise ValidationError({"entityType": ["Can only be given to create a schema."]})
        return attrs


class UploadViewSet(TenantViewSet):
    model = Schema
    serializer_class = SchemaSerializer
    parser_classes = (UploadParser,)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # Looking for the CSRF token in the body would read the file before the caller is known;
        # it comes in a header.
        request.POST = QueryDict()
        return super().initialize_request(request, *args, **kwargs)

    @extend_schema(request={"multipart/form-data": Upload}, responses={201: SchemaSerializer})
    def upload(self, request: Request) -> Response:
        """Import a CSV or Parquet file, all of it or nothing."""
        if isinstance(request.data, QueryDict):  # without a body there is nothing to look at
            refuse_oddities(request.data)
        given = read_body(Upload, request)
        path = Path(given["file"].temporary_file_path())
        with faults_of_the_file(path):
            result = import_customers(
                self.tenant,
                path,
                schema=given["name"],
                key=given.get("keyColumn", ""),
                mode=given["mode"],
                options=ImportOptions(
                    delimiter=given.get("delimiter", ""),
                    encoding=given.get("encoding", ""),
                    entity_type=given.get("entityType", Schema.EntityType.CUSTOMER),
                    swap_wait_seconds=SWAP_WAIT_SECONDS,
                ),
            )
        schema = self.get_queryset().get(pk=result.schema.pk)
        return Response(self.get_serializer(schema).data, status=201)


def refuse_oddities(data: QueryDict) -> None:
    """Raise ValidationError for fields given twice, and for texts that cannot be stored."""
    twice = {name: ["Is given more than once."] for name, all_of in data.lists() if all_of[1:]}
    if twice:
        raise ValidationError(twice)
    refuse_unstorable({name: value for name, value in data.items() if isinstance(value, str)})


@contextmanager
def faults_of_the_file(path: Path) -> Iterator[None]:
    """Tell of an import's faults by the API's names, and never where the file was kept."""
    try:
        yield
    except Rejected as error:
        raise Rejected.of(outside(error.errors, str(path))) from error


def outside(faults: Iterable[tuple[str, str]], path: str) -> Iterator[tuple[str, str]]:
    for place, text in faults:
        told = text.replace(path, "the file")
        if place in OUTSIDE_NAMES or place in SAME_NAMES:
            yield OUTSIDE_NAMES.get(place, place), told
        else:
            yield "file", f"{place}: {told}" if place not in ("", "file") else told
