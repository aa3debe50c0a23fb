"""Start and end of every script: `--import`, errors in one line without traceback, what to do after an interruption."""

import os
import re
import sys
from collections.abc import Callable, Collection, Sequence

from ..errors import ArgumentsError, EcgError, without_advice
from ..extensions import import_extension

__all__ = ["IMPORT_HELP", "USER_ERRORS", "arguments_of", "run_script", "script_text"]

# Errors of users: a message that says what to do, and no traceback.
USER_ERRORS: tuple[type[Exception], ...] = (EcgError, ImportError)

IMPORT_HELP = "Python file or module that registers readers, corpora or architectures; may be repeated."


def arguments_of(argv: Sequence[str] | None) -> list[str]:
    """The arguments of a command, without those of `--import`, whose files and modules are imported.

    Args:
        argv: The command line without the program's name; `None` = that of the process.

    Raises:
        ArgumentsError: `--import` without a name, or with a file that does not exist.
    """
    arguments = iter(sys.argv[1:] if argv is None else argv)
    kept = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option != "--import":
            kept.append(argument)
        elif name := value if equals else next(arguments, ""):
            import_extension(name)
        else:
            raise ArgumentsError("--import has no value; expected a Python file or the name of a module.")
    return kept


def run_script(
    main: Callable[[], object],
    name: str,
    *,
    interrupted: str,
    options: Collection[str] | Callable[[], Collection[str]] = (),
    errors: tuple[type[Exception], ...] = USER_ERRORS,
) -> None:
    """Run the main function of a script and end the process; the exit code is its result, if that is a number.

    Args:
        main: The function.
        name: Name of the script, for messages.
        interrupted: How to continue after Ctrl-C.
        options: Names of its options, which messages then name instead of arguments of the package; or how to get
            them once there is a message.
        errors: Errors that are one line.
    """
    try:
        result = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `--help | head`: nobody reads on, and the flush at exit would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except errors as error:
        text = script_text(str(error), options() if callable(options) else options)
        sys.exit(f"{name}: {type(error).__name__}: {text}")
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{name}: interrupted; {interrupted}\n")
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)


_PAIRS = r"\{'(?P<old>[^']+)': '(?P<new>[^']+)'\}"
_BARE = r"(?P<bare>True|False|None|-?\d+(?:\.\d+)?|\[[^\]]*\]|\.\.\.)"
_ARGUMENT = re.compile(rf"\b(?P<name>[a-z_]+)=(?:{_PAIRS}|'(?P<text>[^']*)'|{_BARE})?")
# Values that need no word on the command line, or stand for any.
_UNSPOKEN = ("True", "[...]", "...")


def script_text(message: str, options: Collection[str]) -> str:
    """A message of the package with the options of a script in place of the arguments that it names.

    A sentence of advice ("Set ...", "Pass ...") is left out if the script has none of the options that it names.

    Args:
        message: The message, such as "Set units= or derive_leads=True".
        options: Names of the options of the script; without any the message stays as it is.

    Example:
        >>> script_text("Set units='uV', or treat_as={'ECG': 'I'}.", {"read_units", "treat_as"})
        'Set --read_units uV, or --treat_as ECG=I.'
        >>> script_text("No R peaks. Pass peaks=.", {"read_units"})
        'No R peaks.'
    """
    if not options:
        return message

    def replaced(found: re.Match[str]) -> str:
        name = option_of(found["name"])
        if name is None:
            return found[0]
        value = f"{found['old']}={found['new']}" if found["old"] else found["text"] or found["bare"] or ""
        return f"--{name} {'' if value in _UNSPOKEN else value}".rstrip()

    def option_of(argument: str) -> str | None:
        return next((name for name in (f"read_{argument}", argument) if name in options), None)

    return _ARGUMENT.sub(replaced, without_advice(message, lambda name: option_of(name) is not None))
