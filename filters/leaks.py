"""Leaks of a chat template's tokens, or of the prompt, into a text."""

import polars as pl

# An ASCII word boundary: a Unicode one makes the search many times slower.
_EDGE = r"(?-u:\b)"

_TOKENS = (
    # ChatML and its variants, including DeepSeek's full-width bars.
    r"<[|\x{FF5C}][A-Za-z_\x{2581} ]{2,40}\d{0,4}[|\x{FF5C}]>",
    r"\[/?INST\]|<</?SYS>>|\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]",
    r"<(?:start|end)_of_(?:turn|image|text)>|<(?:bos|eos|pad|unk|mask)>|\[(?:BOS|EOS|PAD)\]",
    r"(?m:^[ \t]*<s>[^<\n]*$|^[^<\n]*</s>[ \t]*$)|</s>\s*<s>",
    r"<(?:extra_id_|unused|reserved_)\d+>|<0x[0-9A-F]{2}>|\[gMASK\]|<sop>",
    r"</?(?:tool_call|tool_response|function_call|function_results)>",
    # The marks that tokenizers use for a space.
    r"\x{2581}[a-z]+\x{2581}|\x{120}[a-z]+[ ]?\x{120}[a-z]+",
)
_THINKING = r"</?(?:think|thinking|reasoning|scratchpad)>"

_ROLE = r"(?:human|user|assistant|prompter|chatgpt)"
_PART = r"(?:instructions?|response|input|output|system|user|assistant|human|prompt|context|task)"
_LEAK = "|".join(
    (
        rf"(?m:^[ \t]*#{{2,4}} ?{_PART} ?:)",
        rf"(?m:^[ \t]*(?:\*\*)?{_ROLE}(?:\*\*)? ?:)",
        r"(?m:^[ \t]*(?:system|ai|bot)(?: prompt| message)? ?: ?(?:you are|your|\n))",
        r"\byou are (?:an? )?(?:[a-z]+[ ,-]+){0,4}?(?:ai|chatbot|chatgpt|language model)\b",
        (
            r"\byou are (?:an? |the )(?:[a-z]+,? ){0,2}?(?:ai|helpful|honest|harmless|respectful"
            r"|virtual|digital|friendly|expert|coding|writing|creative)(?:,? [a-z]+){0,4}?"
            r" assistant\b"
        ),
        r"\b(?:my|the) system (?:prompt|message) (?:is|says|tells|states|instructs|above)\b",
        (
            r"\b(?:as|like) (?:instructed|specified|stated|described|requested) in (?:the|my)"
            r" (?:system |original |given |above )?(?:prompt|instructions?)\b"
        ),
        r"\bbelow is an instruction that describes a task\b",
        r"\ba chat between a curious (?:user|human)\b",
        r"\bwrite a response that appropriately completes\b",
        r"\b(?:the|this|my) (?:above|given|original|provided) (?:prompt|instruction)\b",
        r"\b(?:respond|reply|answer|output) only (?:with|in) (?:valid |the |a |json)",
        (
            r"\bdo not (?:include|add|output|mention) (?:any )?(?:other |additional |extra )?"
            r"(?:text|explanations?|commentary|preamble)\b"
        ),
    )
)


def no_template_tokens(column: str, *, thinking: bool = False) -> pl.Expr:
    """Keep rows whose `column` has no tokens of a chat template or a tokenizer.

    Such as `<|im_start|>`, `[INST]`, `<start_of_turn>`, `</s>` at the end of a line, `<0x0A>`; also
    `<think>`, unless `thinking` is true.
    """
    tokens = _TOKENS if thinking else (*_TOKENS, _THINKING)
    return _without(column, f"(?i:{'|'.join(tokens)})")


def no_prompt_leak(column: str) -> pl.Expr:
    """Keep rows whose `column` does not show parts of a prompt.

    English only: headings such as "### Instruction:", lines that begin with "Human:" or
    "Assistant:", and words of a system prompt ("You are a helpful assistant"). For your own
    prompt's words, use `not_echo`.
    """
    return _without(column, f"(?i:{_LEAK})")


def _without(column: str, pattern: str) -> pl.Expr:
    text = pl.col(f"{column}::text")
    found = text.str.extract(pattern.replace(r"\b", _EDGE), 0)
    return found.is_null() & text.is_not_null()
