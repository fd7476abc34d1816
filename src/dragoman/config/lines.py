"""On which line a key stands: the parsers of TOML and JSON do not tell."""

from __future__ import annotations

import json
import re
import tomllib

from dragoman.config.keys import Key

_BLANK = re.compile(r"(?:\s|#[^\n]*)+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[^\s.=:\[\]{},#\"']+")
_SCALAR = re.compile(r"[^,\]}#\n]+")


def toml_lines(text: str) -> dict[Key, int]:
    """Line numbers, from 1, of every key and list item in `text`, which must be valid TOML."""
    finder = _Finder(text)
    finder.toml()
    return finder.lines


def json_lines(text: str) -> dict[Key, int]:
    """Line numbers, from 1, of every key and list item in `text`, which must be valid JSON."""
    finder = _Finder(text)
    finder.skip_blank()
    finder.value(())
    return finder.lines


class _Finder:
    """Walks over a text that is known to be valid, and notes where keys begin."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Key, int] = {}
        self._text = text
        self._at = 0
        self._counted = 0
        self._line = 1
        self._tables: dict[Key, int] = {}

    def toml(self) -> None:
        table: Key = ()
        while self.skip_blank():
            if self._take("["):
                table = self._header()
            else:
                self._pair(table)

    def value(self, key: Key) -> None:
        if self._take("{"):
            while not self._take("}"):
                self._pair(key)
                self._take(",")
        elif self._take("["):
            place = 0
            while not self._take("]"):
                self._note((*key, place))
                self.value((*key, place))
                self._take(",")
                place += 1
        elif self._match(_STRING) is None and self._match(_SCALAR) is None:
            raise ValueError(f"no value at offset {self._at}")

    def skip_blank(self) -> bool:
        """Go to the next thing that is neither space nor comment; False at the end."""
        self._match(_BLANK)
        return self._at < len(self._text)

    def _header(self) -> Key:
        many = self._take("[")
        key = self._key(())
        if many:
            place = self._tables[key] = self._tables.get(key, -1) + 1
            key = (*key, place)
            self._note(key)
        self._take("]")
        if many:
            self._take("]")
        return key

    def _pair(self, table: Key) -> None:
        key = self._key(table)
        if not self._take("="):
            self._take(":")
        self.skip_blank()
        self.value(key)

    def _key(self, table: Key) -> Key:
        """A key of one or more parts. Under a list of tables it speaks of the last one."""
        key = (*table, self._part())
        self._note(key)
        while self._take("."):
            if key in self._tables:
                key = (*key, self._tables[key])
            key = (*key, self._part())
            self._note(key)
        return key

    def _part(self) -> str:
        self.skip_blank()
        literal = self._match(_STRING)
        if literal is None:
            bare = self._match(_BARE_KEY)
            if bare is None:
                raise ValueError(f"no key at offset {self._at}")
            return bare
        if literal.startswith("'"):
            return literal[1:-1]
        try:
            return str(json.loads(literal))
        except ValueError:
            return str(tomllib.loads(f"k={literal}")["k"])

    def _note(self, key: Key) -> None:
        if key not in self.lines:
            self._line += self._text.count("\n", self._counted, self._at)
            self._counted = self._at
            self.lines[key] = self._line

    def _take(self, character: str) -> bool:
        self.skip_blank()
        found = self._text.startswith(character, self._at)
        self._at += found
        return found

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match.group()
