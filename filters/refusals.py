"""Answers that refuse, or talk about being a model."""

import polars as pl

# An ASCII word boundary: a Unicode one makes the search many times slower.
_EDGE = r"(?-u:\b)"

_NEAR = 300
"""How far from the beginning to look for a refusal, in characters."""

_A = r"['\x{2019}]"
_CANNOT = (
    rf"I ?(?:can(?:no|{_A})?t|can not|(?:won{_A}?t|will not)(?: be able to)?"
    rf"|(?:wouldn{_A}?t|would not) be able to|(?:do not|don{_A}?t) (?:think|believe) I can"
    rf"|(?:am|{_A}?m) (?:not (?:able|allowed|permitted|going|programmed|designed|equipped"
    r"|qualified|trained|authori[sz]ed|in a position) to"
    r"|not capable of|unable to|not comfortable(?: with)?))"
)
# The things that a model says it cannot do. "I can't make it tonight" is not one of them.
_OBLIGE = (
    r"(?:\w+ ){0,2}?(?:assist(?:ing)?|help(?:ing)?(?: you)? (?:with|to|you)|comply|fulfill?"
    r"|provid(?:e|ing)|generat(?:e|ing)|engag(?:e|ing)|support|condone|participate|produce"
    r"|discuss(?:ing)?"
    r"|respond|recommend (?:any|specific|a specific|particular)|prescribe|diagnose"
    r"|continue with|complete th(?:is|at|e)|answer (?:that|this|your|the)"
    r"|do (?:that|this)|offer|accommodate|browse"
    r"|(?:access|open|visit) (?:the (?:internet|web)|(?:your|personal|private|external|live"
    r"|current|real[- ]time) \w+|links|urls|files|attachments|websites)"
    r"|(?:creat|writ)(?:e|ing) (?:content|that|this|a|an|any)"
    r"|give (?:you|advice|medical|legal|financial)|share (?:that|this|any|personal))\b"
)
_MODEL = (
    r"(?:an? (?:\w+ ){0,2}?(?:(?:large )?language model|artificial intelligence"
    r"|ai (?:language )?(?:model|assistant|chatbot|system|program))\b"
    r"|(?:just |only )?an ai(?: and\b| so\b|[,.;:]|$))"
)

# "I understand your frustration. However, I cannot help with that."
_SOFTENED = (
    r"(?:\bsorry\b|apologi[sz]e|apologies|unfortunately|\bregret\b|\bafraid\b"
    r"|\bI (?:understand|appreciate|realise|realize|see that)\b)"
    rf"[^?\n]{{0,120}}?\b{_CANNOT} {_OBLIGE}"
)
_DECLINES = (
    r"\bI (?:must|have to|need to|will have to|respectfully|politely) (?:\w+ )?decline\b"
    r"|\b(?:it (?:would|is) not (?:be )?(?:appropriate|ethical|right|safe) for me to"
    rf"|it (?:wouldn|isn){_A}t (?:be )?(?:appropriate|ethical|right|safe) for me to)\b"
)
_PLAIN = (
    r"^\W*(?:(?:no|sorry|hello|hi|thank you|thanks)\b[^.!?\n]{0,40}[.!,]\s+(?:but |however,? )?)?"
    rf"{_CANNOT} {_OBLIGE}"
)
_AS_MODEL = (
    rf"\bas (?:{_MODEL}|an ai)[\s,]+(?:\w+ (?:by|at) \w+[\s,]+)?(?:I\b|my\b|it{_A}s\b|it is\b)"
)
_AM_MODEL = rf"\bI(?: am|{_A}m) (?:just |only |merely )?{_MODEL}"
# "I'm not an AI, but I can try": only a model says so.
_NO_MODEL = (
    rf"^\W*(?:(?:hello|hi|sorry|well|no|yes)\b[^.!?\n]{{0,40}}[.!,]\s+)?I(?: am|{_A}?m) not"
    r" (?:just |only |really |actually )?(?:an? (?:\w+ ){0,2}?(?:ai|artificial intelligence"
    r"|(?:large )?language model|chatbot|virtual assistant)\b|a human(?: being)?[,.;:])"
)
_RULES = (
    rf"\b(?:against|violates?|violating) (?:my|openai{_A}?s?) (?:\w+ )?"
    r"(?:programming|guidelines|polic(?:y|ies)|principles)"
)
_LACKS = (
    rf"\bI (?:do not|don{_A}t) have (?:personal (?:opinions|experiences?|feelings|beliefs"
    r"|preferences)|real[- ]time|the ability to (?:access|browse|provide|assist|help))"
)
_TRAINED = (
    r"\b(?:my|as of my) (?:training data|knowledge cut-?off|last (?:training|knowledge)? ?update)"
    rf"|\bI(?: was|{_A}ve been| have been) (?:trained|created|developed) by (?:openai|anthropic"
    r"|google|meta|microsoft|alibaba|mistral|deepseek|a team)"
)
_DISCLAIMER = f"(?i){_AS_MODEL}|{_AM_MODEL}|{_RULES}|{_LACKS}|{_TRAINED}"
_REFUSAL = f"(?i){_SOFTENED}|{_DECLINES}|{_PLAIN}|{_AS_MODEL}|{_AM_MODEL}|{_NO_MODEL}|{_RULES}"
_REFUSAL += f"|{_LACKS}"


def not_refusal(column: str) -> pl.Expr:
    """Keep rows whose `column` does not begin by refusing, or by saying that it is a model.

    English only, in the first 300 characters; in a conversation, in those of each of the
    assistant's turns. "I'm sorry, but I can't help with that", "I cannot provide medical advice"
    and "As an AI language model, I" are refusals; "I'm sorry to hear that" is not.
    """
    opening = pl.element().str.strip_chars_start().str.head(_NEAR)
    refusals = pl.col(f"{column}::turns").list.eval(
        opening.str.extract(_REFUSAL.replace(r"\b", _EDGE), 0)
    )
    refusal = refusals.list.drop_nulls().list.first()
    return refusal.is_null() & pl.col(f"{column}::text").is_not_null()


def no_ai_disclaimer(column: str) -> pl.Expr:
    """Keep rows whose `column` does not say anywhere that its writer is a model.

    English only: "As an AI language model", "my training data", "my knowledge cutoff", "as of my
    last update".
    """
    text = pl.col(f"{column}::text")
    disclaimer = text.str.extract(_DISCLAIMER.replace(r"\b", _EDGE), 0)
    return disclaimer.is_null() & text.is_not_null()


def refuses_rightly(column: str, kind: str, harmful: str = "harmful") -> pl.Expr:
    """Keep rows whose `column` refuses where the column `kind` is `harmful`, and nowhere else."""
    is_refusal = ~not_refusal(column)
    return is_refusal == (pl.col(kind) == harmful)
