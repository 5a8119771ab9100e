"""Check function calls that a model wrote: names, arguments, and results of stub functions."""

import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from soupstock.errors import MistakeError, Place, shown
from soupstock.judging.answers import CheckResult
from soupstock.judging.sandbox import Limits, run_all

NEEDED = "`by: call` needs jsonschema: pip install 'soupstock[tools]'"
MOST_CALLS = 16
"""The most calls in one answer."""

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)

Calls = list[tuple[str, Mapping[str, Any]]]


def check_installed(place: Place | None) -> None:
    """Check that jsonschema is installed; raises MistakeError."""
    if importlib.util.find_spec("jsonschema") is None:
        raise MistakeError(NEEDED, place)


def check_calls(asked: Sequence[tuple[str, ...]], limits: Limits) -> list[CheckResult]:
    """Check answers against the functions that they may call, and run stubs where given."""
    read = [_read(answer, tools) for answer, tools, *_ in asked]
    sound = [place for place, one in enumerate(read) if not isinstance(one, str)]
    found = [CheckResult(one) if isinstance(one, str) else CheckResult() for one in read]
    runs = [(place, stubs) for place in sound for stubs in asked[place][2:]]
    pairs = [(stubs, _script(read[place])) for place, stubs in runs]
    for (place, _), ended in zip(runs, run_all(pairs, limits), strict=True):
        fault = ended.fault and f"the call failed: {ended.fault}"
        found[place] = CheckResult(fault, ended.result)
    return found


def _script(calls: Calls | str) -> str:
    """Write code that makes the calls, with their arguments as data."""
    arguments = json.dumps(json.dumps(calls))
    return f"import json\nresult = [globals()[n](**a) for n, a in json.loads({arguments})]"


def _read(answer: str, tools: str) -> Calls | str:
    """Read the calls of an answer, or return what is wrong with them."""
    fenced = _FENCED.search(answer)
    try:
        value = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return "no JSON"
    calls = value if isinstance(value, list) else [value]
    if not 0 < len(calls) <= MOST_CALLS:
        return "no call"
    schemas = _schemas(tools)
    if isinstance(schemas, str):
        return schemas
    read: Calls = []
    for call in calls:
        if (fault := _fault(call, schemas)) is not None:
            return fault
        read.append((call["name"], call.get("arguments") or {}))
    return read


def _schemas(tools: str) -> dict[str, Any] | str:
    """Return each function's JSON Schema; functions may be wrapped in `{"function": …}`."""
    try:
        declared = [one.get("function", one) for one in json.loads(tools)]
        return {one["name"]: one.get("parameters") or {} for one in declared}
    except (ValueError, TypeError, KeyError, AttributeError):
        return "the functions are no list of names and parameters"


def _fault(call: object, schemas: Mapping[str, Any]) -> str | None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match

    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return "no call"
    if call.keys() - {"name", "arguments"}:
        return "more than a name and arguments"
    if call["name"] not in schemas:
        return f"no function {shown(call['name'])[:60]}"
    # An undeclared argument is an error, unless the schema itself allows it.
    schema = {"additionalProperties": False, **schemas[call["name"]]}
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return f"the parameters of {call['name']} are no JSON Schema"
    wrong = best_match(Draft202012Validator(schema).iter_errors(call.get("arguments") or {}))
    return None if wrong is None else f"{call['name']}: {shown(wrong.message)[:200]}"
