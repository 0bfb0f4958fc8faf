"""Envelopes open with the right password in the right place, and in no other way; a key is derived once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from hypothesis import given
from hypothesis import strategies as st

from alchemy.crypto import DEFAULT_N, MAX_N, Cipher, Envelope, is_envelope, salt_of
from alchemy.errors import ConfigurationError, SecretError
from alchemy.secret import Secret

GOLDEN = Path(__file__).parent / "golden"
N = 2**4
PASSWORD = "pass-in-clear"
PLAINTEXT = b"value-in-clear"
CONTEXT = "notes/prod/api"
SALT = bytes(range(16))

TYPESCRIPT = json.loads((GOLDEN / "secret-typescript.json").read_text("utf-8"))
V1, LEGACY = TYPESCRIPT["envelopes"]


@pytest.fixture(scope="module")
def cipher() -> Cipher:
    """A cipher that is cheap to derive for."""
    return Cipher(PASSWORD, n=N)


@pytest.fixture(scope="module")
def envelope(cipher: Cipher) -> Envelope:
    return cipher.seal(PLAINTEXT, context=CONTEXT)


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The salts that a key was derived for, in order."""
    salts: list[bytes] = []
    scrypt = hashlib.scrypt

    def counted(password: bytes, **rest: Any) -> bytes:
        salts.append(rest["salt"])
        return scrypt(password, **rest)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    return salts


def refused(opener: Cipher, sealed: Any, context: str = CONTEXT) -> SecretError:
    """Expect an error that names the place and shows, its traceback's locals included, no password and no value."""
    with pytest.raises(SecretError) as caught:
        opener.open(sealed, context=context)
    assert context in caught.value.message
    assert caught.value.hint
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "in-clear" not in "".join(shown.format())
    return caught.value


# --- round trips and forms


@given(plaintext=st.binary(max_size=300), password=st.text(min_size=1), context=st.text(min_size=1))
def test_opens_what_it_sealed(plaintext: bytes, password: str, context: str) -> None:
    """Any value under any password comes back, through JSON and with another cipher of the same password."""
    sealed = Cipher(password, n=2).seal(plaintext, context=context)
    stored = json.loads(json.dumps(sealed))
    assert Cipher(password, n=2).open(stored, context=context) == plaintext


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_one_salt_and_a_fresh_iv_for_each(values: list[bytes]) -> None:
    """All that one cipher seals shares salt and key id, and no two envelopes are alike."""
    cipher = Cipher(PASSWORD, n=2)
    sealed = [cipher.seal(value, context=CONTEXT) for value in values]
    assert all(base64.b64decode(one["salt"]) == cipher.salt and one["key"] == cipher.fingerprint for one in sealed)
    assert len({one["iv"] for one in sealed}) == len(values)


def test_the_form_written_today(envelope: Envelope) -> None:
    """An envelope says its version, its parameters and its key, and opens by the documented recipe alone."""
    assert list(envelope) == ["version", "kdf", "salt", "key", "iv", "ciphertext", "tag"]
    assert envelope["version"] == "v2"
    assert envelope["kdf"] == {"name": "scrypt", "n": N, "r": 8, "p": 1}
    salt, iv, ciphertext, tag = (base64.b64decode(envelope[name]) for name in ("salt", "iv", "ciphertext", "tag"))
    assert (len(salt), len(iv), len(tag)) == (16, 12, 16)
    material = Scrypt(salt=salt, length=64, n=N, r=8, p=1).derive(PASSWORD.encode())
    assert AESGCM(material[:32]).decrypt(iv, ciphertext + tag, CONTEXT.encode()) == PLAINTEXT
    assert envelope["key"] == hashlib.sha256(material[32:]).hexdigest()[:8]


