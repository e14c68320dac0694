"""Formulas in LaTeX, in the signs that a text would hold for them: a fraction is "a / b", and a Greek letter itself."""

import re
from collections.abc import Mapping

_GREEK = (
    ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu", "αβγδεζηθικλμ"),
    ("nu xi pi rho sigma tau upsilon phi chi psi omega", "νξπρστυφχψω"),
    ("Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega", "ΓΔΘΛΞΠΣΦΨΩ"),
    ("varepsilon vartheta varphi", "εθφ"),
)
COMMANDS: Mapping[str, str] = {
    "cdot": "⋅", "times": "×", "div": "÷", "pm": "±", "mp": "∓", "ast": "*", "circ": "°", "degree": "°",
    "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠", "ne": "≠", "approx": "≈", "equiv": "≡", "sim": "~",
    "lt": "<", "gt": ">", "infty": "∞", "to": "→", "rightarrow": "→", "Rightarrow": "→", "implies": "→",
    "in": "∈", "sum": "∑", "prod": "∏", "int": "∫", "partial": "∂", "nabla": "∇", "ldots": "…", "dots": "…",
    "cdots": "…", "percent": "%",
    **{name: letter for names, letters in _GREEK for name, letter in zip(names.split(), letters, strict=True)},
}  # fmt: skip
"""Signs by the name of their command."""
SHAPED = frozenset(["frac", "dfrac", "tfrac", "sqrt"])
"""Commands that place what stands in braces behind them."""
_UNSEEN = re.compile(r"\\(?:left|right|big|Big|displaystyle|limits|quad|qquad|[,;:!> ])(?![A-Za-z])")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|([0-9])([0-9]))")
_ROOT = re.compile(r"\\sqrt\s*\{([^{}]*)\}")
_FONT = re.compile(r"\\(?:text|math|operatorname|overline|hat|vec|bar|boxed)[a-z]*\s*\{([^{}]*)\}")
_RAISED = re.compile(r"\^\s*\{([^{}]*)\}")
_LOWERED = re.compile(r"_\s*(?:\{([^{}]*)\}|(\w))")
_SMALL_POWER = re.compile(r"\^([23])(?![0-9.])")
_SPACE_INSIDE = re.compile(r"(?<=\() +| +(?=\))")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_ESCAPED = re.compile(r"\\([%$#&_{}])")


def formula_in_signs(latex: str) -> str:
    """Return a formula without backslashes and braces; a command without a sign is its name."""
    text = _UNSEEN.sub(" ", latex).replace("\\\\", ", ")
    before = ""
    while text != before:
        before = text
        text = _FONT.sub(r"\1", text)
        text = _RAISED.sub(lambda match: f"^{_held(match[1].strip())}", text)
        text = _LOWERED.sub(lambda match: f" {match[1] or match[2] or ''}", text)
        text = _ROOT.sub(lambda match: f"√{_held(match[1].strip())}", text)
        text = _FRACTION.sub(_divided, text)
    text = _COMMAND.sub(lambda match: f" {COMMANDS.get(match[1], match[1])} ", _ESCAPED.sub(r"\1", text))
    text = _SPACE_INSIDE.sub("", text.replace("^ ° ", "° ").replace("{", "").replace("}", ""))
    return " ".join(_SMALL_POWER.sub(lambda match: "²³"[int(match[1]) - 2], text).split())


def _divided(fraction: re.Match[str]) -> str:
    above, below = (part.strip() for part in (fraction[1] or fraction[3] or "", fraction[2] or fraction[4] or ""))
    if above.isdecimal() and below.isdecimal():
        return f"{above}/{below}"
    return f"{_held(above)} / {_held(below)}"


def _held(text: str) -> str:
    """Return a part of a formula in brackets, where it is more than a number, a letter or a command."""
    return text if re.fullmatch(r"[-−+]?(?:[0-9.,]+|\\?[A-Za-z]+)?", text) else f"({text})"
