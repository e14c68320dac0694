"""How English says what is written in signs: amounts, dates, times, numbers, units, addresses.

A rule sees the text as it is written. The first rule that knows a place says it. Numbers are put into words by CLDR's
rules; see https://cldr.unicode.org.
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unicode_rbnf import FormatPurpose, RbnfEngine

Spoken = Callable[[re.Match[str], str], str | None]
"""Says a match, given the tag of the language; None where it is not what the rule knows."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What to look for, and how it is spoken."""

    pattern: re.Pattern[str]
    spoken: Spoken


_NUMBER = (
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]{1,3}(?:[\u00a0\u202f\u2009'’][0-9]{3})+(?:[.,][0-9]+)?"
    r"|[0-9]{1,3}(?: [0-9]{3}){2,}(?![0-9])|[0-9]{1,3} [0-9]{3}(?= ?(?:[kc]?m|k?g|k?W|V|€|EUR|USD)(?!\w))"
    r"|[0-9]{1,3} [0-9]{3}(?= (?!ml|mg|kg|cm|mm|min)[a-z]{2,})|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+"
    r"|[0-9]{1,3}(?:\.[0-9]{3}){2,}(?![0-9])|[0-9]+(?:\.[0-9]+|,[0-9]+(?!,?[0-9]))?)"
)
_BEFORE = r"(?<![\w.,])"
_OPERAND = r"(?:(?<=[0-9)%°²³])|(?<=\b[A-Za-z]))"
"""Behind a number or a letter that stands for one, a sign compares; behind a word it says how much."""
_SCALE = r"(?:hundred|thousand|million|billion|trillion)"
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "mio": "million", "bn": "billion", "b": "billion"}
_DIGITS = "zero one two three four five six seven eight nine".split()
_MONTHS: Sequence[str] = "January February March April May June July August September October November December".split()
_MONTH = "|".join([*_MONTHS, *(rf"{month[:3]}\.?" for month in _MONTHS), r"Sept\.?"])
_DAY_FIRST = frozenset(["en-gb", "en-au", "en-nz", "en-ie", "en-in", "en-za"])
_VULGAR: Mapping[str, tuple[int, int]] = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
}  # fmt: skip
_DENOMINATORS: Mapping[int, str] = {
    2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 8: "eighth", 10: "tenth", 16: "sixteenth",
}  # fmt: skip
_CURRENCIES: Mapping[str, tuple[str, str, str, str]] = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "US$": ("US dollar", "US dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "jeon", "jeon"),
    "USD": ("US dollar", "US dollars", "cent", "cents"),
    "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("pound", "pounds", "penny", "pence"),
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "JPY": ("yen", "yen", "sen", "sen"),
}
_CURRENCY = "|".join(re.escape(sign) for sign in sorted(_CURRENCIES, key=len, reverse=True))
_UNITS: Mapping[str, tuple[str, str]] = {
    "km": ("kilometer", "kilometers"), "m": ("meter", "meters"), "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"), "µm": ("micrometer", "micrometers"), "nm": ("nanometer", "nanometers"),
    "ft": ("foot", "feet"), "mi": ("mile", "miles"), "yd": ("yard", "yards"),
    "kg": ("kilogram", "kilograms"), "g": ("gram", "grams"), "mg": ("milligram", "milligrams"),
    "µg": ("microgram", "micrograms"), "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"), "l": ("liter", "liters"), "L": ("liter", "liters"), "ml": ("milliliter", "milliliters"),
    "mL": ("milliliter", "milliliters"), "cl": ("centiliter", "centiliters"), "dl": ("deciliter", "deciliters"),
    "s": ("second", "seconds"), "sec": ("second", "seconds"), "ms": ("millisecond", "milliseconds"),
    "µs": ("microsecond", "microseconds"), "ns": ("nanosecond", "nanoseconds"), "min": ("minute", "minutes"),
    "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"),
    "V": ("volt", "volts"), "mV": ("millivolt", "millivolts"), "kV": ("kilovolt", "kilovolts"),
    "A": ("ampere", "amperes"), "mA": ("milliampere", "milliamperes"), "W": ("watt", "watts"),
    "mW": ("milliwatt", "milliwatts"), "kW": ("kilowatt", "kilowatts"), "MW": ("megawatt", "megawatts"),
    "Wh": ("watt hour", "watt hours"), "kWh": ("kilowatt hour", "kilowatt hours"), "Ω": ("ohm", "ohms"),
    "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"), "Pa": ("pascal", "pascals"), "hPa": ("hectopascal", "hectopascals"),
    "kPa": ("kilopascal", "kilopascals"), "bar": ("bar", "bar"), "mbar": ("millibar", "millibars"),
    "psi": ("P S I", "P S I"), "N": ("newton", "newtons"), "J": ("joule", "joules"), "kJ": ("kilojoule", "kilojoules"),
    "kcal": ("kilocalorie", "kilocalories"), "dB": ("decibel", "decibels"), "rpm": ("R P M", "R P M"),
    "ppm": ("part per million", "parts per million"),
    "px": ("pixel", "pixels"), "mph": ("mile per hour", "miles per hour"),
    "B": ("byte", "bytes"), "kB": ("kilobyte", "kilobytes"), "KB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"), "GB": ("gigabyte", "gigabytes"), "TB": ("terabyte", "terabytes"),
    "KiB": ("kibibyte", "kibibytes"), "MiB": ("mebibyte", "mebibytes"), "GiB": ("gibibyte", "gibibytes"),
    "bit": ("bit", "bits"), "kbit": ("kilobit", "kilobits"), "Mbit": ("megabit", "megabits"),
    "Gbit": ("gigabit", "gigabits"), "ha": ("hectare", "hectares"), "ct": ("cent", "cents"),
    "°C": ("degree Celsius", "degrees Celsius"), "℃": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"), "℉": ("degree Fahrenheit", "degrees Fahrenheit"),
    "°": ("degree", "degrees"), "%": ("percent", "percent"), "‰": ("per mille", "per mille"),
    "¢": ("cent", "cents"), "kbps": ("kilobit per second", "kilobits per second"),
    "Mbps": ("megabit per second", "megabits per second"), "Gbps": ("gigabit per second", "gigabits per second"),
}  # fmt: skip
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True)).replace("µ", "[µμ]")
_PER: Mapping[str, str] = {
    "h": "hour", "s": "second", "min": "minute", "m": "meter", "km": "kilometer", "kg": "kilogram", "l": "liter",
    "L": "liter", "day": "day", "d": "day", "ml": "milliliter", "m²": "square meter", "m³": "cubic meter",
}  # fmt: skip
_RATES: Mapping[str, str] = {
    "h": "hour", "hr": "hour", "mo": "month", "yr": "year", "wk": "week", "min": "minute", "kg": "kilogram",
    "kWh": "kilowatt hour", "m²": "square meter", "l": "liter", "s": "second", "d": "day", "GB": "gigabyte",
}  # fmt: skip
_AMOUNT_END = r"(?:(?<=[0-9%€£¥$])|(?<=[0-9][kKmMbB])|(?<=\bUSD|\bEUR|\bGBP|\bCHF)|(?<=[mb]illion|housand))"
_SHARED_LETTERS = frozenset(["A", "B", "J", "N", "bar"])
"""Units that are words or names as well: with a space before them, they are units only at the end of what is said."""
_ABBREVIATIONS = {
    "e.g.": "for example", "i.e.": "that is", "etc.": "et cetera", "vs.": "versus", "approx.": "approximately",
    "Dr.": "Doctor", "Mr.": "Mister", "Mrs.": "Missus", "Prof.": "Professor", "cf.": "compare",
}  # fmt: skip
_STREETS = {"St": "Street", "Ave": "Avenue", "Rd": "Road", "Blvd": "Boulevard", "Ln": "Lane", "Sq": "Square"}
_PLACES = "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Way|Court|Square|Place"
_ROMAN = r"(?=[IVXLC])(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_NUMBERED = (
    "Chapter|Part|Act|Scene|Section|Volume|Book|Phase|Figure|Table|Appendix|Level|Title|Article|Class|Stage|Type|Step"
    "|World War|Super Bowl|Annex|Unit|Grade"
)
_VERB = r"(?:like|think|thought|am|have|had|was|will|would|can|could|need|want|did|do|know|saw|love|read|wrote)\b"
"""Behind "I" that is no numeral."""
_RULERS = (
    "Henry|Louis|George|Edward|Elizabeth|Charles|William|Richard|James|Philip|Napoleon|Pius|Benedict|Paul|Leo|Gregory"
    "|Clement|Alexander|Nicholas|Peter|Catherine|Frederick|Ivan|Otto|Wilhelm|Friedrich|Ludwig"
)
_POWERS = {"2": "squared", "3": "cubed"}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_MATHEMATICAL: Mapping[str, str] = {
    "∞": "infinity", "∑": "the sum of", "∏": "the product of", "∫": "the integral of", "∂": "partial", "∇": "nabla",
    "∈": "in", "∓": "minus or plus",
}  # fmt: skip
_YES_OR_NO = {"✓": "yes", "✗": "no"}
_DOMAINS = "com|org|net|io|edu|gov|info|dev|app|ai|de|uk|eu|fr|nl|at|ch|it|es|us|ca|au|jp|example|local|test|internal"