def test_costs_what_the_requirement_says() -> None:
    """What is written by default is under scrypt with n = 2^17, r = 8, p = 1, and opens."""
    cipher = Cipher(PASSWORD)
    sealed = cipher.seal(PLAINTEXT, context=CONTEXT)
    assert DEFAULT_N == 2**17
    assert sealed["kdf"] == {"name": "scrypt", "n": 131072, "r": 8, "p": 1}
    assert cipher.open(sealed, context=CONTEXT) == PLAINTEXT


def test_opens_the_golden_envelopes() -> None:
    """Envelopes written by the first version open in every later one."""
    golden = json.loads((GOLDEN / "secret-v2.json").read_text("utf-8"))
    cipher = Cipher(golden["password"], n=N)
    for sealed in golden["envelopes"]:
        assert cipher.open(sealed, context=golden["context"]).decode() == golden["plaintext"]


@pytest.mark.parametrize("sealed", [V1, LEGACY], ids=["v1", "legacy"])
def test_opens_what_typescript_sealed(sealed: Any) -> None:
    """Both forms of Alchemy for TypeScript open, whatever record they lie in."""
    cipher = Cipher(TYPESCRIPT["password"], n=N)
    for context in ("notes/prod/api", "other/prod/key"):
        assert cipher.open(sealed, context=context).decode() == TYPESCRIPT["plaintext"]


def test_takes_a_secret_as_password(envelope: Envelope) -> None:
    """A password kept in a `Secret` need not be revealed by the caller."""
    assert Cipher(Secret(PASSWORD), n=N).open(envelope, context=CONTEXT) == PLAINTEXT


def test_takes_the_bytes_of_a_password_that_is_not_utf8() -> None:
    """A password from an environment that is not UTF-8 stands for the bytes it was."""
    sealed = Cipher("caf\udce9", n=N, salt=SALT).seal(PLAINTEXT, context=CONTEXT)
    material = hashlib.scrypt(b"caf\xe9", salt=SALT, n=N, r=8, p=1, dklen=64)
    assert sealed["key"] == hashlib.sha256(material[32:]).hexdigest()[:8]


# --- what does not open


def test_a_wrong_password_is_recognised(envelope: Envelope) -> None:
    """Another password is told from a changed envelope, and the hint says where to set it."""
    error = refused(Cipher("another", n=N), envelope)
    assert error.message == f"the password is not the one the secret in {CONTEXT} was encrypted with"
    assert "ALCHEMY_PASSWORD" in (error.hint or "")


@pytest.mark.parametrize("sealed", [V1, LEGACY], ids=["v1", "legacy"])
def test_a_wrong_password_for_an_older_form(sealed: Any) -> None:
    """The older forms cannot tell a wrong password from a change; the error says both and names the variable."""
    error = refused(Cipher(PASSWORD, n=N), sealed)
    assert "the password is not the one it was encrypted with, or it was changed" in error.message
    assert "ALCHEMY_PASSWORD" in (error.hint or "")


def test_a_value_moved_to_another_record_is_refused(cipher: Cipher, envelope: Envelope) -> None:
    """An envelope opens in the record it was sealed for and in no other."""
    error = refused(cipher, envelope, context="notes/prod/other")
    assert "was changed since it was encrypted, or moved there from another record" in error.message


