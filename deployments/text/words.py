"""Words without what changes as a sentence goes on: marks and capitals."""


def bare(word: str) -> str:
    """Return a word without its marks and capitals, which change as a sentence goes on."""
    return "".join(character for character in word if character.isalnum()).lower()


def says_the_same(one: str, other: str) -> bool:
    """Say whether two texts differ in marks and capitals at most."""
    return [bare(word) for word in one.split()] == [bare(word) for word in other.split()]
