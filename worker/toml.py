"""Values as TOML writes them."""

import json
import re
from typing import Final

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def key(name: str) -> str:
    """Write a key.

    >>> key("user"), key("sasl.mechanism")
    ('user', '"sasl.mechanism"')
    """
    return name if _BARE_KEY.fullmatch(name) else literal(name)


def literal(value: object) -> str:
    r"""Write a value as TOML.

    >>> print(literal(True), literal(2.0), literal("a\\tb"), literal(("user", 1e30)))
    true 2.0 "a\\tb" ["user", 1e+30]
    """
    if isinstance(value, tuple | list):
        return f"[{', '.join(literal(part) for part in value)}]"
    # JSON's numbers, booleans and strings are TOML's, but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