# Numbers.

_NAMELESS = 10**15
"""CLDR has no names for numbers that are much larger."""


@functools.cache
def _engine() -> RbnfEngine:
    return RbnfEngine.for_language("en")


def cardinal(number: int) -> str:
    """Return a whole number in words: "one thousand two hundred thirty-four"; one without a name digit by digit."""
    if number >= _NAMELESS:
        return digits(str(number))
    return _engine().format_number(number).text


def ordinal(number: int) -> str:
    """Return a rank in words: "twenty-first"."""
    if number >= _NAMELESS:
        return f"{digits(str(number))}th"
    return _engine().format_number(number, purpose=FormatPurpose.ORDINAL).text


def year(number: int) -> str:
    """Return a year in words: "nineteen eighty-four"."""
    return _engine().format_number(number, purpose=FormatPurpose.YEAR).text


def digits(text: str) -> str:
    """Return the digits of a text one by one: "five five five"."""
    return " ".join(_DIGITS[int(digit)] for digit in text if digit.isdecimal())


_POINTED = re.compile(r"[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]+)?")
"""A number whose thousands are set apart by points, as in most of Europe."""


def number_in_words(text: str) -> str:
    """Return a number as it is written in words, such as "1,234.5", "1 234" or "19,99"; "007" digit by digit."""
    bare = re.sub(r"[ \u00a0\u202f\u2009'’]", "", text)
    if re.fullmatch(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?", bare):
        bare = bare.replace(",", "")
    elif bare.count(".") > 1 or ("," in bare and _POINTED.fullmatch(bare)):
        bare = bare.replace(".", "")
    whole, _, fraction = bare.replace(",", ".").partition(".")
    said = digits(whole) if len(whole) > 1 and whole[0] == "0" else cardinal(int(whole))
    return f"{said} point {digits(fraction)}" if fraction else said


_CODE_DIGITS = 3


def _label(text: str) -> str:
    """Return the number of a house, a room, a port or a part of an address: "one oh five", "three eighty"."""
    if text[0] == "0" or len(text) > _CODE_DIGITS + 1:
        return digits(text)
    hundreds, rest = divmod(int(text), 100)
    if len(text) < _CODE_DIGITS or (not rest and hundreds % 10 == 0):
        return cardinal(int(text))
    return f"{cardinal(hundreds)} {_oh(rest) if rest else 'hundred'}"


def _oh(number: int) -> str:
    """Return the last two digits of a label or a time in words: "oh five"."""
    return f"{'oh ' if number < 10 else ''}{cardinal(number)}"  # noqa: PLR2004 - one digit


def _is_one(text: str) -> bool:
    return text in {"1", "1.0"}


# Dates and times.


def _month_name(text: str) -> str:
    return next(month for month in _MONTHS if month[:3].lower() == text[:3].lower())


def _date(year_text: str, month: int, day: int) -> str | None:
    if not (1 <= month <= len(_MONTHS) and 1 <= day <= 31):  # noqa: PLR2004 - days of a month
        return None
    when = f"{_MONTHS[month - 1]} {ordinal(day)}"
    return f"{when}, {_year_in_words(year_text)}" if year_text else when


def _year_in_words(text: str) -> str:
    return year(int(text)) if len(text) == 4 else year(2000 + int(text) if int(text) < 50 else 1900 + int(text))  # noqa: PLR2004


def _iso_date(match: re.Match[str], _: str) -> str | None:
    date = _date(match["y"], int(match["m"]), int(match["d"]))
    if date is None or not match["hour"]:
        return date
    zone = " U T C" if match["zone"] == "Z" else _offset(match["zone"] or "")
    return f"{date}, at {_clock(int(match['hour']), int(match['minute']))}{zone}"


def _offset(text: str) -> str:
    """Return the distance to Coordinated Universal Time in words, such as "+02:00", with a space before it."""
    offset = re.fullmatch(r"([-−–+])([0-9]{1,2}):?([0-9]{2})?", text)
    if offset is None:
        return ""
    minutes = int(offset[3] or 0)
    said = f" U T C {'plus' if offset[1] == '+' else 'minus'} {cardinal(int(offset[2]))}"
    return f"{said} {cardinal(minutes)}" if minutes else said


def _zone(match: re.Match[str], _: str) -> str:
    return _offset(match[1]).replace(" U T C", " ".join(match[0][:3])).strip()


def _numbered_date(match: re.Match[str], language: str) -> str | None:
    first, second = int(match["a"]), int(match["b"])
    is_day_first = match["mark"] != "/" or language in _DAY_FIRST or first > len(_MONTHS)
    day, month = (first, second) if is_day_first else (second, first)
    return _date(match["y"], month, day)


def _month_day(match: re.Match[str], _: str) -> str | None:
    return _date(match["y"] or "", _MONTHS.index(_month_name(match["month"])) + 1, int(match["d"]))


def _day_month(match: re.Match[str], _: str) -> str | None:
    date = _date("", _MONTHS.index(_month_name(match["month"])) + 1, int(match["d"]))
    if date is None:
        return None
    said = f"{match['the'] or 'the '}{ordinal(int(match['d']))} of {_month_name(match['month'])}"
    return f"{said}, {_year_in_words(match['y'])}" if match["y"] else said


def _clock(hour: int, minute: int, *, is_half: bool = False) -> str:
    if not minute:
        return cardinal(hour) if is_half else f"{cardinal(hour)} o'clock"
    return f"{cardinal(hour)} {_oh(minute)}"


def _half(text: str | None) -> str:
    return f" {text[0].upper()} M" if text else ""


def _time(match: re.Match[str], _: str) -> str | None:
    hour, minute = int(match["h"]), int(match["m"])
    if hour > 24 or minute > 59 or int(match["s"] or 0) > 59:  # noqa: PLR2004 - a clock
        return None
    said = _clock(hour, minute, is_half=bool(match["half"]))
    if match["s"]:
        said += f" and {cardinal(int(match['s']))} second{'' if int(match['s']) == 1 else 's'}"
    return said + _half(match["half"])


# Amounts and units.


def _money(match: re.Match[str], _: str) -> str:
    one, many, small, smalls = _CURRENCIES[match["sign"]]
    amount, scale = match["n"], match["scale"]
    if _POINTED.fullmatch(amount) and (not match[0].startswith(match["sign"]) or "," in amount):
        amount = amount.replace(".", "")
    if scale:
        return f"{number_in_words(amount)} {_SCALES.get(scale.lower(), scale)} {many}"
    whole, fraction = (amount[:-3], amount[-2:]) if re.search(r"[.,][0-9]{2}$", amount) else (amount, "")
    cents = int(fraction or 0)
    if not re.fullmatch(r"[0-9,.\u00a0\u202f\u2009'’ ]*", whole) or not whole:
        whole, cents = amount, 0
    said = f"{number_in_words(whole)} {one if _is_one(whole) else many}"
    if not cents:
        return said
    small_change = f"{cardinal(cents)} {small if cents == 1 else smalls}"
    return small_change if re.fullmatch("0+", whole) else f"{said} and {small_change}"


def _money_range(match: re.Match[str], _: str) -> str:
    many = _CURRENCIES[match["sign"]][1]
    first, second = (f" {_SCALES.get(scale.lower(), scale)}" if scale else "" for scale in match.group("k", "scale"))
    return f"{number_in_words(match['a'])}{first} to {number_in_words(match['b'])}{second} {many}"


def _quantity(match: re.Match[str], _: str) -> str | None:
    unit, power, per = match["unit"].replace("μ", "µ"), match["power"], match["per"]
    if match["space"] and unit in _SHARED_LETTERS and match.string[match.end() :][:1] not in {"", *",.;:!?)/"}:
        return None
    if unit in {"A", "B"} and not match["space"]:
        return None
    one, many = _UNITS[unit]
    name = one if _is_one(match["n"]) else many
    if power and unit not in {"km", "m", "cm", "mm", "ft", "mi", "yd"}:
        return None
    prefix = {"²": "square ", "2": "square ", "³": "cubic ", "3": "cubic "}.get(power or "", "")
    said = f"{number_in_words(match['n'])} {prefix}{name}"
    return f"{said} per {_PER[per]}{' squared' if match['again'] else ''}" if per else said


def _dimensions(match: re.Match[str], _: str) -> str:
    sides = [number_in_words(side) for side in re.split(r"\s?[x×]\s?", match["sides"])]
    unit = match["unit"]
    return " by ".join(sides) + (f" {_UNITS[unit][1]}" if unit else "")


def _fraction_in_words(numerator: int, denominator: int) -> str:
    name = _DENOMINATORS[denominator]
    if numerator == 1:
        return f"one {name}"
    return f"{cardinal(numerator)} {'halves' if denominator == 2 else name + 's'}"  # noqa: PLR2004 - halves


def _vulgar(match: re.Match[str], _: str) -> str:
    fraction = _fraction_in_words(*_VULGAR[match["part"]])
    if not match["n"]:
        return fraction
    return f"{cardinal(int(match['n']))} and {fraction.replace('one half', 'a half')}"


def _fraction(match: re.Match[str], _: str) -> str | None:
    numerator, denominator = int(match["a"]), int(match["b"])
    if 0 < numerator < denominator and denominator in _DENOMINATORS:
        said = _fraction_in_words(numerator, denominator)
        return f"{cardinal(int(match['whole']))} and {said}" if match["whole"] else said
    return None if match["whole"] else f"{cardinal(numerator)} {cardinal(denominator)}"


# Addresses, codes and names.


def _phone(match: re.Match[str], _: str) -> str:
    return ("plus " if match[0].startswith("+") else "") + _digit_groups(match[0])


def _digit_groups(text: str) -> str:
    return ", ".join(digits(group) for group in re.findall(r"[0-9]+", text))


def _ip(match: re.Match[str], _: str) -> str:
    said = " dot ".join(_label(group) for group in match["ip"].split("."))
    said += f" port {_label(match['port'])}" if match["port"] else ""
    return said + (f" slash {cardinal(int(match['mask']))}" if match["mask"] else "")


def _lettered_phone(match: re.Match[str], _: str) -> str:
    parts = re.findall(r"[0-9]+|[A-Z]+", match[0])
    return ", ".join(digits(part) if part.isdecimal() else part for part in parts)


def _model(match: re.Match[str], _: str) -> str:
    return f"{_label(match['a'])} {_label(match['b'])}"


def _hexadecimal(match: re.Match[str], _: str) -> str:
    groups = re.split(r"[:-]", match[0])
    return ", ".join(
        " ".join(_DIGITS[int(one)] if one.isdecimal() else one.upper() for one in group) for group in groups
    )


_ADDRESS_MARKS: Mapping[str, str] = {
    ".": "dot", "@": "at", "/": "slash", "_": "underscore", "-": "dash", "+": "plus", ":": "colon",
    "~": "tilde", "\\": "backslash", "?": "question mark", "=": "equals", "&": "and", "#": "hash",
}  # fmt: skip


def _address(match: re.Match[str], _: str) -> str:
    parts = re.findall(r"[A-Za-z]+|[0-9]+|[^\w\s]|_|\w", match[0])
    return " ".join(_ADDRESS_MARKS.get(part) or (_label(part) if part.isdecimal() else part) for part in parts)


def _ipv6(match: re.Match[str], _: str) -> str | None:
    if "::" not in match[0] and not re.search("[A-Fa-f]", match[0]):
        return None
    parts = ["colon" if one == ":" else _DIGITS[int(one)] if one.isdecimal() else one.upper() for one in match[0]]
    return " ".join(parts)


def _version(match: re.Match[str], _: str) -> str:
    parts = [
        digits(part) if len(part) > 1 and part[0] == "0" else cardinal(int(part)) for part in match["v"].split(".")
    ]
    return ("version " if match["prefix"] else "") + " point ".join(parts)


def _roman(text: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}[letter] for letter in text]
    following = [*values[1:], 0]
    return sum(-value if value < after else value for value, after in zip(values, following, strict=True))


