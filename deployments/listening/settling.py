"""What is taken as said for good: the final transcript, where it is no worse than what was shown last.

The better model hears the same sound, and more of it, than the one that makes partial transcripts. What it does not
know is what the client has seen already. It writes codes in small letters, and now and then stops too early; then what
was shown stands.
"""

import re

from deployments.listening.spelled import symbols_of
from deployments.values.speech import Agreement

_WORD = re.compile(r"[^\W_]+")


def settled(final: str, shown: Agreement) -> str:
    """Return the transcript of a part of an utterance.

    Args:
        final: What the better model made of it.
        shown: What the partial transcripts of it agreed on.
    """
    if not _plain(final):
        return shown.text
    if _is_cut_short(final, shown) or _lacks_symbols(final, shown.text):
        return shown.text
    return _with_capitals(final, shown.text)


def _is_cut_short(final: str, shown: Agreement) -> bool:
    """Say whether the final transcript is the beginning of what was shown, without its last digits or sure words.

    Other words at the end are none that anybody can be sure of: a partial transcript may have made them up.
    """
    kept, known = _plain(final), _plain(shown.text)
    if not known.startswith(kept) or known == kept:
        return False
    return len(_plain(shown.stable_text)) > len(kept) or any(map(str.isdigit, known[len(kept) :]))


def _lacks_symbols(final: str, shown: str) -> bool:
    """Say whether the final transcript, in whatever words, stops before the last digits or letters of a code.

    It does where all of its own stand in what was shown, in their order, and more follow the last of them. Of another
    number, nothing is lost: the better model has heard it so.
    """
    kept, known = symbols_of(final), symbols_of(shown)
    if not kept or not known or not any(map(str.isdigit, known)):
        return False
    at = 0
    for symbol in kept:
        at = known.find(symbol, at) + 1
        if not at:
            return False
    return at < len(known)


def _with_capitals(final: str, shown: str) -> str:
    """Return the final transcript with its codes, of letters and digits, in the capitals in which they were shown."""
    known = "".join(_WORD.findall(shown))
    plain = known.casefold()

    def capital(found: re.Match[str]) -> str:
        code = found[0]
        at = plain.find(code.casefold())
        if not _is_code(code) or at < 0 or len(plain) != len(known):
            return code
        return "".join(max(mine, theirs, key=str.isupper) for mine, theirs in zip(code, known[at:], strict=False))

    return _WORD.sub(capital, final)


def _is_code(word: str) -> bool:
    return any(map(str.isdigit, word)) and any(map(str.isalpha, word))


def _plain(text: str) -> str:
    return "".join(_WORD.findall(text)).casefold()