def flipped(text: str) -> Iterator[str]:
    """Give base64 with, in turn, each bit of what it encodes turned."""
    raw = base64.b64decode(text)
    for position in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[position // 8] ^= 1 << position % 8
        yield base64.b64encode(changed).decode()


@pytest.mark.parametrize("field", ["iv", "ciphertext", "tag"])
def test_every_changed_bit_is_noticed(cipher: Cipher, envelope: Envelope, field: str) -> None:
    """One bit turned anywhere in what is encrypted: the envelope was changed, says the error."""
    for text in flipped(envelope[field]):
        assert "was changed" in refused(cipher, {**envelope, field: text}).message


def test_a_changed_salt_or_key_id_is_noticed(cipher: Cipher, envelope: Envelope) -> None:
    """With another salt or key id the password seems to be another one; nothing opens."""
    for text in list(flipped(envelope["salt"]))[::9]:
        assert "the password is not the one" in refused(cipher, {**envelope, "salt": text}).message
    for key in ("00000000", envelope["key"].upper() + " ", ""):
        assert "the password is not the one" in refused(cipher, {**envelope, "key": key}).message


@pytest.mark.parametrize("kdf", [{"n": N * 2}, {"r": 9}, {"p": 2}])
def test_changed_parameters_are_noticed(cipher: Cipher, envelope: Envelope, kdf: dict[str, int]) -> None:
    """Other parameters that are within bounds give another key, which the key id tells."""
    changed = {**envelope, "kdf": {**envelope["kdf"], **kdf}}
    assert "the password is not the one" in refused(cipher, changed).message


@pytest.mark.parametrize("form", ["v1", "v2"])
@pytest.mark.parametrize(("field", "size"), [("tag", 16), ("iv", 12), ("salt", 16)])
def test_sizes_are_exact(cipher: Cipher, envelope: Envelope, form: str, field: str, size: int) -> None:
    """A tag, iv or salt of another length is refused before any key is derived: a short tag could be guessed."""
    base = V1 if form == "v1" else envelope
    for length in (0, 4, size - 1, size + 1, 32):
        changed = {**base, field: base64.b64encode(bytes(length)).decode()}
        assert refused(cipher, changed).message.endswith(f"its {field} has {length} bytes, not {size}")


@pytest.mark.parametrize("field", ["salt", "iv", "ciphertext", "tag"])
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "it has no {}"),
        (3, "its {} is not text"),
        (["AAAA"], "its {} is not text"),
        ("not base64!", "its {} is not base64"),
        ("AAA", "its {} is not base64"),
        ("AAAA\n", "its {} is not base64"),
        ("AB==", "its {} is not base64"),
        ("é", "its {} is not base64"),
        ("-_-_", "its {} is not base64"),
    ],
)
def test_fields_are_base64(cipher: Cipher, envelope: Envelope, field: str, value: object, complaint: str) -> None:
    """A field that is missing, no text, or no strict base64 is named by the error, in both forms."""
    for base in (V1, envelope):
        assert refused(cipher, {**base, field: value}).message.endswith(complaint.format(field))
        if value is None:
            without = {name: part for name, part in base.items() if name != field}
            assert refused(cipher, without).message.endswith(complaint.format(field))


@pytest.mark.parametrize(
    ("kdf", "complaint"),
    [
        (None, "not scrypt"),
        ("scrypt", "not scrypt"),
        ({}, "not scrypt"),
        ({"name": "pbkdf2"}, "not scrypt"),
        ({"n": None}, "lacks a number"),
        ({"n": "16"}, "lacks a number"),
        ({"n": 16.0}, "lacks a number"),
        ({"p": True}, "lacks a number"),
        ({"n": 0}, "not a power of two"),
        ({"n": 1}, "not a power of two"),
        ({"n": -16}, "not a power of two"),
        ({"n": 17}, "not a power of two"),
        ({"n": MAX_N * 2}, "not a power of two from 2 to 1048576"),
        ({"n": 2**200}, "not a power of two"),
        ({"r": 0}, "r is 0"),
        ({"r": 33}, "r is 33"),
        ({"p": 0}, "p is 0"),
        ({"p": 17}, "p is 17"),
        ({"n": MAX_N, "r": 9}, "do not go together"),
        ({"n": MAX_N, "p": 2}, "do not go together"),
        ({"n": 2**16, "r": 1}, "do not go together"),
    ],
)
def test_absurd_parameters_are_refused(
    cipher: Cipher, envelope: Envelope, derivations: list[bytes], kdf: Any, complaint: str
) -> None:
    """Parameters that would take a machine's memory or a day are refused, and nothing is derived for them."""
    given_ = {**envelope["kdf"], **kdf} if isinstance(kdf, dict) and kdf else kdf
    assert complaint in refused(cipher, {**envelope, "kdf": given_}).message
    assert derivations == []


