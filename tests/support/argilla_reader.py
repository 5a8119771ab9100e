"""Read a dataset as Argilla's own client does: `argilla_reader.py DATASET` prints it as JSON.

A process of its own, because importing argilla warns, and in our tests a warning is an error.
Address and key are taken from ARGILLA_API_URL and ARGILLA_API_KEY.
"""

import json
import os
import sys
from typing import Any

import argilla as rg


def main(name: str) -> None:
    client = rg.Argilla(os.environ["ARGILLA_API_URL"], os.environ["ARGILLA_API_KEY"])
    dataset = client.datasets(name, workspace="soupstock")
    people = {str(user.id): user.username for user in client.users}
    records = list(dataset.records(with_suggestions=True, with_responses=True))
    found = {
        "fields": {field.name: field.type for field in dataset.fields},
        "questions": {question.name: labels(question) for question in dataset.questions},
        "records": [record_of(record, people) for record in records],
        "flat": dataset.records.to_list(flatten=True),
    }
    json.dump(found, sys.stdout, default=str)


def labels(question: Any) -> list[str] | None:
    return question.labels if isinstance(question, rg.LabelQuestion) else None


def record_of(record: Any, people: dict[str, str]) -> dict[str, Any]:
    return {
        "id": record.id,
        "status": record.status,
        "fields": record.fields.to_dict(),
        "metadata": dict(record.metadata),
        "suggestions": {
            one.question_name: {"value": one.value, "score": one.score, "agent": one.agent}
            for one in record.suggestions
        },
        "responses": [
            {
                "question": one.question_name,
                "value": one.value,
                "status": str(one.status.value),
                "person": people[str(one.user_id)],
            }
            for one in record.responses
        ],
    }


if __name__ == "__main__":
    main(sys.argv[1])
