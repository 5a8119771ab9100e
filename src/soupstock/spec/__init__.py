"""What a person writes, as frozen data, with the line of each mistake.

Knows no rows and no models.
"""

from soupstock.spec.dataset import Config, Review, Stratified, WriteDataset
from soupstock.spec.fields import (
    MAX_ROWS,
    RESERVED,
    Column,
    ColumnPath,
    ModelName,
    Name,
    Repository,
    Role,
    TextPath,
)
from soupstock.spec.generation import Converse, Generate, Sampling, Task
from soupstock.spec.judging import Judge, Verify
from soupstock.spec.pipeline import VERBS, Pipeline, Step, slug, unslugged, verb_of
from soupstock.spec.pruning import (
    DEFAULT_THRESHOLDS,
    KINDS,
    Amount,
    Best,
    Decontaminate,
    Dedup,
    Filter,
    FilterUse,
    Mask,
    Select,
    Use,
)
from soupstock.spec.source import (
    DatasetSource,
    DatasetThere,
    DocumentSource,
    FileSource,
    FileThere,
    RunThere,
    SampleSource,
    There,
)

__all__ = [
    "DEFAULT_THRESHOLDS",
    "KINDS",
    "MAX_ROWS",
    "RESERVED",
    "VERBS",
    "Amount",
    "Best",
    "Column",
    "ColumnPath",
    "Config",
    "Converse",
    "DatasetSource",
    "DatasetThere",
    "Decontaminate",
    "Dedup",
    "DocumentSource",
    "FileSource",
    "FileThere",
    "Filter",
    "FilterUse",
    "Generate",
    "Judge",
    "Mask",
    "ModelName",
    "Name",
    "Pipeline",
    "Repository",
    "Review",
    "Role",
    "RunThere",
    "SampleSource",
    "Sampling",
    "Select",
    "Step",
    "Stratified",
    "Task",
    "TextPath",
    "There",
    "Use",
    "Verify",
    "WriteDataset",
    "slug",
    "unslugged",
    "verb_of",
]