def test_parameters_at_the_edge_derive() -> None:
    """scrypt itself takes the parameters that the bounds let pass, at both ends of r."""
    for n, r, p in ((2, 1, 1), (2**15, 1, 1), (2, 32, 16), (2**10, 32, 16)):
        hashlib.scrypt(b"x", salt=SALT, n=n, r=r, p=p, maxmem=128 * r * (n + p + 4), dklen=64)


@pytest.mark.parametrize(
    ("sealed", "complaint"),
    [
        ({}, "it has no version"),
        ({"version": 2}, "it has no version"),
        ({"version": "v3"}, "in the form 'v3', which this version cannot read"),
        ({"version": "x" * 1000}, f"in the form '{'x' * 20}', which"),
        (None, "it is NoneType, not an object"),
        (["v2"], "it is list, not an object"),
        (b"bytes", "it is bytes, not an object"),
        ("", "it has 0 bytes, fewer than any such value"),
        (base64.b64encode(bytes(39)).decode(), "it has 39 bytes"),
        ("hunter2!", "its text is not base64"),
    ],
)
def test_what_is_no_envelope(cipher: Cipher, sealed: Any, complaint: str) -> None:
    """What is no envelope, or one of a form not known, is refused by name."""
    assert complaint in refused(cipher, sealed).message


def test_an_envelope_without_a_key_id(cipher: Cipher, envelope: Envelope) -> None:
    """An envelope of today's form without a key id is damaged."""
    assert "it has no key id" in refused(cipher, {**envelope, "key": None}).message


def test_a_newer_form_may_say_more(cipher: Cipher, envelope: Envelope) -> None:
    """A field that this version does not know does no harm."""
    assert cipher.open({**envelope, "note": "x"}, context=CONTEXT) == PLAINTEXT


def test_an_envelope_passed_off_as_an_older_form_is_refused() -> None:
    """Renaming an envelope to the form without associated data does not free it from its record."""
    cipher = Cipher(PASSWORD, n=16384)
    sealed = cipher.seal(PLAINTEXT, context=CONTEXT)
    refused(cipher, {**sealed, "version": "v1"}, context="notes/prod/other")


# --- passwords, salts, keys


def test_an_empty_password_is_refused() -> None:
    """No password is an error that says how to give one, before anything is sealed."""
    with pytest.raises(SecretError, match="the password is empty") as caught:
        Cipher("")
    assert "ALCHEMY_PASSWORD" in (caught.value.hint or "")


@pytest.mark.parametrize("password", [None, 3, PASSWORD.encode(), PASSWORD + "\ud800"])
def test_a_password_is_text(password: Any) -> None:
    """What is no text, or cannot be encoded, is refused without showing it."""
    with pytest.raises(ConfigurationError) as caught:
        Cipher(password)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    own = [frame for frame in shown.stack if frame.filename.endswith("alchemy/crypto.py")]
    assert own
    assert all("in-clear" not in str(frame.locals) for frame in own)
    assert caught.value.__context__ is None
    assert "in-clear" not in str(caught.value)


@pytest.mark.parametrize("n", [0, 1, 3, MAX_N * 2])
def test_a_cost_that_cannot_be_used(n: int) -> None:
    """A cost that no envelope may have is refused when the cipher is made."""
    with pytest.raises(ConfigurationError, match="not a power of two"):
        Cipher(PASSWORD, n=n)


@pytest.mark.parametrize("salt", [b"", b"short", bytes(17)])
def test_a_salt_has_sixteen_bytes(salt: bytes) -> None:
    """A salt of another size is refused when the cipher is made."""
    with pytest.raises(ConfigurationError, match=f"a salt has 16 bytes, not {len(salt)}"):
        Cipher(PASSWORD, salt=salt)


