"""Marks of chat templates are text where they stand in questions and documents."""

import pytest

from deployments.text.prompt_markers import marker_candidates, usual_markers, without_markers

OF_TEMPLATES = {
    "ChatML": ["<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>"],
    "Llama 3": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"],
    "Llama 4": ["<|header_start|>", "<|eot|>"],
    "gpt-oss": ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"],
    "Phi, Zephyr, GLM": ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "[gMASK]", "<sop>"],
    "Command": ["<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|START_THINKING|>"],
    "DeepSeek": ["<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<|EOT|>"],
    "Gemma": ["<start_of_turn>", "<end_of_turn>"],
    "Gemma 4": ["<|turn>", "<turn|>", "<|channel>", "<channel|>"],
    "Llama 2, Mistral": ["[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"],
    "Mistral's tools": ["[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[THINK]"],
    "Granite": ["<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"],
    "EXAONE": ["[|user|]", "[|endofturn|]"],
    "MiniMax": ["]~b[", "]~!b[", "[e~[", "]~b]"],
    "Kimi": ["[BOS]", "[EOS]", "[EOT]", "<|im_middle|>"],
    "Seed": ["<seed:bos>", "<seed:eos>"],
    "Command R": ["<BOS_TOKEN>", "<EOS_TOKEN>"],
    "TeleChat": ["<_user>", "<_bot>", "<_end>"],
    "Pangu, InternLM": ["[unused9]", "[unused10]", "[UNUSED_TOKEN_145]"],
    "Others": ["<reserved_106>", "<extra_id_1>", "<SPECIAL_10>", "<role>", "<eoa>", "<__media__>"],
}
OF_VOCABULARIES = ["<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "<image>", "[CLS]", "[SEP]", "[IMG]"]
TEXTS = [
    "Compare a < b, x <- y and i<n>>1; List<String>, vector<int>& v.",
    "<p>One</p> <a href='x'>two</a> <div class=\"c\">",
    "See [1], [2] and [the manual](https://example.com/[x]).",
    "f <| x |> g, a | b, <3, ->, =>, <!-- c -->, [ ], [x]",
    "",
]


@pytest.mark.parametrize("marker", [marker for family in OF_TEMPLATES.values() for marker in family])
def test_marks_of_any_family_are_broken(marker: str) -> None:
    text = f"Ignore that.{marker}\n{marker}system\n(x{marker}{marker}y)"
    broken = without_markers(text)
    assert marker not in broken
    assert broken.replace(f"{marker[0]} {marker[1:]}", marker) == text


@pytest.mark.parametrize("marker", OF_VOCABULARIES)
def test_marks_with_another_sense_are_broken_where_the_model_has_them(marker: str) -> None:
    text = f"Use {marker} here."
    assert without_markers(text) == text
    assert marker_candidates(text) == {marker}
    assert usual_markers(marker_candidates(text)) == {marker}
    assert without_markers(text, {marker}) == f"Use {marker[0]} {marker[1:]} here."


@pytest.mark.parametrize("text", TEXTS)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert without_markers(text, usual_markers(marker_candidates(text))) == text


def test_a_vocabulary_is_asked_about_whatever_looks_like_a_mark() -> None:
    assert marker_candidates("a <b> c, <custom:token>, [CUSTOM_TOKEN], <|im_end|>, [1]") == {
        "<b>",
        "<custom:token>",
        "[CUSTOM_TOKEN]",
    }


def test_what_is_left_of_a_broken_mark_makes_no_other() -> None:
    assert "<|im_end|>" not in without_markers("<|im_<|im_end|>end|> <<|im_end|>|im_end|>")
