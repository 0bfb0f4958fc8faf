"""Envelopes: how a secret lies in state, and the keys that open it. Does no I/O.

A secret's value is sealed under the application's password. What is stored, in the form written today:

```json
{
  "version": "v2",
  "kdf": {"name": "scrypt", "n": 131072, "r": 8, "p": 1},
  "salt": "UFzL2ZFJlLxY6+A7ek/jSw==", "key": "1f0c9a3e",
  "iv": "M7xwvuP/Z5B3BLaS", "ciphertext": "p7h3eg5xYdY=", "tag": "5CSzrJqBVKerdgY4pXacAg=="
}
```

AES-256-GCM with the resource's FQN as associated data, so that a value moved to another record does not open.
scrypt gives 64 bytes: 32 are the key, of the other 32 a part of their SHA-256 is the key id, by which a wrong
password is told from a changed envelope. A derivation takes half a second and 128 MiB on purpose; everything sealed
by one `Cipher` shares a salt, so that a run needs one.

Two older forms, both written by Alchemy for TypeScript, are read and never written: "v1" (scrypt with n=16384, no
associated data) and a bare string (secretbox, under an unkeyed BLAKE2b of the password).
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, cast

from alchemy.errors import ConfigurationError, SecretError
from alchemy.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = "v2"
DEFAULT_N = 2**17
MAX_N = 2**20
SALT_SIZE = 16
IV_SIZE = 12
TAG_SIZE = 16
_NONCE_SIZE = 24
_BYTE_FIELDS: dict[str, int | None] = {"salt": SALT_SIZE, "iv": IV_SIZE, "ciphertext": None, "tag": TAG_SIZE}
_WRONG_PASSWORD = "set ALCHEMY_PASSWORD, or password=, to the one it was encrypted with"
_RESTORE = "restore the record from a backup, or set the secret again"

Envelope = dict[str, Any]


class _Kdf(NamedTuple):
    """scrypt's parameters. It takes 128·n·r bytes of memory, and time in proportion to n·r·p."""

    n: int
    r: int
    p: int


_V1_KDF = _Kdf(n=16384, r=8, p=1)


class Key:
    """A derived key, in a form that neither a traceback nor a log can show."""

    __slots__ = ("aead", "id")

    def __init__(self, material: bytes, aead: type[AESGCM]) -> None:
        self.aead = aead(material[:32])
        self.id = hashlib.sha256(material[32:]).hexdigest()[:8]


