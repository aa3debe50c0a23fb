"""The end of every script: an error is one line without traceback, an interruption says how to continue."""

import re
import sys
from collections.abc import Callable, Collection

from ..errors import EcgError

__all__ = ["USER_ERRORS", "run_script", "script_text"]

# Errors of users: a message that says what to do, and no traceback.
USER_ERRORS: tuple[type[Exception], ...] = (EcgError, ImportError)


def run_script(
    main: Callable[[], object],
    name: str,
    *,
    interrupted: str,
    options: Collection[str] = (),
    errors: tuple[type[Exception], ...] = USER_ERRORS,
) -> None:
    """Run the main function of a script and end the process; the exit code is its result, if that is a number.

    Args:
        main: The function.
        name: Name of the script, for messages.
        interrupted: How to continue after Ctrl-C.
        options: Names of its options, which messages then name instead of arguments of the package.
        errors: Errors that are one line.
    """
    try:
        result = main()
    except errors as error:
        sys.exit(f"{name}: {type(error).__name__}: {script_text(str(error), options)}")
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{name}: interrupted; {interrupted}\n")
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)


_PAIRS = r"\{'(?P<old>[^']+)': '(?P<new>[^']+)'\}"
_ARGUMENT = re.compile(rf"\b(?P<name>[a-z_]+)=(?:{_PAIRS}|'(?P<text>[^']*)'|(?P<bare>True|False|[\d.]+\d|\[\.\.\.\]))?")


def script_text(message: str, options: Collection[str]) -> str:
    """A message of the package with the options of a script in place of the arguments that it names.

    Args:
        message: The message, such as "Set units= or derive_leads=True".
        options: Names of the options of the script.

    Example:
        >>> script_text("Set units='uV', or treat_as={'ECG': 'I'}.", {"read_units", "treat_as"})
        'Set --read_units uV, or --treat_as ECG=I.'
    """

    def replaced(found: re.Match[str]) -> str:
        name = next((name for name in (f"read_{found['name']}", found["name"]) if name in options), None)
        if name is None:
            return found[0]
        value = f"{found['old']}={found['new']}" if found["old"] else found["text"] or found["bare"] or ""
        return f"--{name} {'' if value in ('True', '[...]') else value}".rstrip()

    return _ARGUMENT.sub(replaced, message)