def test_a_value_is_sealed_for_a_record(cipher: Cipher) -> None:
    """Sealing for no record at all is a mistake of the caller."""
    with pytest.raises(ValueError, match="its FQN is missing"):
        cipher.seal(PLAINTEXT, context="")


def test_salts_are_random_unless_given() -> None:
    """Two ciphers do not share a salt by themselves, and keep the one they are given."""
    assert Cipher(PASSWORD, n=N).salt != Cipher(PASSWORD, n=N).salt
    assert Cipher(PASSWORD, n=N, salt=SALT).salt == SALT


def test_the_fingerprint_tells_keys_apart() -> None:
    """Same password and salt, same fingerprint; another of either, another."""
    own = Cipher(PASSWORD, n=N, salt=SALT).fingerprint
    assert own == Cipher(PASSWORD, n=N, salt=SALT).fingerprint
    assert own != Cipher("another", n=N, salt=SALT).fingerprint
    assert own != Cipher(PASSWORD, n=N, salt=bytes(16)).fingerprint
    assert len(own) == 8


def test_nothing_of_the_password_is_seen() -> None:
    """A cipher and its keys print neither password nor key, have no `__dict__`, and cannot be pickled."""
    cipher = Cipher(PASSWORD, n=N, salt=SALT)
    key = cipher.start_deriving().result()
    material = hashlib.scrypt(PASSWORD.encode(), salt=SALT, n=N, r=8, p=1, dklen=64)
    for shown in (repr(cipher), str(cipher), repr(key), repr(key.aead)):
        assert PASSWORD not in shown
        assert material[:4].hex() not in shown
        assert repr(material[:4])[2:-1] not in shown
    assert not hasattr(cipher, "__dict__")
    assert not hasattr(key, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(cipher)


# --- one derivation


def test_derives_once_for_each_salt(derivations: list[bytes]) -> None:
    """Sealing and opening any number of values takes one derivation; each other salt met takes one more."""
    others = [Cipher(PASSWORD, n=N).seal(PLAINTEXT, context=CONTEXT) for _ in range(2)]
    derivations.clear()
    cipher = Cipher(PASSWORD, n=N)
    assert derivations == []
    sealed = [cipher.seal(b"%d" % i, context=CONTEXT) for i in range(10)]
    assert [cipher.open(one, context=CONTEXT) for one in sealed] == [b"%d" % i for i in range(10)]
    assert derivations == [cipher.salt]
    for other in others * 3:
        cipher.open(other, context=CONTEXT)
    assert derivations == [cipher.salt, *(salt_of(other) for other in others)]


def test_takes_over_a_salt_from_state(derivations: list[bytes], envelope: Envelope) -> None:
    """A cipher made with the salt of what is stored reads and writes with one derivation."""
    derivations.clear()
    cipher = Cipher(PASSWORD, n=N, salt=salt_of(envelope))
    cipher.open(envelope, context=CONTEXT)
    cipher.seal(PLAINTEXT, context=CONTEXT)
    assert derivations == [salt_of(envelope)]


def test_threads_share_one_derivation(derivations: list[bytes]) -> None:
    """Many threads that need the same key at once wait for one derivation, and all can use it."""
    cipher = Cipher(PASSWORD, n=2**10)
    together = threading.Barrier(8)

    def work(index: int) -> bytes:
        together.wait()
        own = b"%d" % index
        for _ in range(50):
            assert cipher.open(cipher.seal(own, context=CONTEXT), context=CONTEXT) == own
        return own

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(work, range(8))) == [b"%d" % i for i in range(8)]
    assert derivations == [cipher.salt]


