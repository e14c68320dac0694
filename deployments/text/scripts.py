"""In which scripts languages are written: what a text of one of them cannot hold."""

import unicodedata

_CYRILLIC = "ba be bg kk ky mk mn ru sr tg tt uk uz az".split()
_ARABIC = "ar fa ps sd ug ur ms ha az".split()
_SCRIPTS: dict[str, frozenset[str]] = {
    "CJK": frozenset({"ja", "ko", "yue", "zh"}),
    "HIRAGANA": frozenset({"ja"}),
    "KATAKANA": frozenset({"ja"}),
    "KATAKANA-HIRAGANA": frozenset({"ja"}),
    "BOPOMOFO": frozenset({"yue", "zh"}),
    "HANGUL": frozenset({"ko"}),
    "CYRILLIC": frozenset(_CYRILLIC),
    "ARABIC": frozenset(_ARABIC),
    "HEBREW": frozenset({"he", "yi"}),
    "DEVANAGARI": frozenset({"hi", "mr", "ne", "sa"}),
    "BENGALI": frozenset({"as", "bn"}),
    "GURMUKHI": frozenset({"pa"}),
    "GUJARATI": frozenset({"gu"}),
    "TAMIL": frozenset({"ta"}),
    "TELUGU": frozenset({"te"}),
    "KANNADA": frozenset({"kn"}),
    "MALAYALAM": frozenset({"ml"}),
    "SINHALA": frozenset({"si"}),
    "THAI": frozenset({"th"}),
    "LAO": frozenset({"lo"}),
    "MYANMAR": frozenset({"my"}),
    "KHMER": frozenset({"km"}),
    "TIBETAN": frozenset({"bo"}),
    "GEORGIAN": frozenset({"ka"}),
    "ARMENIAN": frozenset({"hy"}),
    "ETHIOPIC": frozenset({"am", "ti"}),
}
"""Languages of each script. Latin and Greek are left out: names, units and formulas are written in them anywhere."""


def may_be_written_in(text: str, language: str) -> bool:
    """Say whether a language has the scripts of all letters of a text.

    Args:
        text: Any.
        language: ISO 639-1 code; anything is written in one that is not known.
    """
    return not language or all(_has(language, letter) for letter in text if not letter.isascii() and letter.isalpha())


def _has(language: str, letter: str) -> bool:
    script = unicodedata.name(letter, "").partition(" ")[0]
    return script not in _SCRIPTS or language in _SCRIPTS[script]
