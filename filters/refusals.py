"""Answers that refuse, or talk about being a model."""

import polars as pl

_NEAR = 300
"""How far from the beginning a refusal is looked for, in characters."""

_A = r"['\x{2019}]"
_CANNOT = (
    rf"I ?(?:can(?:no|{_A})t|can not|won{_A}t|will not|must decline to|have to decline to"
    rf"|(?:am|{_A}m) (?:not (?:able|allowed|permitted|going|programmed|designed) to"
    r"|unable to|not comfortable(?: with)?))"
)
# What a model says that it cannot do. "I can't make it tonight" is none of these.
_OBLIGE = (
    r"(?:\w+ ){0,2}?(?:assist|help(?:ing)?(?: you)? (?:with|to|you)|comply|fulfill?"
    r"|provid(?:e|ing)|generat(?:e|ing)|engage|support|condone|participate|produce|discuss"
    r"|respond|continue with|complete th(?:is|at|e)|answer (?:that|this|your|the)"
    r"|do (?:that|this)|offer|accommodate|browse|access"
    r"|(?:creat|writ)(?:e|ing) (?:content|that|this|a|an|any)"
    r"|give (?:you|advice|medical|legal|financial)|share (?:that|this|any|personal))\b"
)
_MODEL = (
    r"(?:an? (?:\w+ ){0,2}?(?:(?:large )?language model"
    r"|ai (?:language )?(?:model|assistant|chatbot|system|program))\b"
    r"|(?:just |only )?an ai(?: and\b| so\b|[,.;:]|$))"
)

_SORRY = (
    r"(?:\bsorry\b|apologi[sz]e|apologies|unfortunately|\bregret\b)"
    rf"[^.?\n]{{0,80}}?\b{_CANNOT} {_OBLIGE}"
)
_PLAIN = (
    r"^\W*(?:(?:no|sorry|hello|hi|thank you|thanks)\b[^.!?\n]{0,40}[.!,]\s+)?"
    rf"{_CANNOT} {_OBLIGE}"
)
_AS_MODEL = (
    rf"\bas (?:{_MODEL}|an ai)[\s,]+(?:\w+ (?:by|at) \w+[\s,]+)?(?:I\b|my\b|it{_A}s\b|it is\b)"
)
_AM_MODEL = rf"\bI(?: am|{_A}m) (?:just |only |merely )?{_MODEL}"
_RULES = (
    rf"\b(?:against|violates?|violating) (?:my|openai{_A}?s?) (?:\w+ )?"
    r"(?:programming|guidelines|polic(?:y|ies)|principles)"
)
_LACKS = (
    rf"\bI (?:do not|don{_A}t) have (?:personal (?:opinions|experiences?|feelings|beliefs"
    r"|preferences)|real[- ]time|the ability to (?:access|browse|provide|assist|help))"
)
_REFUSAL = f"(?i){_SORRY}|{_PLAIN}|{_AS_MODEL}|{_AM_MODEL}|{_RULES}|{_LACKS}"


def not_refusal(column: str) -> pl.Expr:
    """Keep rows whose `column` does not begin by refusing, or by saying that it is a model.

    English only, looked for in the first 300 characters. "I'm sorry, but I can't help with that",
    "I cannot provide medical advice" and "As an AI language model, I" are refusals; "I'm sorry to
    hear that" is not.
    """
    return ~pl.col(column).str.strip_chars_start().str.head(_NEAR).str.contains(_REFUSAL)
