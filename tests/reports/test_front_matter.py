"""What the Hub reads of a dataset is what the `datasets` library would write of it."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from datasets import DatasetInfo, Features
from datasets.info import DatasetInfosDict

from soupstock.artifacts.dataset import ConfigRecord, DatasetRecord, SplitRecord
from soupstock.reports.card import front_matter
from soupstock.rows import features as features_module

PLAIN = [
    *(pa.null(), pa.bool_(), pa.string(), pa.large_string(), pa.binary(), pa.large_binary()),
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.decimal128(10, 2), pa.decimal256(50, 3)),
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"), pa.duration("us")),
    *(pa.timestamp("ms"), pa.timestamp("us", tz="UTC"), pa.binary(4)),
    *(pa.string_view(), pa.binary_view()),
]
STRUCT = pa.struct({"a": pa.string(), "c": pa.list_(pa.struct({"b": pa.float64()}))})
NESTED = [
    *(pa.list_(pa.string()), pa.large_list(pa.int8()), pa.list_(pa.float32(), 3)),
    *(pa.list_(pa.list_(pa.string())), pa.list_(pa.large_list(pa.list_(pa.int8(), 2)))),
    *(STRUCT, pa.list_(STRUCT), pa.list_(pa.list_(STRUCT), 2), pa.struct({"dtype": pa.string()})),
    *(pa.list_(pa.struct({"struct": STRUCT})), pa.struct({"list": pa.list_(pa.int8())})),
]


KINDS = pytest.mark.parametrize("kind", [*PLAIN, *NESTED, *map(pa.list_, PLAIN)], ids=str)


def config_of(name: str, schema: pa.Schema, *splits: str) -> ConfigRecord:
    return ConfigRecord(
        name=name,
        folder=name,
        features=features_module.features_of(schema),
        rows=3,
        bytes=90,
        splits=tuple(SplitRecord(name=split, rows=3, bytes=30) for split in splits),
        download=70,
    )


def dataset_of(*configs: ConfigRecord) -> DatasetRecord:
    features = configs[0].features
    return DatasetRecord(
        repository="me/mine", features=features, rows=3, bytes=90, shards=(), configs=configs
    )


def library_says(configs: Sequence[ConfigRecord]) -> dict[str, Any]:
    """Let the library write the metadata of the configurations."""
    written: dict[str, Any] = {}
    infos = {
        config.name: DatasetInfo(
            features=Features.from_dict(config.features),
            splits={
                split.name: {
                    "name": split.name,
                    "num_bytes": split.bytes,
                    "num_examples": split.rows,
                }
                for split in config.splits
            },
            download_size=config.download,
            dataset_size=config.bytes,
        )
        for config in configs
    }
    DatasetInfosDict(infos).to_dataset_card_data(written)
    return written


@KINDS
def test_a_type_is_named_as_the_library_names_it(kind: pa.DataType) -> None:
    schema = pa.schema({"a": kind, "b": pa.string()})
    assert features_module.features_of(schema) == Features.from_arrow_schema(schema).to_dict()


@KINDS
def test_a_card_writes_a_type_as_the_library_does(kind: pa.DataType) -> None:
    config = config_of("default", pa.schema({"a": kind, "b": pa.string()}), "train")
    # As text, for the order counts too.
    written = json.dumps(front_matter.dataset_info(dataset_of(config)))
    assert written == json.dumps(library_says([config]))


@pytest.mark.parametrize("names", [("chat",), ("default", "b"), ("z", "default"), ("b", "a")])
def test_a_card_writes_configurations_as_the_library_does(names: tuple[str, ...]) -> None:
    schema = pa.schema({"a": pa.string()})
    configs = [config_of(name, schema, "train", "test") for name in names]
    written = json.dumps(front_matter.dataset_info(dataset_of(*configs)))
    assert written == json.dumps(library_says(configs))


def test_a_column_may_be_called_as_the_library_marks_a_type() -> None:
    schema = pa.schema({"a": pa.struct({"_type": pa.string()})})
    written = front_matter.dataset_info(dataset_of(config_of("default", schema, "train")))
    assert written["dataset_info"]["features"] == [
        {"name": "a", "struct": [{"name": "_type", "dtype": "string"}]}
    ]
