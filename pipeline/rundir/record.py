"""Frozen data that is stored as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue, SerializerFunctionWrapHandler, model_serializer


class Record(BaseModel):
    """Frozen data that is stored as JSON; unknown keys, from a later version, are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class OptionalFields(Record):
    """Record whose unset fields are not written."""

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}
