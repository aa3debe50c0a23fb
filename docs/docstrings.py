"""Griffe extension: what the static analysis does not see of this package's classes and docstrings."""

import re
from typing import Any

from griffe import Class, Extension, Function, Object, Parameter, ParameterKind, Parameters

__all__ = ["AsWritten"]

# "    name (`int`, default `"x"`): text"
_STATED_TYPE = re.compile(r"^(\s*\w+ \()(`.*)(\): )", flags=re.MULTILINE)
_EXAMPLE = re.compile(r"^Example:$", flags=re.MULTILINE)


class AsWritten(Extension):
    """Named tuples have arguments, examples are code, stated types have no backticks, `__len__` is left out."""

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

    def on_class(self, *, cls: Class, **kwargs: Any) -> None:
        """Called for every class.

        Args:
            cls: The class.
            **kwargs: Not used.
        """
        if "NamedTuple" in map(str, cls.bases):
            fields = [
                Parameter(
                    name, annotation=field.annotation, kind=ParameterKind.positional_or_keyword, default=field.value
                )
                for name, field in cls.attributes.items()
                if "property" not in field.labels
            ]
            cls.set_member("__init__", Function("__init__", parameters=Parameters(*fields), returns="None"))
