"""A demo: SQLite in a folder, a customer with a past, the sandbox provider, a clock that can be moved.

It is a Purser as any other, on loopback only, with its own secret key kept in its folder. Nothing of the environment
but a few harmless settings reaches it: no database, no mail server, and no live key.
"""

import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from api.app import create_app
from api.auth import create_key
from api.demo import APPROVER_NAME, SUPPORT_NAME, Demo, LoopbackOnly, demo_router, remembered_offset
from api.demo_seed import demo_account, seed
from api.environ import Reader, SettingsError
from api.portal import new_link
from api.sandbox import sandbox_router
from api.sandbox_server import SandboxServer, sandbox_keys
from api.server import assembled, end_by_signal, listen, opened, providers_of, run_app
from api.settings import Settings, read_settings
from engine.catalogs import load_catalog
from engine.clock import Clock
from engine.flows.webhooks import want_all
from engine.runtime import Runtime, Secrets
from engine.store.migrations import upgrade
from psp.sandbox import Sandbox

HOST = "127.0.0.1"
IGNORED = ("DATABASE_URL", "DATA_DIR", "SECRET_KEY", "BASE_URL", "HOST", "PORT", "CATALOG", "SMTP_URL")
"""Settings of the environment that a demo makes itself, with their `_FILE` forms."""

_LIVE = re.compile(r"(?:^|[^A-Za-z])(?:sk|rk|pk|pdl)_live_")
log = structlog.get_logger()


class Ready(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a script needs to know of a demo that answers requests; keys are made anew at each start."""

    base_url: str
    account_id: str
    account_key: str
    service_key: str
    support_key: str
    approver_key: str
    admin_key: str
    portal_url: str


@dataclass(frozen=True, slots=True)
class DemoOrder:
    """Where a demo lives, on which port (0: any free one), with which catalogue (a shipped one's name, or a file)."""

    directory: Path
    port: int
    catalog: str


def run_demo(order: DemoOrder, environ: Mapping[str, str], on_ready: Callable[[Ready], None]) -> None:
    """Run a demo until a signal ends it; `on_ready` is called once it answers.

    Raises `SettingsError` for live keys and for a port in use, `CatalogError`, and `DatabaseLocked` for a folder that
    another demo uses.
    """
    end_by_signal()
    check_no_live_keys(environ)
    if not any(rail.name == "sandbox" for rail in load_catalog(order.catalog).providers):
        raise SettingsError("This catalogue does not offer the sandbox: a demo needs it among its providers.")
    with listen(HOST, order.port) as listener:
        settings = demo_settings(order, environ, listener.getsockname()[1])
        with ExitStack() as stack:
            db = stack.enter_context(opened(settings))
            upgrade(db)
            clock = Clock(remembered_offset(db))
            sandbox = Sandbox(settings.base_url, *sandbox_keys(Secrets(settings.secret_keys)))
            stack.callback(sandbox.close)
            providers = {**providers_of(settings), sandbox.name: sandbox}
            parts = stack.enter_context(assembled(settings, db, clock, providers, serves=True))
            runtime = parts.runtime
            account_id = demo_account(db) or _seed(runtime)
            want_all(runtime)
            side = SandboxServer(db, clock, runtime.secrets, settings.base_url, parts.jobs.run_due)
            stack.callback(side.stop)

            def after_jump() -> None:
                side.expire_over()
                parts.jobs.run_due()

            demo = Demo(runtime, clock, account_id, after_jump)
            app = create_app(runtime, settings, (*parts.resources, sandbox_router(side), demo_router(demo)))
            ready = _ready(runtime, account_id)
            parts.start()

            def started() -> None:
                side.start()
                on_ready(ready)

            run_app(LoopbackOnly(app, runtime.catalog.error_prefix), runtime, settings, listener, started)


def check_no_live_keys(environ: Mapping[str, str]) -> None:
    """Refuse (`SettingsError`) to start where a key that moves real money is set, wherever it stands."""
    read = Reader(environ)
    for name in environ:
        if not name.startswith("PURSER_"):
            continue
        setting = name.removeprefix("PURSER_").removesuffix("_FILE")
        if _LIVE.search(environ[name]) or _LIVE.search(read.text(setting) or ""):
            raise SettingsError(f"{name} holds a live key: a demo refuses to start with one.")


def demo_settings(order: DemoOrder, environ: Mapping[str, str], port: int) -> Settings:
    """The settings of a demo: its own, and what of the environment is left."""
    ignored = {f"PURSER_{name}{end}" for name in IGNORED for end in ("", "_FILE")}
    catalog = load_catalog(order.catalog)
    database = order.directory.absolute() / f"{catalog.id}.sqlite3"
    return read_settings(
        {
            **{name: value for name, value in environ.items() if name not in ignored},
            "PURSER_DATA_DIR": str(order.directory.absolute()),
            "PURSER_DATABASE_URL": f"sqlite:///{database}",
            "PURSER_SECRET_KEY": secret_key(order.directory),
            "PURSER_BASE_URL": f"http://{HOST}:{port}",
            "PURSER_HOST": HOST,
            "PURSER_PORT": str(port),
            "PURSER_CATALOG": order.catalog,
        }
    )


def secret_key(directory: Path) -> str:
    """The folder's secret key, made at the first start; nobody but its owner may read the file."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "secret.key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    key = secrets.token_hex(32)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(key + "\n")
    return key


def _seed(runtime: Runtime) -> str:
    log.info("writing sixty days of history")
    return seed(runtime)


def _ready(runtime: Runtime, account_id: str) -> Ready:
    portal_url, _ = new_link(runtime, account_id)
    return Ready(
        base_url=runtime.base_url,
        account_id=account_id,
        account_key=create_key(runtime, "account", "demo", account_id),
        service_key=create_key(runtime, "service", "demo"),
        support_key=create_key(runtime, "support", SUPPORT_NAME),
        approver_key=create_key(runtime, "approver", APPROVER_NAME),
        admin_key=create_key(runtime, "admin", "Andy Admin"),
        portal_url=portal_url,
    )
