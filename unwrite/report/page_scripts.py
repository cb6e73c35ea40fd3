"""The scripts and data in a page: one copy of Vega, and a policy by which the browser runs no other scripts."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files


def script_json(value: object) -> str:
    r"""Return a value as JSON that is safe in a script element: no text in it can close the element or open another.

    Args:
        value: of the types that JSON has; numbers must be finite.

    Example:
        >>> script_json("</script>")
        '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def chart_library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, from the copy that vl-convert-python brings.

    A sequence that would end the script element is broken up; in JavaScript it means the same.
    """
    import vl_convert

    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub knows no default
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def page_script() -> str:
    """Return the page's own script: it draws the charts and runs slider, filters and search."""
    return files("unwrite.report").joinpath("templates/report.js").read_text(encoding="utf-8")


def content_policy(scripts: list[str]) -> str:
    """Return a Content-Security-Policy under which only these inline scripts run, and nothing is fetched.

    Args:
        scripts: the texts of the script elements, to the byte (https://www.w3.org/TR/CSP3/#source-list-hash).
    """
    sums = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in sums) or "'none'"
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}"
