"""JSON objects and queries as the dataclasses that describe them; refusals name field and remedy.

A field's description completes the sentence "FIELD must be ...", here and in ``/openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from server.errors import BadRequest

T = TypeVar("T")
SWITCHES: Final = {"0": False, "1": True, "false": False, "true": True}


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What validates and describes a type."""
    return TypeAdapter(kind)


def parse(kind: type[T], fields: Mapping[str, object]) -> T:
    """The object that a client sent as ``kind``. Raises ``BadRequest``."""
    as_key: Any = kind  # classes can be hashed, which their type does not say
    try:
        value: T = adapter(as_key).validate_python(dict(fields))
    except ValidationError as failure:
        raise BadRequest(_sentence(kind, failure)) from failure
    return value


def parse_query(kind: type[T], query: Mapping[str, str]) -> T:
    """As ``parse``, from the words of a query."""
    hints = get_type_hints(kind)
    return parse(kind, {name: _word(query[name], hints[name]) for name in hints if name in query})


def _word(word: str, hint: Any) -> object:
    """A word as the number or switch that is wanted; what is neither stays as it was sent."""
    wanted = {hint, *get_args(hint)}
    if bool in wanted:
        return SWITCHES.get(word, word)
    for number in (int, float):
        if number in wanted:
            try:
                return number(word)
            except ValueError:
                return word
    return word


def _sentence(kind: Any, failure: ValidationError) -> str:
    error = failure.errors(include_url=False)[0]
    name = str(error["loc"][0])
    hints = get_type_hints(kind, include_extras=True)
    if name not in hints:
        return f"There is no field {name!r:.60}; there are {', '.join(sorted(hints))}."
    must = f"must be {_description(hints[name])}"
    if error["type"].startswith("missing"):
        return f"{name} is missing: it {must}."
    return f"{name} {must}, not {error['input']!r:.60}."


def _description(hint: Any) -> str:
    (field,) = (each for each in hint.__metadata__ if isinstance(each, FieldInfo))
    assert field.description, hint
    return field.description
