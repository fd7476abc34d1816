"""The tables, as the steps that made them. A file's ``user_version`` says how many it has seen; steps never change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dragoman.store.errors import StoreError

if TYPE_CHECKING:
    import sqlite3

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE servers (
            id INTEGER PRIMARY KEY,
            pid INTEGER NOT NULL,
            start_time INTEGER,
            boot_id TEXT,
            pid_namespace TEXT
        )
        """,
        """
        CREATE TABLE calls (
            id TEXT PRIMARY KEY,
            server_id INTEGER NOT NULL REFERENCES servers (id),
            provider TEXT,
            model TEXT,
            face TEXT NOT NULL,
            depth INTEGER NOT NULL,
            status TEXT NOT NULL,
            code TEXT,
            started_at REAL NOT NULL,
            duration_s REAL,
            first_output_s REAL,
            attempts INTEGER,
            exit_code INTEGER,
            argv_shape TEXT
        ) WITHOUT ROWID
        """,
        "CREATE INDEX calls_by_provider ON calls (provider, started_at)",
        "CREATE INDEX calls_running ON calls (server_id) WHERE status = 'running'",
        """
        CREATE TABLE usage (
            call_id TEXT PRIMARY KEY REFERENCES calls (id) ON DELETE CASCADE,
            input_tokens INTEGER,
            cached_input_tokens INTEGER,
            output_tokens INTEGER,
            cost_usd REAL,
            billing TEXT NOT NULL
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE processes (
            id INTEGER PRIMARY KEY,
            pid INTEGER NOT NULL,
            start_time INTEGER,
            call_id TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
            server_id INTEGER NOT NULL REFERENCES servers (id),
            started_at REAL NOT NULL,
            ended_at REAL
        )
        """,
        "CREATE INDEX processes_running ON processes (server_id, pid) WHERE ended_at IS NULL",
    ),
    ("ALTER TABLE processes ADD COLUMN folder TEXT",),
    (
        """
        CREATE TABLE circuits (
            provider TEXT NOT NULL,
            account TEXT NOT NULL,
            model TEXT NOT NULL,
            version INTEGER NOT NULL,
            circuit TEXT NOT NULL,
            PRIMARY KEY (provider, account, model)
        ) WITHOUT ROWID
        """,
    ),
    (
        # Without an id: it is deleted, and its turns are on their way out. Long texts stand last in every table: they
        # are in nobody's way there.
        """
        CREATE TABLE conversations (
            key INTEGER PRIMARY KEY,
            id TEXT UNIQUE,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL,
            title TEXT NOT NULL,
            provider TEXT,
            turns INTEGER NOT NULL,
            completed INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            forked_from TEXT,
            system_prompt TEXT
        )
        """,
        "CREATE INDEX conversations_by_age ON conversations (updated_at, key, bytes) WHERE id IS NOT NULL",
        "CREATE INDEX conversations_by_provider ON conversations (provider, updated_at) WHERE id IS NOT NULL",
        "CREATE INDEX conversations_deleted ON conversations (key) WHERE id IS NULL",
        # id: the key of the conversation and, in the last 24 bits, the number of the turn. So the turns of one
        # conversation stand beside each other in the file, however many others there are.
        """
        CREATE TABLE turns (
            id INTEGER PRIMARY KEY,
            call_id TEXT NOT NULL,
            server_id INTEGER NOT NULL REFERENCES servers (id),
            status TEXT NOT NULL,
            provider TEXT,
            model TEXT,
            code TEXT,
            finish_reason TEXT,
            started_at REAL NOT NULL,
            ended_at REAL,
            input_tokens INTEGER,
            cached_input_tokens INTEGER,
            output_tokens INTEGER,
            cost_usd REAL,
            prompt TEXT NOT NULL,
            text TEXT NOT NULL
        )
        """,
        "CREATE INDEX turns_running ON turns (server_id, call_id) WHERE status = 'running'",
        # Turns that have ended and are not in the full-text index yet.
        "CREATE TABLE turns_to_index (turn INTEGER PRIMARY KEY REFERENCES turns (id) ON DELETE CASCADE)",
        """
        CREATE TABLE sessions (
            conversation INTEGER NOT NULL REFERENCES conversations (key),
            provider TEXT NOT NULL,
            account TEXT NOT NULL,
            native_id TEXT NOT NULL,
            native_turn TEXT,
            cwd TEXT,
            knows INTEGER NOT NULL,
            dirty INTEGER NOT NULL,
            PRIMARY KEY (conversation, provider, account)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE jobs (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            server_id INTEGER NOT NULL REFERENCES servers (id),
            conversation_id TEXT,
            provider TEXT,
            face TEXT NOT NULL,
            status TEXT NOT NULL,
            created_at REAL NOT NULL,
            ended_at REAL,
            deadline REAL,
            prompt TEXT NOT NULL,
            scope TEXT,
            key TEXT,
            digest TEXT,
            detached INTEGER NOT NULL,
            folder TEXT,
            shepherd_pid INTEGER,
            shepherd_start INTEGER,
            cancel_requested INTEGER NOT NULL DEFAULT 0,
            request TEXT,
            reply TEXT
        )
        """,
        "CREATE UNIQUE INDEX jobs_by_key ON jobs (scope, key) WHERE key IS NOT NULL",
        "CREATE INDEX jobs_running ON jobs (server_id, detached, id) WHERE status = 'running'",
        """
        CREATE TABLE call_logs (
            id INTEGER PRIMARY KEY,
            call_id TEXT NOT NULL,
            page INTEGER NOT NULL,
            created_at REAL NOT NULL,
            bytes INTEGER NOT NULL,
            events BLOB NOT NULL
        )
        """,
        "CREATE UNIQUE INDEX call_logs_by_page ON call_logs (call_id, page)",
        "CREATE INDEX call_logs_by_age ON call_logs (created_at, bytes)",
    ),
    (
        """
        CREATE TABLE cached_answers (
            key TEXT PRIMARY KEY,
            created_at REAL NOT NULL,
            bytes INTEGER NOT NULL,
            reply TEXT NOT NULL
        )
        """,
        "CREATE INDEX cached_answers_by_age ON cached_answers (created_at, key, bytes)",
    ),
    (
        # Of the reply, beside the rest of it. Where it is missing, an older Dragoman put it among the rest.
        "ALTER TABLE jobs ADD COLUMN text TEXT",
    ),
)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest version, all or nothing.

    Raises:
        StoreError: a newer Dragoman wrote it; it is left as it is.
    """
    if check_version(db, path) == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        # Asked again: another process may have done it while this one waited for the lock.
        for number, statements in enumerate(MIGRATIONS[check_version(db, path) :], check_version(db, path) + 1):
            for statement in statements:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def check_version(db: sqlite3.Connection, path: Path) -> int:
    """The version of the file.

    Raises:
        StoreError: a newer Dragoman wrote it.
    """
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreError(
            path,
            f"it was written by a newer Dragoman (version {version} of its tables, this one knows {len(MIGRATIONS)})",
            "update Dragoman, or set DRAGOMAN_HOME to another folder",
        )
    return version
