"""What a sentence of an answer may say, given its passages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.chat.grounding import Evidence

PASSAGE = (
    "Dogs are welcome in the hotel but not in the restaurant. A dog costs 15 euros a night. Cats stay free of charge. "
    "Keys are left in /var/keys by the script key-drop. The lobby is waxed every second Saturday. "
    "Films and music are not backed up, because they can be bought again. If you do not have a key, call Ingrid. "
    "The router is 10.40.0.1 and hands out addresses between 10.40.1.10 and 10.40.1.250. "
    "The generator in the barn is started by hand; its key hangs in the pantry. "
    "The old tower is closed. It opens again in May."
)


QUESTIONS = ("What does a dog cost?", "Where are the keys left?", "May I bring a dog?", "When does the tower open?")


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("May I bring a dog?", "Dogs are welcome in the hotel."),
        ("May my dog come along?", "Your dog is welcome in the hotel, but not in the restaurant."),
        ("What does a dog cost?", "A dog costs 15 euros a night."),
        ("What does my poodle cost?", "Your poodle costs 15 euros a night."),
        ("Where are the keys left?", "Keys are left in /var/keys."),
        ("When is the lobby waxed?", "The lobby is waxed every second Saturday."),
        ("Which films are backed up?", "Films and music are not backed up."),
        ("Where is the generator's key?", "The key of the generator hangs in the pantry."),
        ("When does the tower open?", "The old tower opens again in May."),
    ],
)
def test_what_the_passage_says_to_the_question_passes(question: str, sentence: str) -> None:
    evidence = Evidence([PASSAGE], question)
    assert evidence.supports(sentence)
    assert all(evidence.may_support(sentence[:cut]) for cut in range(len(sentence) + 1)), (
        "no sentence is given up early"
    )


@pytest.mark.parametrize(
    ("question", "sentence", "why"),
    [
        ("What does a dog cost?", "A dog costs 20 euros a night.", "a number that is nowhere"),
        ("What does a cat cost?", "A cat costs 15 euros a night.", "a number of something else"),
        ("What is the address of the router?", "The address of the router is 10.40.1.10.", "one number of several"),
        ("Where are the keys left?", "Keys are left in /etc/keys.", "another path"),
        ("Who leaves the keys?", "Run the script key-drop --force now.", "another option"),
        ("Where are the keys left?", "The keys are left by the script.", "leaves the path out"),
        ("May I bring a dog?", "Dogs have a pool and a garden for themselves.", "other words"),
        ("May I bring a dog?", "Dogs are not welcome in the hotel.", "denies what is affirmed"),
        ("May dogs eat with us?", "Dogs are welcome in the restaurant.", "affirms what is denied"),
        ("Which films are backed up?", "Films and music are backed up.", "affirms what is denied"),
        ("When is the lobby waxed?", "The lobby is waxed every second.", "cut short at a number of something"),
        ("Where is the generator's key?", "The generator is in the barn.", "not what was asked"),
        ("What does a dog cost?", "The dog stays free of charge.", "another sentence's words"),
        ("When does the tower open?", "The tower does open.", "nothing but the question"),
        ("Who helps with the keys?", "Call Ingrid.", "too short to be held against anything"),
    ],
)
def test_what_it_does_not_say_is_refused(question: str, sentence: str, why: str) -> None:
    assert not Evidence([PASSAGE], question).supports(sentence), why


def test_what_another_passage_says_of_it_counts_too() -> None:
    passages = ["The tower is closed.", "The gate opens at seven in the morning."]
    assert Evidence(passages, "When does the gate open?").supports("The gate opens at seven in the morning.")


def test_nothing_stands_in_no_passage() -> None:
    assert not Evidence([], "When does the gate open?").supports("The gate opens at seven.")
    assert not Evidence([PASSAGE], "When?").supports("")


@pytest.mark.parametrize(
    ("question", "beginning"),
    [
        ("What does a dog cost?", "A dog costs 20 "),
        ("Where are the keys left?", "Keys are left in /etc/keys "),
        ("Where is the generator's key?", "The generator in the barn with its pool "),
        ("What does a cat cost?", "A cat costs "),
        ("May I bring a dog?", "Dogs have a pool "),
    ],
)
def test_a_sentence_is_given_up_at_the_word_that_no_end_could_mend(question: str, beginning: str) -> None:
    evidence = Evidence([PASSAGE], question)
    assert not evidence.may_support(beginning)
    assert evidence.may_support(beginning.rstrip()), "the last word may go on"


@given(st.lists(st.sampled_from(PASSAGE.split()), max_size=12), st.sampled_from(QUESTIONS), st.data())
def test_no_sentence_that_would_be_supported_is_given_up(words: list[str], question: str, data: st.DataObject) -> None:
    sentence, evidence = " ".join(words), Evidence([PASSAGE], question)
    beginning = sentence[: data.draw(st.integers(0, len(sentence)))]
    assert evidence.may_support(beginning) or not evidence.supports(sentence)


def test_what_is_nearest_to_the_question_stands_in_what_is_shown_or_not() -> None:
    tower, gate = "The tower is closed. The wall is high.", "The gate opens at seven in the morning."
    evidence = Evidence([tower, gate], "When does the gate open?")
    assert evidence.is_nearest_in([gate])
    assert evidence.is_nearest_in([tower, gate])
    assert not evidence.is_nearest_in([tower])
