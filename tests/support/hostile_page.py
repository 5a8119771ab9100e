"""A run whose texts are hostile to whatever shows them."""

import json
from pathlib import Path
from typing import Any

from conftest import Folder
from soupstock import testing
from soupstock.runs.run import Run
from soupstock.testing import Reply, Request, Server

HOSTILE = (
    "<script>window.ran=1</script>",
    '"><img src=x onerror="window.ran=1">',
    "'><svg onload=window.ran=1>",
    "</script></style></textarea></title></pre><script>window.ran=1</script>",
    "<details open ontoggle=window.ran=1><summary>x</summary></details>",
    '<meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/">',
    '<link rel="stylesheet" href="http://127.0.0.1:9/x.css"><base href="http://127.0.0.1:9/">',
    '<iframe src="javascript:parent.ran=1"></iframe>',
    '<a href="javascript:window.ran=1" autofocus onfocus="window.ran=1">javascript:</a>',
    "[here](javascript:window.ran=1) ![x](http://127.0.0.1:9/x.png)",
    "<style>@import 'http://127.0.0.1:9/y.css'; * { background: url(//127.0.0.1:9/z) }</style>",
    "<!-- <![CDATA[ ]]> &lt;b&gt; &#60;i&#62;",
    "{{7*7}} {% raw %} {{ said }} ${7*7} %s {0}",
)


PLANTED = " ".join(HOSTILE)


UNSEEN = "nul \0 escape \x1b[31m bell \a next\x85 line\u2028 turn \u202egnp.exe\u202c \u2067x\u2069"


def hostile_run(root: Path) -> Run:
    """Run a pipeline with hostile text in every place that a person, a model or a server fills."""
    folder = Folder(root)
    planted = json.dumps(PLANTED)
    column = "c <img src=x onerror=window.ran=1> '\" {{7*7}}"
    rows = [{column: f"{PLANTED} {UNSEEN} {n}", "topic": PLANTED, "n": n} for n in range(12)]
    folder.write("seeds.jsonl", "\n".join(json.dumps(row) for row in rows))
    folder.write(
        "pipelines/mine.yaml",
        f"description: {planted}\n"
        "models: {writer: test, judge: test}\n"
        "source: {file: seeds.jsonl}\n"
        "steps:\n"
        "  - generate: question\n    model: writer\n    prompt: ask\n"
        "  - dedup: question\n"
        "  - generate: chat\n    model: writer\n    prompt: reply\n    schema: Chat\n"
        "    max_tokens: 9000\n"
        "  - generate: several\n    model: writer\n    prompt: reply\n    n: 2\n"
        "  - judge: quality\n    model: judge\n    rubric: plain\n"
        f"  - filter: [score: {{column: quality, min: 0.5}}, has: {{text: {planted}}}]\n",
    )
    folder.write("prompts/ask.md", "{% raw %}" + PLANTED.replace("{% raw %}", "") + "{% endraw %}")
    folder.replace("prompts/ask.md", "{% endraw %}", "{% endraw %} {{ n }}")
    folder.write("prompts/reply.md", f"---\ndescription: {planted}\n---\n{{{{ question }}}}")
    folder.write(
        "prompts/rubrics/plain.yaml",
        f"description: {planted}\ncolumns: [question]\ncriteria:\n"
        f"  right: {{question: {planted}, levels: [{planted}, {planted}]}}\n",
    )
    folder.write(
        "schemas/chat.py",
        f'"""{HOSTILE[0]}"""\n\nfrom pydantic import BaseModel\n\n\n'
        "class Turn(BaseModel):\n    role: str\n    content: str\n\n\n"
        "class Chat(BaseModel):\n    turns: list[Turn]\n    title: str\n",
    )
    folder.write(
        "filters/has.py",
        f'"""{HOSTILE[0]}"""\n\nimport polars as pl\n\n\n'
        "def has(text: str) -> pl.Expr:\n"
        '    return pl.col("question").str.contains(text, literal=True) & (pl.col("n") != 5)\n',
    )
    with Server(_hostile_answer) as server:
        folder.point_at(server.base_url, attempts=1, revision=HOSTILE[0], license=HOSTILE[4])
        server.fail(
            lambda request: (
                testing.error(500, f"{PLANTED} {UNSEEN}") if request.prompt.endswith(" 7") else None
            )
        )
        return folder.run()


def _hostile_answer(request: Request) -> Reply | str | dict[str, Any]:
    text = f"{PLANTED} {UNSEEN}"
    schema = json.dumps(request.body.get("response_format", ""))
    if '"level"' in schema:
        level = 1 + (request.share() > 0.3)
        return {"right": {"reason": PLANTED[:190], "level": level}}
    if '"turns"' in schema:
        turns = [{"role": role, "content": text} for role in ("user", "assistant", PLANTED)]
        return {"turns": turns, "title": text}
    if request.prompt.endswith((" 1", " 2")):
        return f"{text} the same"
    return f"{' '.join(f'{request.key}{n}' for n in range(400))} {text}"
