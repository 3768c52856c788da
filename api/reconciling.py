"""`purser reconcile`: which rails are read, and the reports in words and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict

from api.environ import SettingsError
from engine.flows.reconcile import Report, reconcile
from engine.payments import ProviderRefused, ProviderUnreachable, can_be_polled
from engine.rules.errors import Unavailable
from engine.runtime import Runtime


def reconcile_now(runtime: Runtime, name: str | None) -> list[Report]:
    """A report of each rail that can be polled, or of the named one; `SettingsError` for one that can't."""
    rails = [rail for rail in runtime.providers.values() if can_be_polled(rail) and name in (None, rail.name)]
    if name is not None and not rails:
        raise SettingsError(f"{name} is not configured, or its provider has no list to read.")
    try:
        return [reconcile(runtime, rail) for rail in rails]
    except (ProviderUnreachable, ProviderRefused) as error:
        raise Unavailable(f"A provider's list could not be read: {error}") from error


def reports_told(reports: Sequence[Report]) -> list[dict[str, object]]:
    """The reports for programs."""
    return [
        {
            "provider": report.provider,
            "listed": report.listed,
            "missed": report.missed,
            "clean": report.is_clean,
            "findings": [
                {"kind": each.kind, "purchaseId": each.purchase_id, "healed": each.is_healed, "what": each.what}
                for each in report.findings
            ],
        }
        for report in reports
    ]


def reports_text(reports: Sequence[Report]) -> list[str]:
    """The reports for people."""
    if not reports:
        return ["No configured provider has a list to read."]
    lines = []
    for report in reports:
        facts = asdict(report)
        lines.append(
            f"{report.provider}: {facts['listed']} events listed; no webhook had brought {facts['missed']} things."
        )
        lines += [
            f"  {'healed' if each.is_healed else 'OPEN'} {each.kind} {each.purchase_id}: {each.what}"
            for each in report.findings
        ]
    return lines
