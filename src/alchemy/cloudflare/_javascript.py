"""Which modules a JavaScript module imports. Pure.

Not a parser: a lexer that knows enough of the grammar to tell code from strings, comments, templates and regular
expressions, and then looks for `import` and `export … from`. What it cannot know exactly without parsing is whether a
`/` divides; it decides by what stands before it, as syntax highlighters do, and a `/` without a partner on its line
always divides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from alchemy.errors import DeclarationError

_SKIP = re.compile(r"(?:\s|\ufeff|//[^\n\r\u2028\u2029]*|/\*.*?(?:\*/|\Z)|\A#![^\n]*)+", re.DOTALL)
_STRING = re.compile(r"""(?:"(?:[^"\\\n\r]|\\(?:\r\n|.))*"|'(?:[^'\\\n\r]|\\(?:\r\n|.))*')""", re.DOTALL)
_WORD = re.compile(r"[#@]?(?:[\w$\u200c\u200d]|\\u[0-9a-fA-F]{4}|\\u\{[0-9a-fA-F]+\})+")
_NUMBER = re.compile(r"\.?\d(?:[eE][+-]?\d|[\w.])*")
_REGEX = re.compile(r"/(?![*/])(?:[^\\/\[\n\r\u2028\u2029]|\\.|\[(?:[^\]\\\n\r\u2028\u2029]|\\.)*\])+/[\w$]*")
_CHUNK = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*", re.DOTALL)
_PUNCTUATOR = re.compile(r"=>|\?\.(?!\d)|\.\.\.|\+\+|--|.", re.DOTALL)

# Where nothing of this form occurs, nothing is imported; and nothing after its last place needs to be read.
_GAP = r"(?:\s|//[^\n\r]*[\n\r]|/\*.*?\*/)*"
_CANDIDATE = re.compile(rf"(?:\bfrom|\bimport|\bimport{_GAP}\(){_GAP}[\"'`]", re.DOTALL)

_OPERATOR_WORDS = frozenset(
    re.findall(
        r"\w+",
        "await case default delete do else extends finally in instanceof new of return throw try typeof void yield",
    )
)
_STATEMENT_WORDS = frozenset({"do", "else", "finally", "try"})
_CONDITION_WORDS = frozenset({"if", "while", "for", "with"})
_CLAUSE = frozenset("{},*")
_AFTER_VALUE = frozenset({")", "]", "}", "++", "--"})


class Import(NamedTuple):
    """One import.

    Attributes:
        specifier: the text between the quotes.
        line: where it begins; the first is 1.
    """

    specifier: str
    line: int


class Token(NamedTuple):
    """One word, number, string, template, regular expression or punctuator.

    Attributes:
        kind: `word`, `number`, `string`, `template` (one without expressions), `value` (a template with some, a regular
            expression) or `punctuator`.
        text: of a string or template what it holds, escapes as written; else as written.
        start: its place in the source.
        depth: how many brackets and templates are open around it.
    """

    kind: str
    text: str
    start: int
    depth: int


def imports(source: str) -> list[Import]:
    """List what a module imports: `import`, `export … from` and `import("…")` with a constant text, in order.

    Raises:
        DeclarationError: a module's name is written with escapes.
    """
    ends = [candidate.end() for candidate in _CANDIDATE.finditer(source)]
    if not ends:
        return []
    found: list[Import] = []
    for token in _specifiers(list(tokens(source, ends[-1]))):
        line = source.count("\n", 0, token.start) + 1
        if "\\" in token.text:
            raise DeclarationError(
                f"line {line} imports {token.text!r}: a backslash in the name of a module is not understood",
                hint="write the name without escapes, with '/' between folders",
            )
        found.append(Import(token.text, line))
    return found


def _specifiers(read: list[Token]) -> Iterator[Token]:
    for index, token in enumerate(read):
        if token.kind != "word" or token.text not in ("import", "export"):
            continue
        if index and read[index - 1].text in (".", "?.") and read[index - 1].kind == "punctuator":
            continue
        found = _imported(read, index) if token.text == "import" else _exported(read, index)
        if found is not None:
            yield found


def _imported(read: list[Token], index: int) -> Token | None:
    following = _at(read, index + 1)
    if following is None:
        return None
    if _is(following, "("):
        name, end = _at(read, index + 2), _at(read, index + 3)
        constant = name is not None and name.kind in ("string", "template")
        return name if constant and end is not None and (_is(end, ")") or _is(end, ",")) else None
    if read[index].depth:
        return None  # a method or a property called `import`
    return following if following.kind == "string" else _from(read, index + 1)


def _exported(read: list[Token], index: int) -> Token | None:
    following = _at(read, index + 1)
    if read[index].depth or following is None or not (_is(following, "*") or _is(following, "{")):
        return None
    return _from(read, index + 1)


