"""What can go wrong, as classes.

```
AlchemyError                     everything below; `message` and `hint`, the next thing to do
├── DeclarationError             the program says something that cannot be: a wrong input, an id used twice, no scope
├── NotAwaitedError              an output was read before its resource was awaited (also an AttributeError)
├── ConfigurationError           an option, a credential or a password is missing or wrong
├── ResourceFailed               an operation on one resource failed; `fqn`, and the cause
│   └── NotStarted               it was never begun, because something else had failed first
├── ProviderError                what a provider's API answered; `code`, `retryable`, `ambiguous`
│   ├── AlreadyExists            an object of that name is there; nothing was created
│   └── Gone                     the object is not there any more
├── StateError                   a record cannot be used; nothing was overwritten
│   ├── StateDamaged             a file does not hold what was written; `path`
│   ├── StateTooNew              written by a newer version of this package
│   └── LeaseLost                this holder may not write any more
├── LockedError                  somebody else holds the unit; `owner`
├── TargetMismatch               a record's object lives in another account than the one configured
└── SecretError                  no password, a wrong one, or an envelope that was tampered with
```

Several failures of one run are raised together as an `ExceptionGroup` of these.
"""

from __future__ import annotations

from pathlib import Path


class AlchemyError(Exception):
    """Everything this package raises on purpose.

    Attributes:
        message: what happened, naming the thing.
        hint: the next thing to do, or `None`.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class DeclarationError(AlchemyError):
    """The program declares something impossible; nothing was started for it."""


class NotAwaitedError(AlchemyError, AttributeError):
    """An output was read before its resource was awaited."""


class ConfigurationError(AlchemyError):
    """An option, an environment variable or a credential is missing or cannot be used."""


class ResourceFailed(AlchemyError):
    """An operation on one resource failed; its record says how far it came.

    Attributes:
        fqn: the resource.
        action: what was being done: `create`, `update`, `replace`, `delete`, `read`.
    """

    def __init__(self, message: str, *, fqn: str, action: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.fqn = fqn
        self.action = action


class NotStarted(ResourceFailed):
    """The resource was not begun, because another one had failed or the run was being stopped."""


class ProviderError(AlchemyError):
    """What a provider's API answered.

    Attributes:
        code: the provider's own number or word for it.
        status: the HTTP status, when there was one.
        retryable: whether the engine may try the same call again.
        ambiguous: whether the call may have taken effect all the same (a lost answer);
            the engine then looks before it creates again.
        retry_after: seconds that the provider asked to wait, or `None`.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | int | None = None,
        status: int | None = None,
        retryable: bool = False,
        ambiguous: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status
        self.retryable = retryable
        self.ambiguous = ambiguous
        self.retry_after = retry_after


class AlreadyExists(ProviderError):
    """The provider refused to create: an object of that name is there. Adopt it, or choose another name."""


class Gone(ProviderError):
    """The provider knows of no such object (any more). The engine creates it anew where the program wants it."""


class StateError(AlchemyError):
    """A record or a unit cannot be used as it is. Nothing was dropped or overwritten."""


class StateDamaged(StateError):
    """A file of the store does not hold what was written into it.

    Attributes:
        path: the file.
    """

    def __init__(self, message: str, *, path: Path | str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class StateTooNew(StateError):
    """A newer version of this package wrote it; this one must not guess."""


class LeaseLost(StateError):
    """Another holder has taken the unit: this one may finish no further write."""


class LockedError(AlchemyError):
    """Somebody else holds the unit.

    Attributes:
        unit: what is held, such as `notes/prod`; it may lie above or below what was asked for.
        owner: who holds it, from where and since when, in words.
        since: when they took it; UTC, ISO 8601; empty when that is not known.
        deadline: until when they hold it unless they renew; seconds since the epoch, or `None`.
    """

    def __init__(
        self,
        message: str,
        *,
        unit: str,
        owner: str,
        since: str = "",
        deadline: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.unit = unit
        self.owner = owner
        self.since = since
        self.deadline = deadline


class TargetMismatch(AlchemyError):
    """A record's object lives in another account or data set than the one now configured.

    Attributes:
        is_remade: the one now configured may stand in its place, as `Provider.is_remade` says.
    """

    def __init__(self, message: str, *, is_remade: bool = False, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.is_remade = is_remade


class SecretError(AlchemyError):
    """No password, a wrong password, or an envelope that does not open."""