def _house(match: re.Match[str], _: str) -> str:
    return _label(match["n"]) + (f" {match['letter']}" if match["letter"] else "")


def _greek(letter: str) -> str:
    name = unicodedata.name(letter).split()[-1].lower()
    return "lambda" if name == "lamda" else name


def _said(text: str) -> Spoken:
    return lambda match, _: match.expand(text)


def _power(match: re.Match[str], _: str) -> str:
    exponent = match[0].translate(_SUPERSCRIPTS).lstrip("^")
    if exponent in _POWERS:
        return _POWERS[exponent]
    return f"to the power of {'minus ' if exponent[0] == '-' else ''}{cardinal(int(exponent.lstrip('+-')))}"


def _standing_number(match: re.Match[str], _: str) -> str:
    text = match[0]
    if re.fullmatch("[12][0-9]{3}", text) and (
        _YEAR_BEFORE.search(match.string[: match.start()]) or text[:2] in {"19", "20"}
    ):
        return year(int(text))
    return number_in_words(text)


_YEAR_BEFORE = re.compile(
    r"(?:\b(?:in|since|from|until|till|by|of|year|before|after|around|circa|and|to|between|"
    r"January|February|March|April|May|June|July|August|September|October|November|December)|\d[-–]) ?$",
    re.IGNORECASE,
)


