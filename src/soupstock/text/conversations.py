"""The texts in a column: one for each row, several, or the turns of a conversation.

A conversation is a list of messages with `role` and `content`. By default, its texts are the
assistant's messages.
"""

import polars as pl

ROLES = ("system", "user", "assistant", "tool")
BETWEEN_TURNS = "\n\n"

_NAMED = {"role", "content"}
_TEXTS = (pl.String, pl.Categorical, pl.Enum, pl.Null)


def text(values: pl.Series) -> pl.Series:
    """Return each row's text, with a blank line between several texts; null if there is none."""
    if isinstance(values.dtype, _TEXTS):
        return values if values.dtype == pl.String else values.cast(pl.String)
    return turns(values).list.join(BETWEEN_TURNS)


def turns(values: pl.Series) -> pl.Series:
    """Return each row's texts as a list; null if there are none."""
    if isinstance(values.dtype, _TEXTS):
        listed = values.cast(pl.String).reshape((-1, 1)).arr.to_list()
        return _known(listed, values.is_not_null())
    if isinstance(values.dtype, pl.List):
        if isinstance(values.dtype.inner, _TEXTS):
            texts = values.cast(pl.List(pl.String)).list.drop_nulls()
            return _known(texts, texts.list.len() > 0)
        if _is_conversation(values.dtype):
            return said_by("assistant", values)
    raise ValueError(
        f"{values.name} is {values.dtype}, not a text, a list of texts or a"
        " conversation (a list of role and content)"
    )


def said_by(role: str, values: pl.Series) -> pl.Series:
    """Return one role's messages in each conversation, as a list; null if there are none."""
    if values.dtype == pl.Null:
        return values.cast(pl.List(pl.String))
    if not _is_conversation(values.dtype):
        raise ValueError(
            f"{values.name} is {values.dtype}, not a conversation (a list of role and content)"
        )
    message = pl.element().struct
    is_said = (message.field("role").cast(pl.String) == role) & message.field(
        "content"
    ).is_not_null()
    content = message.field("content").cast(pl.String).filter(is_said)
    texts = values.to_frame("values").select(pl.col("values").list.eval(content)).to_series()
    return _known(texts.alias(values.name), texts.list.len() > 0)


def _is_conversation(dtype: pl.DataType) -> bool:
    if not (isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct)):
        return False
    fields = {field.name: field.dtype for field in dtype.inner.fields}
    return fields.keys() >= _NAMED and all(isinstance(fields[name], _TEXTS) for name in _NAMED)


def _known(lists: pl.Series, is_known: pl.Series) -> pl.Series:
    """Set a list to null if its row has no texts."""
    if is_known.all():
        return lists
    frame = pl.DataFrame({"lists": lists, "is_known": is_known})
    kept = frame.select(pl.when("is_known").then("lists")).to_series()
    return kept.alias(lists.name)
