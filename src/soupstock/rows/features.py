"""Column types, by the names that the `datasets` library gives them."""

from typing import Any

import pyarrow as pa

_TYPES = {
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "date32[day]": "date32",
    "date64[ms]": "date64",
}
"""Types that have another name in the `datasets` library than in Arrow."""


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """Return the `features` of the `datasets` library: each column's type, as plain data.

    Importing that library would take a second of every run.
    """
    return {field.name: _feature(field.type) for field in schema}


def _feature(dtype: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(dtype):
        return {field.name: _feature(field.type) for field in dtype}
    if pa.types.is_large_list(dtype):
        return {"feature": _feature(dtype.value_type), "_type": "LargeList"}
    if pa.types.is_fixed_size_list(dtype):
        inner = _feature(dtype.value_type)
        return {"feature": inner, "length": dtype.list_size, "_type": "List"}
    if pa.types.is_list(dtype):
        return {"feature": _feature(dtype.value_type), "_type": "List"}
    return {"dtype": _TYPES.get(str(dtype), str(dtype)), "_type": "Value"}
