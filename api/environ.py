"""Reading settings by name from an environment: blank is not set, a secret may stand in a file, groups come whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SECRETS = frozenset(
    """
    DATABASE_URL SECRET_KEY SMTP_URL STRIPE_SECRET_KEY STRIPE_WEBHOOK_SECRETS PADDLE_API_KEY PADDLE_WEBHOOK_SECRETS
    APPLE_PRIVATE_KEY MOONPAY_SECRET_KEY MOONPAY_WEBHOOK_KEY OIDC_CLIENT_SECRET
    """.split()
)
"""What may stand in a file named by `PURSER_…_FILE` instead of the environment."""


class SettingsError(ValueError):
    """Settings with which the server does not start; the message names each and says what is wrong."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Settings by their name without `PURSER_`; blank is the same as not set."""

    environ: Mapping[str, str]

    def text(self, name: str) -> str | None:
        direct = self.environ.get(f"PURSER_{name}", "").strip()
        path = self.environ.get(f"PURSER_{name}_FILE", "").strip() if name in SECRETS else ""
        if direct and path:
            raise SettingsError(f"PURSER_{name} and PURSER_{name}_FILE are both set: one of them must go.")
        if not path:
            return direct or None
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"PURSER_{name}_FILE cannot be read: {error}") from error

    def parts(self, name: str) -> tuple[str, ...]:
        """A comma-separated list without its blanks."""
        return tuple(part.strip() for part in (self.text(name) or "").split(",") if part.strip())

    def group(self, needed: Iterable[str], more: Iterable[str] = ()) -> dict[str, str] | None:
        """All of `needed`, or `None` if nothing of the group is set; `SettingsError` names what is missing."""
        wanted = list(needed)
        found = {name: value for name in (*wanted, *more) if (value := self.text(name)) is not None}
        if not found:
            return None
        missing = [f"PURSER_{name}" for name in wanted if name not in found]
        if missing:
            there = ", ".join(f"PURSER_{name}" for name in found)
            raise SettingsError(f"{', '.join(missing)} missing: needed together with {there}.")
        return found