def _dotted(match: re.Match[str], language: str) -> str | None:
    """Say a version of three parts or more; groups of three digits are a number of another language's writing."""
    return None if re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{3})+", match["v"]) else _version(match, language)


def _plural(text: str) -> str:
    return f"{text[:-1]}ies" if text.endswith("y") else f"{text}s"


def _label_or_number(text: str) -> str:
    return _label(text) if text.isdecimal() else number_in_words(text)


def _power_here(match: re.Match[str], language: str) -> str | None:
    """Say a power behind a number, a bracket or a letter; behind a word it is the mark of a footnote."""
    before = match.string[: match.start()]
    if re.search(r"(?:[0-9)]|(?<![A-Za-z])[A-Za-z]{1,2})$", before):
        return _power(match, language)
    return ""


def _value(text: str) -> float:
    bare = re.sub(r"[^0-9.]", "", text)
    return float(bare.replace(".", "") if bare.count(".") > 1 else bare)


def _between(match: re.Match[str], _: str) -> str | None:
    """Say a dash between two numbers: of a range where the second is larger, else of a difference, or nothing."""
    before = re.search(rf"(?:^|(?<=[^\w.,-]))[$€£]?({_NUMBER})%?$", match.string[: match.start()])
    after = re.match(rf"[$€£]?({_NUMBER})(?![-–\w]*[-–][0-9])", match.string[match.end() :])
    if match["dash"].strip() == "−":
        return "minus"
    if before is None or after is None:
        return None
    first, second = (_value(one[1]) for one in (before, after))
    is_sum = match.string[match.end() + after.end() :].lstrip().startswith("=")
    if first < second and not is_sum:
        return "to"
    return "minus" if " " in match["dash"] else "to"