class Cipher:
    """Seal and open secrets with one password. Safe to share between threads.

    Making one is cheap: a key is derived when first needed, once for each salt and set of parameters.
    `start_deriving` does it ahead; in a coroutine, await that before `seal` and `open`, which block otherwise:

    ```python
    await asyncio.wrap_future(cipher.start_deriving())
    ```

    Args:
        password: the application's; in UTF-8. A `Secret` of it will do.
        n: scrypt's cost for what is sealed, a power of two; lower it in tests only.
        salt: 16 bytes, those that state's envelopes have already (`salt_of`), so that one derivation serves
            both reading and writing; random when `None`.

    Raises:
        SecretError: the password is empty.
        ConfigurationError: the password is no text, or `n` or `salt` cannot be used.
    """

    __slots__ = ("_kdf", "_keys", "_lock", "_password", "_salt")

    def __init__(self, password: str | Secret[str], *, n: int = DEFAULT_N, salt: bytes | None = None) -> None:
        hidden = password if isinstance(password, Secret) else Secret(password, name="password")
        del password  # a traceback that shows locals must not find it
        self._password = _check_password(hidden)
        self._kdf = _Kdf(n=n, r=8, p=1)
        refusal = _refusal(self._kdf)
        if refusal:
            raise ConfigurationError(f"no key can be derived from the password: {refusal}")
        if salt is not None and len(salt) != SALT_SIZE:
            raise ConfigurationError(f"a salt has {SALT_SIZE} bytes, not {len(salt)}")
        self._salt = os.urandom(SALT_SIZE) if salt is None else bytes(salt)
        self._keys: dict[tuple[bytes, _Kdf], Future[Key]] = {}
        self._lock = threading.Lock()

    @property
    def salt(self) -> bytes:
        """The salt of everything that this sealed or will seal."""
        return self._salt

    @property
    def fingerprint(self) -> str:
        """The key id of what this seals: equal salt and password give equal ids. Derives the key if need be."""
        return self._key(self._salt, self._kdf).id

    def start_deriving(self, salt: bytes | None = None) -> Future[Key]:
        """Begin to derive the key in a thread, so that it overlaps with other work; safe to repeat.

        Cancelling the future does not stop the derivation. A thread that still derives does not keep the process
        alive.

        Args:
            salt: of the envelopes to be opened; this cipher's own when `None`.

        Returns:
            done when `seal` and `open` no longer have to wait; failed with what they would raise.
        """
        used = self._salt if salt is None else bytes(salt)
        future, mine = self._claim(used, self._kdf)
        if mine:
            work = (future, used, self._kdf)
            try:
                threading.Thread(target=self._fulfil, args=work, name="alchemy-key", daemon=True).start()
            except RuntimeError:  # no more threads: others may wait for this future already
                self._fulfil(*work)
        return future

    def seal(self, plaintext: bytes, *, context: str) -> Envelope:
        """Encrypt a value for the record it will lie in.

        Args:
            plaintext: the value; its length can be told from the envelope.
            context: the FQN of the record; opening needs the same.

        Returns:
            an object of plain JSON, different each time.
        """
        hidden = Secret(plaintext)
        del plaintext  # as the password in __init__
        associated = _associated(context)
        key = self._key(self._salt, self._kdf)
        iv = os.urandom(IV_SIZE)
        sealed = key.aead.encrypt(iv, hidden.reveal(), associated)
        return {
            "version": VERSION,
            "kdf": {"name": "scrypt", "n": self._kdf.n, "r": self._kdf.r, "p": self._kdf.p},
            "salt": _encode(self._salt),
            "key": key.id,
            "iv": _encode(iv),
            "ciphertext": _encode(sealed[:-TAG_SIZE]),
            "tag": _encode(sealed[-TAG_SIZE:]),
        }

    def open(self, envelope: Mapping[str, Any] | str, *, context: str) -> bytes:
        """Decrypt what `seal` gave, or what Alchemy for TypeScript wrote.

        Args:
            envelope: in one of the three forms.
            context: the FQN of the record it was found in. The two older forms do not know theirs: seal anew what
                was read from them.

        Raises:
            SecretError: the password is another, the envelope was changed or moved here from another record, or
                it is none. The message names `context` and what is wrong, and nothing of the value.
        """
        if isinstance(envelope, str):
            return self._open_legacy(envelope, context)
        if not isinstance(envelope, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise _damaged(context, f"it is {type(envelope).__name__}, not an object")
        version = envelope.get("version")
        if not isinstance(version, str):
            raise _damaged(context, "it has no version")
        if version not in ("v1", VERSION):
            raise SecretError(
                f"the secret in {context} is encrypted in the form {version[:20]!r}, which this version cannot read",
                hint="upgrade alchemy-iac",
            )
        salt, iv, ciphertext, tag = (_bytes(envelope, field, context) for field in _BYTE_FIELDS)
        if version == "v1":
            opened = _decrypt(self._key(salt, _V1_KDF), iv, ciphertext + tag, None)
            if opened is None:
                raise _unopened(context)
            return opened
        key_id = envelope.get("key")
        if not isinstance(key_id, str):
            raise _damaged(context, "it has no key id")
        key = self._key(salt, _kdf(envelope, context))
        if key.id != key_id:
            raise SecretError(
                f"the password is not the one the secret in {context} was encrypted with", hint=_WRONG_PASSWORD
            )
        opened = _decrypt(key, iv, ciphertext + tag, _associated(context))
        if opened is None:
            raise SecretError(
                f"the secret in {context} was changed since it was encrypted, or moved there from another record",
                hint=_RESTORE,
            )
        return opened

    def _open_legacy(self, text: str, context: str) -> bytes:
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox

        sealed = _decode(text, "text", context)
        if len(sealed) < _NONCE_SIZE + TAG_SIZE:
            raise _damaged(context, f"it has {len(sealed)} bytes, fewer than any such value")
        box = SecretBox(hashlib.blake2b(self._password.reveal(), digest_size=32).digest())
        try:
            return bytes(box.decrypt(sealed))
        except CryptoError:
            pass
        raise _unopened(context)  # not chained: PyNaCl's frames have the key among their locals

    def _key(self, salt: bytes, kdf: _Kdf) -> Key:
        """Give a key, derived by whoever asks first; the others wait for that."""
        future, mine = self._claim(salt, kdf)
        if mine:
            self._fulfil(future, salt, kdf)
        return future.result()

    def _claim(self, salt: bytes, kdf: _Kdf) -> tuple[Future[Key], bool]:
        """Give the key's future, and whether it is the caller who has to fulfil it."""
        with self._lock:
            future = self._keys.get((salt, kdf))
            if future is not None:
                return future, False
            future = self._keys[salt, kdf] = Future()
            future.set_running_or_notify_cancel()  # one waiter's `cancel` must not take it from the others
            return future, True

    def _fulfil(self, future: Future[Key], salt: bytes, kdf: _Kdf) -> None:
        try:
            key = _derive(self._password, salt, kdf)
        except BaseException as error:  # whatever it is, whoever waits must hear of it
            with self._lock:
                del self._keys[salt, kdf]  # a failure is not remembered
            future.set_exception(error)
        else:
            future.set_result(key)


def is_envelope(value: object) -> TypeGuard[Envelope | str]:
    """Say whether `value` has the outer form of an envelope, of this or a later version; it need not open.

    A string has it when it is base64 of at least 40 bytes, which other strings may be too: ask only where an
    envelope is expected.
    """
    if isinstance(value, str):
        try:
            return len(base64.b64decode(value, validate=True)) >= _NONCE_SIZE + TAG_SIZE
        except ValueError:
            return False
    if not isinstance(value, dict):
        return False
    fields = cast(dict[object, object], value)
    return all(isinstance(fields.get(name), str) for name in ("version", *_BYTE_FIELDS))


def salt_of(envelope: object) -> bytes | None:
    """Give the salt of an envelope of today's form, to make a `Cipher` that needs no second derivation.

    `None` when it has none, or one that a `Cipher` would not take.
    """
    if not is_envelope(envelope) or isinstance(envelope, str) or envelope["version"] != VERSION:
        return None
    try:
        salt = base64.b64decode(envelope["salt"], validate=True)
    except ValueError:
        return None
    return salt if len(salt) == SALT_SIZE else None


def _derive(password: Secret[bytes], salt: bytes, kdf: _Kdf) -> Key:
    # hashlib's scrypt releases the GIL, that of `cryptography` does not. Imported before there is a key, so that
    # nothing fails while one is among the locals.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    n, r, p = kdf
    memory = 128 * r * (n + p + 4)
    try:
        return Key(hashlib.scrypt(password.reveal(), salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=64), AESGCM)
    except (ValueError, MemoryError) as error:
        raise SecretError(
            f"the key could not be derived from the password: {error or 'out of memory'}",
            hint=f"scrypt needs {memory >> 20} MiB of free memory",
        ) from error


def _refusal(kdf: _Kdf) -> str | None:
    """Say why these parameters must not be used, or `None`.

    An envelope comes from a store that others may be able to write: one that asks for a terabyte or a day must not
    be obeyed. The largest allowed takes 1 GiB and eight times as long as today's default.
    """
    n, r, p = kdf
    if not 2 <= n <= MAX_N or n & (n - 1):
        return f"n is {n}, and not a power of two from 2 to {MAX_N}"
    if not 1 <= r <= 32:
        return f"r is {r}, and not from 1 to 32"
    if not 1 <= p <= 16:
        return f"p is {p}, and not from 1 to 16"
    if n * r * p > MAX_N * 8 or n >= 1 << (16 * r):  # the second is scrypt's own rule
        return f"n={n}, r={r} and p={p} do not go together"
    return None


def _decrypt(key: Key, iv: bytes, sealed: bytes, associated: bytes | None) -> bytes | None:
    from cryptography.exceptions import InvalidTag

    try:
        return key.aead.decrypt(iv, sealed, associated)
    except InvalidTag:
        return None


def _check_password(password: Secret[str]) -> Secret[bytes]:
    if not isinstance(password.reveal(), str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError("a password must be text")
    if not password:
        raise SecretError("the password is empty", hint="set ALCHEMY_PASSWORD, or password=")
    try:
        # An environment variable that is not UTF-8 reaches us with its bytes escaped: take those bytes.
        return Secret(password.reveal().encode("utf-8", "surrogateescape"), name=password.name)
    except UnicodeEncodeError:
        pass
    # Outside the handler, so that the error, which holds the password, is not chained.
    raise ConfigurationError("the password holds characters that cannot be encoded")


def _kdf(envelope: Mapping[str, Any], context: str) -> _Kdf:
    given: object = envelope.get("kdf")
    fields = cast(dict[object, object], given if isinstance(given, dict) else {})
    if fields.get("name") != "scrypt":
        raise _damaged(context, "its kdf is not scrypt")
    numbers = [fields.get(name) for name in _Kdf._fields]
    if any(type(number) is not int for number in numbers):
        raise _damaged(context, "its kdf lacks a number: n, r or p")
    kdf = _Kdf._make(cast(list[int], numbers))
    refusal = _refusal(kdf)
    if refusal:
        raise _damaged(context, f"its kdf is refused, {refusal}")
    return kdf


def _bytes(envelope: Mapping[str, Any], field: str, context: str) -> bytes:
    text = envelope.get(field)
    if not isinstance(text, str):
        raise _damaged(context, f"it has no {field}" if text is None else f"its {field} is not text")
    raw = _decode(text, field, context)
    size = _BYTE_FIELDS[field]
    if size is not None and len(raw) != size:
        raise _damaged(context, f"its {field} has {len(raw)} bytes, not {size}")
    return raw


def _decode(text: str, field: str, context: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise _damaged(context, f"its {field} is not base64") from error
    if _encode(raw) != text:  # stray bits in the last character: nobody writes that
        raise _damaged(context, f"its {field} is not base64")
    return raw


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _associated(context: str) -> bytes:
    if not context:
        raise ValueError("a secret is sealed for a record: its FQN is missing")
    return context.encode()


def _damaged(context: str, what: str) -> SecretError:
    return SecretError(f"the secret in {context} is damaged: {what}", hint=_RESTORE)


def _unopened(context: str) -> SecretError:
    return SecretError(
        f"the secret in {context} does not open: the password is not the one it was encrypted with, or it was changed",
        hint=_WRONG_PASSWORD,
    )
