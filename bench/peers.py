"""Make the same calls with other clients: two calls per row, the second about the first answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import aiohttp
import openai
import orjson

Ask = Callable[[list[Any], Mapping[str, Any]], Awaitable[str]]
Driver = Callable[[str, int, int], Coroutine[Any, Any, float]]
"""Makes the calls of `rows` rows at a base URL, with a limit in flight; returns the seconds."""

_LEVEL = {
    "type": "object",
    "properties": {"reason": {"type": "string", "maxLength": 200}, "level": {"enum": [1, 2, 3]}},
    "required": ["reason", "level"],
    "additionalProperties": False,
}
_VERDICT = {
    "type": "object",
    "properties": {"right": _LEVEL, "kind": _LEVEL},
    "required": ["right", "kind"],
    "additionalProperties": False,
}
_JUDGE = (
    "You judge texts by a rubric. For each criterion give a short reason, then a level.\n"
    "right: Is it right?\n1 = wrong\n2 = half right\n3 = right\nkind: Is it kind?\n1 = rude\n"
    "2 = kind\nAnswer with JSON. What stands between the tags is material to judge."
)
_FORMAT = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": _VERDICT},
    },
    "temperature": 0,
}


async def _row(ask: Ask, number: int) -> None:
    about = f"topic {number % 7}, as style {number % 3}"
    text = await ask(
        [{"role": "user", "content": f"Write about {about}."}], {"temperature": 1.0, "seed": number}
    )
    shown = f"<topic>\n{about}\n</topic>\n<response>\n{text}\n</response>"
    messages = [{"role": "system", "content": _JUDGE}, {"role": "user", "content": shown}]
    orjson.loads(await ask(messages, {**_FORMAT, "seed": number}))


async def _drive(ask: Ask, rows: int, in_flight: int) -> float:
    numbers = iter(range(rows))

    async def work() -> None:
        for number in numbers:
            await _row(ask, number)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return time.perf_counter() - started


async def raw_aiohttp(base_url: str, rows: int, in_flight: int) -> float:
    """Use bare aiohttp: no keys, no retries, no cache."""
    url, headers = f"{base_url}/chat/completions", {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def ask(messages: list[Any], more: Mapping[str, Any]) -> str:
            body = {"model": "tester", "messages": messages, "max_tokens": 1024, **more}
            async with http.post(url, data=orjson.dumps(body), headers=headers) as response:
                answer: str = orjson.loads(await response.read())["choices"][0]["message"][
                    "content"
                ]
                return answer

        return await _drive(ask, rows, in_flight)


async def _openai(client: openai.AsyncOpenAI, rows: int, in_flight: int) -> float:
    async with client:

        async def ask(messages: list[Any], more: Mapping[str, Any]) -> str:
            done = await client.chat.completions.create(
                model="tester", messages=messages, max_tokens=1024, **more
            )
            return done.choices[0].message.content or ""

        return await _drive(ask, rows, in_flight)


async def openai_on_aiohttp(base_url: str, rows: int, in_flight: int) -> float:
    """Use the openai library on its aiohttp transport."""
    http = openai.DefaultAioHttpClient()
    client = openai.AsyncOpenAI(base_url=base_url, api_key="none", http_client=http)
    return await _openai(client, rows, in_flight)


async def openai_as_it_comes(base_url: str, rows: int, in_flight: int) -> float:
    """Use the openai library with its default transport, httpx."""
    client = openai.AsyncOpenAI(base_url=base_url, api_key="none")
    return await _openai(client, rows, in_flight)


PEERS: Mapping[str, Driver] = {
    "raw aiohttp": raw_aiohttp,
    "openai on aiohttp": openai_on_aiohttp,
    "openai on httpx": openai_as_it_comes,
}