def test_derivation_can_start_early(derivations: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """`start_deriving` returns while the key is being derived in another thread; what needs it waits for that one."""
    derive = hashlib.scrypt
    go = threading.Event()
    threads: list[str] = []

    def held(password: bytes, **rest: Any) -> bytes:
        threads.append(threading.current_thread().name)
        assert go.wait(10)
        return derive(password, **rest)

    monkeypatch.setattr(hashlib, "scrypt", held)
    cipher = Cipher(PASSWORD, n=N)
    started = cipher.start_deriving()
    assert not started.done()
    again = cipher.start_deriving(cipher.salt)
    go.set()
    assert cipher.open(cipher.seal(PLAINTEXT, context=CONTEXT), context=CONTEXT) == PLAINTEXT
    assert started.result() is again.result()
    assert derivations == [cipher.salt]
    assert threads == ["alchemy-key"]


def test_derives_early_for_what_is_stored(derivations: list[bytes], envelope: Envelope) -> None:
    """`start_deriving` with an envelope's salt prepares for opening it."""
    salt = salt_of(envelope)
    assert salt is not None
    derivations.clear()
    cipher = Cipher(PASSWORD, n=N)
    cipher.start_deriving(salt).result()
    assert cipher.open(envelope, context=CONTEXT) == PLAINTEXT
    assert derivations == [salt]


@pytest.mark.anyio
async def test_a_cancelled_wait_leaves_the_key_to_others() -> None:
    """A coroutine that gives up waiting does not take the derivation from the one that still needs it."""
    cipher = Cipher(PASSWORD, n=2**12)
    waiting = asyncio.wrap_future(cipher.start_deriving())
    waiting.cancel()
    await asyncio.wrap_future(cipher.start_deriving())
    assert cipher.open(cipher.seal(PLAINTEXT, context=CONTEXT), context=CONTEXT) == PLAINTEXT


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, the key is derived at once: nobody waits for ever."""

    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    cipher = Cipher(PASSWORD, n=N)
    assert cipher.start_deriving().done()
    cipher.seal(PLAINTEXT, context=CONTEXT)


@pytest.mark.parametrize("failure", [ValueError("memory limit exceeded"), MemoryError()])
def test_a_failed_derivation_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    """Without enough memory there is an error that says how much it takes; later, with enough, the key is derived."""
    cipher = Cipher(PASSWORD)

    def fail(password: bytes, **rest: Any) -> bytes:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "scrypt", fail)
        with pytest.raises(SecretError, match="could not be derived") as caught:
            cipher.seal(PLAINTEXT, context=CONTEXT)
        assert caught.value.hint == "scrypt needs 128 MiB of free memory"
        with pytest.raises(SecretError, match="could not be derived"):
            cipher.start_deriving().result()
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    own = [frame for frame in shown.stack if frame.filename.endswith("alchemy/crypto.py")]
    assert own
    assert all("in-clear" not in str(frame.locals) for frame in own)
    assert len(cipher.fingerprint) == 8


# --- telling envelopes


def test_tells_envelopes_by_their_form(envelope: Envelope) -> None:
    """Envelopes of every form, a later version's too, are told from other values."""
    for good in (envelope, V1, LEGACY, {**envelope, "version": "v3"}):
        assert is_envelope(good)
    without_tag = {name: part for name, part in envelope.items() if name != "tag"}
    others: list[object] = [None, 3, [], {}, "", "plain text", "AAAA", b"AAAA", without_tag, {**envelope, "iv": 3}]
    for other in others:
        assert not is_envelope(other)


def test_finds_the_salt_of_todays_form_only(envelope: Envelope, cipher: Cipher) -> None:
    """`salt_of` gives what a cipher can be made with, or nothing."""
    assert salt_of(envelope) == cipher.salt
    for bad in (V1, LEGACY, None, {}, {**envelope, "salt": "AAAA"}, {**envelope, "salt": "!"}):
        assert salt_of(bad) is None


def test_importing_is_cheap() -> None:
    """Importing the module imports neither of the libraries that do the work."""
    code = "import sys, alchemy.crypto; print([m for m in ('cryptography', 'nacl') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