def _from(read: list[Token], index: int) -> Token | None:
    """Find the text after `from`, where nothing but the names of a clause comes before it."""
    depth = read[index].depth
    while (token := _at(read, index)) is not None:
        following = _at(read, index + 1)
        inside = token.depth > depth
        if token.text == "from" and token.kind == "word" and not inside and following and following.kind == "string":
            return following
        if not inside and not _in_clause(token):
            return None
        index += 1
    return None


def _in_clause(token: Token) -> bool:
    if token.kind == "word":
        return token.text not in ("import", "export")
    return token.kind == "punctuator" and token.text in _CLAUSE


def _at(read: list[Token], index: int) -> Token | None:
    return read[index] if index < len(read) else None


def _is(token: Token, text: str) -> bool:
    return token.kind == "punctuator" and token.text == text


def tokens(source: str, end: int | None = None) -> Iterator[Token]:
    """Cut a source into tokens, leaving out space and comments.

    Args:
        source: of a module.
        end: what follows the first token that begins here or later is not wanted.
    """
    yield from _Lexer(source, len(source) if end is None else end).run()


class _Lexer:
    """Goes through the source once; remembers the token before, and what each open bracket was."""

    def __init__(self, source: str, end: int) -> None:
        self.source = source
        self.end = end
        self.at = 0
        self.before: Token | None = None
        self.regex_allowed = True
        self.open: list[tuple[str, bool]] = []
        """The bracket (or "`" for an expression in a template), and whether a regular expression may follow its end."""

    def run(self) -> Iterator[Token]:
        while True:
            if space := _SKIP.match(self.source, self.at):
                self.at = space.end()
            if self.at >= len(self.source):
                return
            start = self.at
            token = self._next()
            if token is not None:
                yield token
                self.before = token
                if start >= self.end:
                    return

    def _next(self) -> Token | None:
        source, start = self.source, self.at
        char = source[start]
        if char in "\"'" and (match := _STRING.match(source, start)):
            return self._value("string", start, match.end(), match.group()[1:-1])
        if char == "`":
            return self._template(start + 1, start)
        if char == "}" and self.open and self.open[-1][0] == "`":
            self.open.pop()
            return self._template(start + 1, start)
        if (char.isdigit() or char == ".") and (match := _NUMBER.match(source, start)):
            return self._value("number", start, match.end())
        if match := _WORD.match(source, start):
            return self._word(start, match.group())
        if char == "/" and self.regex_allowed and (match := _REGEX.match(source, start)):
            return self._value("value", start, match.end())
        return self._punctuator(start)

    def _value(self, kind: str, start: int, end: int, text: str | None = None) -> Token:
        self.at = end
        self.regex_allowed = False
        return Token(kind, self.source[start:end] if text is None else text, start, len(self.open))

    def _word(self, start: int, text: str) -> Token:
        self.at = start + len(text)
        is_property = self.before is not None and self.before.text in (".", "?.") and self.before.kind == "punctuator"
        self.regex_allowed = text in _OPERATOR_WORDS and not is_property
        return Token("word", text, start, len(self.open))

    def _template(self, at: int, start: int) -> Token | None:
        """Read a template from `at`, to its end or to the next expression in it."""
        chunk = _CHUNK.match(self.source, at)
        end = chunk.end() if chunk else at
        depth = len(self.open)
        whole = self.source[start] == "`" and end < len(self.source) and self.source[end] == "`"
        if self.source.startswith("${", end):
            self.open.append(("`", False))
            self.at = end + 2
            self.regex_allowed = True
            return Token("value", "${", start, depth) if self.source[start] == "`" else None
        self.at = end + 1
        self.regex_allowed = False
        return Token("template" if whole else "value", self.source[at:end], start, depth)

    def _punctuator(self, start: int) -> Token:
        match = _PUNCTUATOR.match(self.source, start)
        text = match.group() if match else self.source[start]
        self.at = start + len(text)
        if text in ("(", "[", "{"):
            self.open.append((text, self._after_end(text)))
            self.regex_allowed = True
            return Token("punctuator", text, start, len(self.open) - 1)
        if text in (")", "]", "}"):
            opened = self.open.pop() if self.open and self.open[-1][0] != "`" else ("", False)
            self.regex_allowed = opened[1]
            return Token("punctuator", text, start, len(self.open))
        self.regex_allowed = text not in _AFTER_VALUE
        return Token("punctuator", text, start, len(self.open))

    def _after_end(self, bracket: str) -> bool:
        """Say whether a regular expression, and not a division, may follow the end of the bracket that opens here."""
        before = self.before
        if bracket == "[":
            return False
        if bracket == "(":
            return before is not None and before.kind == "word" and before.text in _CONDITION_WORDS
        return self._opens_block(before)

    def _opens_block(self, before: Token | None) -> bool:
        if before is None:
            return True
        if before.kind == "word":
            return before.text in _STATEMENT_WORDS or before.text not in _OPERATOR_WORDS
        if before.kind != "punctuator":
            return False
        if before.text == ":":
            return not self.open or (self.open[-1][0] == "{" and self.open[-1][1])
        return before.text in (";", "{", "}", ")", "=>")
