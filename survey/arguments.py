"""What comes from outside, checked once for all steps before anything is done with it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from survey.errors import RequestError


def check_arguments(function: Callable[..., Any], arguments: Any) -> dict[str, Any]:
    """The arguments by name, if the function takes them and has texts where it asks for texts.

    Raises RequestError.
    """
    if not isinstance(arguments, Mapping):
        raise RequestError("The request must be a JSON object.")
    signature = inspect.signature(function)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise RequestError(f"The request makes no sense here: {error}.") from None
    for name, value in arguments.items():
        asked = signature.parameters[name].annotation
        left_out = value is None and asked == str | None
        if asked in (str, str | None) and not (left_out or is_text(value)):
            raise RequestError(f"{name} must be a text, but got {value!r:.40}.")
    return dict(arguments)


def is_text(value: Any) -> bool:
    """Whether databases and files take it: JSON can also say NUL, and halves of characters."""
    try:
        return isinstance(value, str) and b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False