def _rules(*rules: tuple[str, Spoken]) -> Sequence[Rule]:
    return [Rule(re.compile(pattern), spoken) for pattern, spoken in rules]


_HALF = r"(?:\s?(?P<half>[AaPp]\.?[Mm]\b\.?(?!\w)))"
_TO_TIME = (
    r"(?:(?<=[0-9])|(?<=[0-9 ][AaPp][Mm])|(?<=[AaPp]\.[Mm]\.))\s?[-–—]\s?"
    r"(?=[0-9]{1,2}(?:[:.][0-9]{2})?\s?[AaPp]\.?[Mm]\b)"
    r"|(?<=:[0-9]{2})\s?[-–—]\s?(?=[0-9]{1,2}:[0-9]{2}(?![0-9]))"
)
_DATE_YEAR = r"(?:,? (?P<y>[12][0-9]{3})(?![\w]|[.,][0-9]))?"

RULES: Sequence[Rule] = (
    # Dates and times.
    *_rules(
        (r"\b(?:UTC|GMT) ?([-−–+][0-9]{1,2}(?::?[0-9]{2})?)(?![\w:])", _zone),
        (
            (
                rf"{_BEFORE}(?P<y>[12][0-9]{{3}})(?P<mark>[-/])(?P<m>[0-9]{{2}})(?P=mark)(?P<d>[0-9]{{2}})"
                r"(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::[0-9]{2}(?:\.[0-9]+)?)?"
                r"(?P<zone>Z|[-−+][0-9]{2}:?[0-9]{2})?)?(?![\w/-])"
            ),
            _iso_date,
        ),
        (
            rf"{_BEFORE}(?P<a>[0-9]{{1,2}})(?P<mark>[/.-])(?P<b>[0-9]{{1,2}})(?P=mark)(?P<y>[0-9]{{4}}|(?<=/)[0-9]{{2}})(?![\w/-])",
            _numbered_date,
        ),
        (rf"\b(?P<month>{_MONTH}) (?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?(?![\w:%]|[.,][0-9]){_DATE_YEAR}", _month_day),
        (
            (
                rf"(?<![\w.,/-])(?P<the>[Tt]he )?(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{_MONTH})(?!\w)"
                rf"{_DATE_YEAR}"
            ),
            _day_month,
        ),
        (
            rf"(?<![\w.,:])(?P<h>[0-9]{{1,2}}):(?P<m>[0-9]{{2}})(?::(?P<s>[0-9]{{2}}))?(?:{_HALF}|(?![\w:]|[.,][0-9]))",
            _time,
        ),
        (rf"{_BEFORE}(?P<h>[0-9]{{1,2}})\.(?P<m>[0-9]{{2}})(?P<s>){_HALF}", _time),
        (
            rf"{_BEFORE}(?P<h>[0-9]{{1,2}}){_HALF}",
            lambda match, _: cardinal(int(match["h"])) + _half(match["half"]),
        ),
        (_TO_TIME, _said("to")),
        (r"(?<=:[0-9]{2}:[0-9]{2}) ?[-−+][0-9]{2}:?[0-9]{2}(?![\w:])", lambda match, _: _offset(match[0].strip())),
        (
            r"(?<![\w.,:])([0-9]+):([0-9]+)(?![\w:])",
            lambda match, _: f"{number_in_words(match[1])} to {number_in_words(match[2])}",
        ),
        (
            r"(?<![\w.])(?P<y>[12][0-9]{2}0)['’]?s\b",
            lambda match, _: _plural(year(int(match["y"]))),
        ),
        (r"(?<!\w)['’](?P<y>[1-9]0)s\b", lambda match, _: _plural(cardinal(int(match["y"])))),
    ),
    # Addresses, and what only looks like a number.
    *_rules(
        (
            (
                r"(?<![\w.,#-])(?P<n>[0-9]{2,4})(?P<letter>[A-Z])?"
                rf"(?= (?:[NSEW]\.? )?[A-Z]\w+(?: [A-Z]\w+)? (?:{_PLACES})\b)"
            ),
            _house,
        ),
        (r"(?<!\w)0[xX][0-9A-Fa-f]+(?!\w)", _hexadecimal),
        (r"(?<![\w.-])(?:1-)?[0-9]{3}-(?=[A-Z0-9-]*[A-Z]{4})[A-Z0-9-]*[A-Z0-9](?![\w-])", _lettered_phone),
        (r"(?<=\bBoeing )(?P<a>[0-9]{3})-(?P<b>[0-9]{1,3})(?![\w-])", _model),
        (r"[\w.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*[A-Za-z0-9]", _address),
        (
            r"(?<![\w.])(?P<ip>[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?::(?P<port>[0-9]+))?(?:/(?P<mask>[0-9]{1,2}))?(?![\w]|\.[0-9])",
            _ip,
        ),
        (r"(?<![\w:-])[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})(?![\w:-])", _hexadecimal),
        (r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", _ipv6),
        (rf"(?<![\w.@/-])(?:[A-Za-z0-9-]+\.)+(?:{_DOMAINS})(?::[0-9]+)?(?:/[\w./~-]*[\w/])?(?![\w-])", _address),
        (r"(?<![\w./])(?:~|\.{1,2}|[A-Za-z]:)?[/\\][A-Za-z_.][\w.-]*(?:[/\\][\w.-]+)*(?<![.,])", _address),
        (r"(?<![\w.@/-])[A-Za-z0-9_-]*[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]+)+(?!\w)", _address),
        (r"(?<![\w./])(?:[\w-]+/)+[\w.-]*\.[A-Za-z]{1,5}(?!\w)", _address),
        (r"(?<![\w.])\+[0-9]{1,3}[ ()./-]{0,2}(?:[0-9]+[ ()./-]{1,2})*[0-9]{3,}(?!\w)", _phone),
        (r"(?<![\w.])(?:\([0-9]{3}\) ?|[0-9]{3}[-. ])[0-9]{3}[-. ][0-9]{4}(?![\w-])", _phone),
        (r"(?<![\w.-])(?:1[- ])?[0-9]{3}-[0-9]{4}(?![\w-])", _phone),
        (r"(?<![\w.,:-])0(?:[0-9]{2,4}(?:[ /-][0-9]{3,}){1,3}|[1-9](?: [0-9]{2}){4})(?![\w:-])", _phone),
        (
            (
                r"(?i)(?<=\bcall |\bdial )[0-9]{2,}(?:[ -][0-9]{2,})*(?: or [0-9]{3,})?"
                r"(?![\w%-]|[.,][0-9]| (?:times|people|of))"
            ),
            lambda match, _: " or ".join(_digit_groups(number) for number in match[0].split(" or ")),
        ),
        (r"(?<![\w.])(?P<prefix>[vV])\.?(?P<v>[0-9]+(?:\.[0-9]+)*)(?![\w])", _version),
        (r"(?<![\w.,])(?P<prefix>)(?P<v>[0-9]+(?:\.[0-9]+){2,})(?![\w])", _dotted),
        (
            r"(?i)(?:(?<=version )|(?<=release )|(?<=python ))(?P<prefix>)(?P<v>[0-9]+\.[0-9]+)(?![\w]|\.[0-9])",
            _version,
        ),
    ),
    # Amounts and units.
    *_rules(
        (
            (
                rf"(?<![\w.])(?P<sign>{_CURRENCY})(?P<a>{_NUMBER})(?P<k>[kKmMbB]|bn|mn)?\s?[-–]\s?(?:{_CURRENCY})?"
                rf"(?P<b>{_NUMBER})(?:\s?(?P<scale>{_SCALE}|bn|mn|[kKmMbB])\b)?(?![\w-])"
            ),
            _money_range,
        ),
        (
            rf"(?<![\w.])(?P<sign>{_CURRENCY})\s?(?P<n>{_NUMBER})(?:\s?(?P<scale>{_SCALE}|bn|mn|[kKmMbB])\b)?(?:,[-–—]+)?(?!\w)",
            _money,
        ),
        (
            rf"{_BEFORE}(?P<n>{_NUMBER})(?: (?P<scale>{_SCALE}))?\s?(?P<sign>{_CURRENCY})(?!\w)",
            _money,
        ),
        (
            rf"{_BEFORE}(?P<sides>{_NUMBER}(?:\s?[x×]\s?{_NUMBER})+)(?:\s?(?P<unit>km|m|cm|mm|ft|px))?(?!\w)(?! ?=)",
            lambda match, language: _dimensions(match, language) if match["unit"] or "x" in match[0] else None,
        ),
        (
            (
                rf"(?<![\w.])(?P<n>{_NUMBER})(?P<space>[ \u00a0\u202f\u2009-])?(?P<unit>{_UNIT})(?P<power>[²³23])?"
                rf"(?:/(?P<per>{'|'.join(sorted(_PER, key=len, reverse=True))})(?P<again>²|\^?2(?!\w))?)?(?![\w/²³^])"
            ),
            _quantity,
        ),
        (
            r"(?<![\w.])(?P<ft>[0-9]+)['′’](?P<in>[0-9]{1,2})(?:[\"″”]|'')",
            lambda match, _: f"{cardinal(int(match['ft']))} feet {cardinal(int(match['in']))} inches",
        ),
        (rf"(?<![\w.])(?:(?P<n>[0-9]+) ?)?(?P<part>[{''.join(_VULGAR)}])", _vulgar),
        (r"(?<![\w./-])(?:(?P<whole>[0-9]+) )?(?P<a>[0-9]{1,2})/(?P<b>[0-9]{1,2})(?![\w/-]|\.[0-9])", _fraction),
        (
            r"(?<![\w.,])(?P<n>[0-9]+(?:,[0-9]{3})*)(?:st|nd|rd|th)\b",
            lambda match, _: ordinal(int(match["n"].replace(",", ""))),
        ),
        (
            r"(?<![\w.])(?P<n>[0-9]+(?:\.[0-9]+)?)[eE](?P<sign>[-−+]?)(?P<e>[0-9]{1,3})(?!\w)",
            lambda match, _: (
                f"{number_in_words(match['n'])} times ten to the "
                f"{'minus ' if match['sign'] in {'-', '−'} else ''}{cardinal(int(match['e']))}"
            ),
        ),
    ),
    # Places, names and numbers of things.
    *_rules(
        (r"(?<=\b[A-Z]{2} )[0-9]{5}(?:-[0-9]{4})?(?!\w)", _phone),
        (r"(?<=[a-z] )(?P<street>St|Ave|Rd|Blvd|Ln|Sq)\.(?=,|$| [a-z])", lambda match, _: _STREETS[match["street"]]),
        (r"\bSt\. (?=[A-Z])", _said("Saint ")),
        (
            r"(?<![\w.])(?:" + "|".join(map(re.escape, _ABBREVIATIONS)) + r")(?=\W|$)",
            lambda match, _: _ABBREVIATIONS[match[0]],
        ),
        (r"\b[Nn]o\. ?(?=[0-9])|(?<![\w&])#(?=[0-9])|№ ?", _said("number ")),
        (r"\bp\. ?(?=[0-9])", _said("page ")),
        (r"\bpp\. ?(?=[0-9])", _said("pages ")),
        (r"§§? ?(?=[0-9])", _said("section ")),
        (
            (
                rf"\b(?P<kind>(?:{_NUMBERED})|(?i:{_NUMBERED})(?= (?:[IVX]{{2}}|[VX]))) "
                rf"(?!I {_VERB})(?P<roman>{_ROMAN})(?![\w'’])"
            ),
            lambda match, _: f"{match['kind']} {cardinal(_roman(match['roman']))}",
        ),
        (
            rf"\b(?P<name>{_RULERS}) (?P<roman>(?=[IVX]{{2}}|[VX]){_ROMAN})(?![\w'’])",
            lambda match, _: f"{match['name']} the {ordinal(_roman(match['roman']))}",
        ),
    ),
    # Signs between numbers.
    *_rules(
        (r"(?<=[0-9%])(?P<dash>\s?[-–—−]\s?)(?=[0-9$€£])(?<!\w-\w)", _between),
        (r"(?<![\w.)\]^])[-−–](?=[0-9.$€£])", _said("minus ")),
        (r"(?<=[\w)]) ?− ?(?=[\w(])", _said("minus")),
        (r"(?<=[\w)]) - (?=[\w(]+ ?=)", _said("minus")),
        (r"(?<!\w)\+(?=[0-9])|(?<=[\w)]) ?\+ ?(?=[\w(])", _said("plus")),
        (r"± ?|\+/[-−] ?", _said("plus or minus ")),
        (r"(?<=[0-9)]) ?[×*⋅·] ?(?=[0-9(])|(?<=[\w)]) [×⋅] (?=[\w(])", _said("times")),
        (r"(?<=\b[A-Za-z0-9]) ?\* ?(?=[A-Za-z]\b)", _said("times")),
        (r" ?÷ ?", _said("divided by")),
        (rf"{_OPERAND} ?(?:≥|>=|⩾) ?(?=\S)", _said("is greater than or equal to")),
        (rf"{_OPERAND} ?(?:≤|<=|⩽) ?(?=\S)", _said("is less than or equal to")),
        (r"(?:≥|>=|⩾) ?(?=\S)", _said("at least ")),
        (r"(?:≤|<=|⩽) ?(?=\S)", _said("at most ")),
        (rf"(?<=[\w)%])<(?=[\w(-])|{_OPERAND} < (?=[\w(-])", _said("is less than")),
        (rf"(?<=[\w)%])>(?=[\w(-])|{_OPERAND} > (?=[\w(-])", _said("is greater than")),
        (r"(?<![\w<>-])< ?(?=[0-9$€£-])", _said("less than ")),
        (r"(?<![\w<>=-])> ?(?=[0-9$€£-])", _said("more than ")),
        (r" ?(?:≠|!=) ?", _said("is not equal to")),
        (r"(?<=[\w)%²³]) ?(?:==?|≡) ?(?=[\w(-])", _said("equals")),
        (r" ?≈ ?(?=\S)|(?<!\S)~ ?(?=[0-9$€£])", _said("about ")),
        (rf"{_AMOUNT_END}/(?P<per>{'|'.join(_RATES)})(?!\w|/)", lambda match, _: f"per {_RATES[match['per']]}"),
        (rf"{_AMOUNT_END}/(?=[a-z])", _said("per")),
        (r"√ ?(?=\w)", _said("the square root of ")),
        (r"(?:^|(?<=: ))[✓✗] (?=\w)", lambda match, _: f"{_YES_OR_NO[match[0][0]]}: "),
        (r"(?<=[\w)]) [✓✗]", lambda match, _: f", {_YES_OR_NO[match[0][-1]]}"),
        (r"[✓✗]", lambda match, _: _YES_OR_NO[match[0]]),
        (r"[∞∑∏∫∂∇∈∓]", lambda match, _: _MATHEMATICAL[match[0]]),
        (rf"{_OPERAND} / (?=[0-9(]|[A-Za-zα-ω]\b)", _said("over ")),
        (r"(?<![Ͱ-Ͽ])[Α-Ωα-ω](?![Ͱ-Ͽ])", lambda match, _: _greek(match[0])),
        (r"[²³]|[⁰¹⁴-⁹⁻⁺]+[²³]?|(?<=[\w)])\^[-−]?[0-9]{1,3}(?![0-9])", _power_here),
        (r"(?<=[\w)])\^(?=[A-Za-z(-])", _said("to the power of ")),
        (r"(?<=\w) ?& ?(?=\w)", _said("and")),
        (r"(?<![\w&])#(?=[A-Za-z])", _said("")),
        (
            r"(?<=[A-Za-z])/(?=[A-Za-z])",
            lambda match, _: "" if match.string[: match.start()].endswith("and") else "slash",
        ),
        (r"(?<=[0-9])\s?%", _said("percent")),
        (r"(?<=[A-Za-z])[-–](?=[0-9])|(?<=[0-9])[-–](?=[0-9]|[A-Z](?![a-z]))", _said("")),
    ),
    # Numbers that are left.
    *_rules(
        (rf"(?<![\w.,]){_NUMBER}(?![0-9A-Za-z])", _standing_number),
        (r"(?<=[A-Za-z])[0-9]+(?:\.[0-9]+)?|[0-9]+(?=[A-Za-z])", lambda match, _: _label_or_number(match[0])),
        (r"[0-9]+", lambda match, _: number_in_words(match[0])),
    ),
)
