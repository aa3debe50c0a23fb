"""Griffe extension: what the static analysis does not see of this package's classes and docstrings."""

import ast
import re
from typing import Any

from griffe import (
    Attribute,
    Class,
    Docstring,
    ExprCall,
    Extension,
    Function,
    Object,
    Parameter,
    ParameterKind,
    Parameters,
)

__all__ = ["AsWritten"]

# "    name (`int`, default `"x"`): text"
_STATED_TYPE = re.compile(r"^(\s*\w+ \()(`.*)(\): )", flags=re.MULTILINE)
_EXAMPLE = re.compile(r"^Example:$", flags=re.MULTILINE)


class AsWritten(Extension):
    """What named tuples and settings declare is shown, examples are code, stated types have no backticks."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Called for every object.

        Args:
            obj: A module, class, function or attribute.
            **kwargs: Not used.
        """
        if obj.is_function and obj.name.startswith("__") and obj.name not in ("__init__", "__call__"):
            obj.public = False
        if obj.docstring:
            text = _EXAMPLE.sub("Examples:", obj.docstring.value)
            obj.docstring.value = _STATED_TYPE.sub(lambda found: found[1] + found[2].replace("`", "") + found[3], text)

    def on_class_members(self, *, cls: Class, **kwargs: Any) -> None:
        """Called for every class, after its members.

        Args:
            cls: The class.
            **kwargs: Not used.
        """
        for field in cls.attributes.values():
            if isinstance(field.value, ExprCall) and str(field.value.function) == "option":
                _as_stated(field, field.value)
        if "NamedTuple" in map(str, cls.bases):
            fields = [
                Parameter(
                    name, annotation=field.annotation, kind=ParameterKind.positional_or_keyword, default=field.value
                )
                for name, field in cls.attributes.items()
                if "property" not in field.labels
            ]
            cls.set_member("__init__", Function("__init__", parameters=Parameters(*fields), returns="None"))


def _as_stated(field: Attribute, call: ExprCall) -> None:
    """A setting that is declared with `option(...)`: its default, and its help as docstring."""
    named = {argument.name: argument.value for argument in call.arguments if hasattr(argument, "name")}
    plain = [argument for argument in call.arguments if not hasattr(argument, "name")]
    field.value = plain[0] if plain else named.get("default")
    field.docstring = Docstring(ast.literal_eval(str(named["help"])), parent=field)
