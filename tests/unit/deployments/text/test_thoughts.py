"""Thoughts are parted from answers, whatever family of models marks them and however the text is cut."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.text.thoughts import Beginning, Separated, ThoughtFilter, ends_inside

SECRET = "SECRET"
ANSWER = "The answer is 4."

PAIRS = {
    "DeepSeek, Qwen, GLM": ("<think>", "</think>"),
    "with attributes": ('<think duration="3 s">', "</think>"),
    "in capitals": ("<Thought>", "</Thought>"),
    "thinking": ("<thinking>", "</thinking>"),
    "EXAONE": ("<thought>", "</thought>"),
    "reasoning": ("<reasoning>", "</reasoning>"),
    "Reflection": ("<reflection>", "</reflection>"),
    "Seed": ("<seed:think>", "</seed:think>"),
    "MiniMax": ("<mm:think>", "</mm:think>"),
    "LongCat": ("<longcat_think>", "</longcat_think>"),
    "Anthropic": ("<thinking>", "</thinking>"),
    "gpt-oss": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "gpt-oss, a tool": (
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
        "<|call|><|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss, next channel": ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    "gpt-oss without its tokens": ("analysis", "assistantfinal"),
    "Gemma 4": ("<|channel>thought\n", "<channel|>"),
    "Mistral": ("[THINK]", "[/THINK]"),
    "Pangu": ("[unused16]", "[unused17]"),
    "Kimi": ("◁think▷", "◁/think▷"),
    "Kimi K3": ("<|open|>think<|sep|>", "<|close|>think<|sep|><|open|>response<|sep|>"),
    "Command A": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "Command 4": ("<|START_THINKING|>", "<|END_THINKING|><|START_TEXT|>"),
    "OpenThinker": ("<|begin_of_thought|>", "<|end_of_thought|>\n\n<|begin_of_solution|>\n"),
    "Apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "Solar": ("<|think|>", "<|end|><|start|>assistant<|message|>"),
    "Inkling": ("<|message_model|><|content_thinking|>", "<|end_message|><|message_model|><|content_text|>"),
    "full-width bars": ("<｜thinking｜>", "<｜/thinking｜>"),
    "Granite 3.2": ("Here is my thought process:", "Here's my response:"),
    "Granite 3.3": ("<think>", "</think><response>"),
    "Hunyuan": ("<think>\n", "\n</think>\n<answer>\n"),
    "Open WebUI": ('<details type="reasoning" done="true">', "</details>"),
    "reason": ("<reason>", "</reason>"),
    "plan": ("<plan>", "</plan>"),
    "antThinking": ("<antThinking>", "</antThinking>"),
    "chain of thought": ("<chain-of-thought>", "</chain-of-thought>"),
    "MedGemma": ("<unused94>thought\n", "<unused95>"),
    "gpt-oss without its tokens, the role told": ("assistantanalysis", "assistantfinal"),
    "GLM-4.5V": ("<think>", "</think><|begin_of_box|>"),
    "one in another": ("<think>", "<think>Hm.</think>Hm.</think>"),
    "another name": ("<think>", "</thinking>\n"),
}
WHOLE = {name: f"{opened}The {SECRET}, 2 < 3.\n\nHm.{closed}\n\n{ANSWER}" for name, (opened, closed) in PAIRS.items()}
TAILS = {
    "Command A": "<|END_RESPONSE|>",
    "OpenThinker": "<|end_of_solution|>",
    "Hunyuan": "</answer>",
    "GLM-4.5V": "<|end_of_box|>",
}

TALK = [
    "The config is:\n<reasoning>high</reasoning>\nSet it in the file.",
    "The steps are:\n\n<plan>\nOpen it.\n</plan>",
    "[thinking] about it, yes.",
    "analysisData is a variable.",
    "Models write <think> before they answer.",
    "Put your thoughts between <think> and </think> tags.",
    "Write `<think>` first, close it with `</think>`; then answer.",
    "The tag </think> ends it, and <|channel|> names a channel.",
    'They are "<think>" and "</think>" (<think>…</think>), as `<|channel|>analysis<|message|>` is.',
    "```xml\n<think>\nHm.\n</think>\n```\nThat is all.",
    "~~~\n[THINK]\n~~~\n[1] Compare a < b, x<y, List<String>, <b>bold</b> and <|im_end|>.",
    "- <think>\n- </think>\n\nThese two. Here is my response: analysis and assistantfinal.",
    "<answer>4</answer> and </answer> are tags, as is <response>.",
    "It is 5` long. Or `a``b`. Or ``<think>`` here.",
    "",
    "<",
]

HARMONY_ANSWER = "<|end|><|start|>assistant<|channel|>final<|message|>4.<|return|>"
STORIES = {
    "between paragraphs": (f"One.\n\n<think>{SECRET}</think>\n\nTwo.", "One.\n\nTwo."),
    "in a line": (f"One <think>{SECRET}</think> two.", "One two."),
    "in a line, with space": (f"The answer <think> {SECRET} </think> is 4.", "The answer is 4."),
    "behind a sentence": (f"Well. <think>\n{SECRET}\n</think>\n4.", "Well. 4."),
    "two of them": (f"<think>{SECRET}</think>\n<thinking>{SECRET}</thinking>\n4.", "4."),
    "one in another": (f"<think>a <reflection>{SECRET}</reflection> {SECRET}</think>4.", "4."),
    "an opening mark in one": (f"<think>I use <think> and <reflection> {SECRET}</think>4.", "4."),
    "a quoted closing mark in one": (f'<think>`</think>` {SECRET} "</think>" {SECRET}</think>4.', "4."),
    "another closing mark in one": (f"<think>the tag </reasoning> {SECRET}</think>4.", "4."),
    "never closed": (f"<think>{SECRET}", ""),
    "begun behind text, never closed": (f"One.\n<think>{SECRET}", "One.\n"),
    "half a mark at the end": (f"<think>{SECRET}</think>4 <thi", "4 <thi"),
    "half a mark at the end of a thought": (f"<think>{SECRET}</thi", ""),
    "a mark of code that is none": (f"It is 5` long. <think>{SECRET}</think>4.", "It is 5` long. 4."),
    "of a message behind text": (
        f"One.\n\n<|message_model|><|content_thinking|>{SECRET} <|end_message|><|message_model|><|content_text|>4.",
        "One.\n\n4.",
    ),
    "closed by another name, in a line": (f"It is <think> {SECRET}.</thinking>\n4.", "It is 4."),
    "behind what looks like a list": (f"4. <think>\n{SECRET}\n</thinking>\n5.", "4. 5."),
    "an empty one": ("<think>\n\n</think>\n\n4.", "4."),
    "closed without being opened": ("</think>\n\n4.", "4."),
    "two channels": (
        f"<|channel|>analysis<|message|>{SECRET}<|end|><|channel|>commentary<|message|>{SECRET}{HARMONY_ANSWER}",
        "4.",
    ),
}


def parted(pieces: list[str], beginning: Beginning = Beginning.OUTSIDE, *, cut: bool = False) -> Separated:
    filtered = ThoughtFilter(beginning)
    said = [*[filtered.feed(piece) for piece in pieces], filtered.finish(cut=cut)]
    return Separated("".join(one.text for one in said), "".join(one.thought for one in said))


@pytest.mark.parametrize("name", PAIRS)
def test_the_thoughts_of_each_family_are_no_text(name: str) -> None:
    assert parted([WHOLE[name] + TAILS.get(name, "")]).text.rstrip() == ANSWER


@pytest.mark.parametrize("name", PAIRS)
def test_the_thoughts_of_each_family_are_told_as_thoughts(name: str) -> None:
    assert SECRET in parted([WHOLE[name]]).thought


@pytest.mark.parametrize("text", TALK)
@pytest.mark.parametrize("beginning", [Beginning.OUTSIDE, Beginning.UNKNOWN])
def test_a_text_that_talks_about_marks_is_not_lost(text: str, beginning: Beginning) -> None:
    assert parted([text], beginning) == Separated(text)


@pytest.mark.parametrize("name", STORIES)
def test_thoughts_stand_where_they_like(name: str) -> None:
    text, visible = STORIES[name]
    assert parted([text]).text == visible


def test_no_cut_of_ten_thousand_leaks_a_thought_or_changes_the_text() -> None:
    texts = [*WHOLE.values(), *TALK, *(text for text, _ in STORIES.values())]
    beginnings = [Beginning.OUTSIDE, Beginning.UNKNOWN]
    cuts = random.Random(23)
    expected = {(text, beginning): parted([text], beginning) for text in texts for beginning in beginnings}
    for number in range(10_000):
        text, beginning = cuts.choice(texts), beginnings[number % 2]
        places = sorted(cuts.sample(range(len(text) + 1), k=min(len(text), cuts.choice([1, 2, 5, 20, len(text)]))))
        pieces = [text[start:stop] for start, stop in zip([0, *places], [*places, len(text)], strict=True)]
        said = parted(pieces, beginning)
        assert SECRET not in said.text, pieces
        assert said == expected[text, beginning], pieces


WORDS = [
    *(mark for pair in PAIRS.values() for mark in pair),
    "\n",
    " ",
    "`",
    "```\n",
    "and",
    "Four",
    ".",
    '"',
    "x <",
    "- ",
]


@settings(max_examples=300, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=12), beginning=st.sampled_from(Beginning), cut=st.booleans())
def test_nothing_depends_on_the_cut(words: list[str], beginning: Beginning, cut: bool) -> None:
    text = "".join(words)
    assert parted(list(text), beginning, cut=cut) == parted([text], beginning, cut=cut)


class TestAnAnswerThatBeginsInsideAThought:
    HEADLESS = f"The {SECRET}.\n\nSo 4.\n</think>\n\n{ANSWER}"

    @pytest.mark.parametrize("beginning", [Beginning.INSIDE, Beginning.UNKNOWN])
    def test_is_a_thought_up_to_the_closing_mark(self, beginning: Beginning) -> None:
        for pieces in ([self.HEADLESS], list(self.HEADLESS)):
            assert parted(pieces, beginning) == Separated(ANSWER, f"The {SECRET}.\n\nSo 4.\n")

    @pytest.mark.parametrize(
        "close", ["</think>", "</thought>", "[/THINK]", "<|END_THINKING|>", "</seed:think>", "◁/think▷"]
    )
    def test_is_closed_by_the_mark_of_any_family(self, close: str) -> None:
        for beginning in (Beginning.INSIDE, Beginning.UNKNOWN):
            assert parted([f"{SECRET}.{close}{ANSWER}"], beginning).text == ANSWER

    def test_may_open_it_once_more(self) -> None:
        assert parted([f"\n<think>\n{SECRET}</think>{ANSWER}"], Beginning.INSIDE).text == ANSWER

    def test_is_known_from_then_on(self) -> None:
        filtered = ThoughtFilter(Beginning.UNKNOWN)
        filtered.feed(self.HEADLESS)
        assert filtered.beginning is Beginning.INSIDE

    def test_is_held_back_until_that_is_known(self) -> None:
        filtered = ThoughtFilter(Beginning.UNKNOWN)
        assert filtered.feed("It is four") == Separated()
        assert filtered.begins_outside() == Separated("It is four")
        assert filtered.feed(" or five.") == Separated(" or five.")

    def test_is_not_held_back_behind_a_thought_that_it_opens_itself(self) -> None:
        filtered = ThoughtFilter(Beginning.UNKNOWN)
        filtered.feed(f"<think>{SECRET}</think>\n")
        assert filtered.feed("It is four") == Separated("It is four")

    def test_is_its_text_where_no_thought_is_closed(self) -> None:
        assert parted([ANSWER], Beginning.UNKNOWN) == Separated(ANSWER)

    def test_may_be_taken_for_a_thought_to_its_end(self) -> None:
        filtered = ThoughtFilter(Beginning.UNKNOWN)
        filtered.feed(f"The {SECRET}")
        assert filtered.finish(cut=True, doubtful_is_thought=True) == Separated("", f"The {SECRET}")

    def test_is_known_not_to_once_its_thoughts_come_apart_from_it(self) -> None:
        filtered = ThoughtFilter(Beginning.INSIDE)
        filtered.begins_outside()
        assert filtered.feed("It is four") == Separated("It is four")

    def test_is_told_of_where_it_was_not_known(self) -> None:
        filtered = ThoughtFilter()
        assert filtered.feed("It is\n</think>\n\nFour").text == "It is\nFour"
        assert filtered.began_inside

    @pytest.mark.parametrize(
        ("prompt", "is_inside"),
        [
            ("<｜User｜>?<｜Assistant｜><think>\n", True),
            ("<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n<think>\n", True),
            ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
            ("<|CHATBOT_TOKEN|><|START_THINKING|>", True),
            ("<|CHATBOT_TOKEN|><|START_THINKING|><|END_THINKING|>", False),
            ("<|start|>assistant", False),
            ("<start_of_turn>model\n", False),
        ],
    )
    def test_has_a_prompt_that_opens_the_thought(self, prompt: str, is_inside: bool) -> None:
        assert ends_inside(prompt) is is_inside


class TestWhatIsHeldBack:
    def test_is_nothing_of_a_usual_text(self) -> None:
        filtered = ThoughtFilter()
        text = "Compare 3 > 2, **bold**, `code`, [1] and\n\n- a list.\n"
        assert "".join(filtered.feed(character).text for character in text) == text

    def test_is_bounded_behind_a_mark_that_is_only_talked_about(self) -> None:
        filtered = ThoughtFilter()
        sentence = "It has no end in sight. "
        held = shown = 0
        for piece in ["Write <think> first. ", *[sentence] * 1000]:
            held += len(piece)
            shown += len(filtered.feed(piece).text)
            assert held - shown < 5000
        assert held - shown < 100

    def test_is_bounded_where_the_beginning_is_unknown(self) -> None:
        filtered = ThoughtFilter(Beginning.UNKNOWN)
        said = [filtered.feed("It has no end in sight. ") for _ in range(10_000)]
        assert len("".join(one.text for one in said)) == 240_000

    def test_is_a_thought_where_the_model_was_stopped_in_it(self) -> None:
        assert parted([f"Well. <think> {SECRET} is"], cut=True).text == "Well. "
        assert parted(["Well. <think> is a tag"]).text == "Well. <think> is a tag"
