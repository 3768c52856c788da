"""`purser demo --script`: the main job on each shipped catalogue, seen from outside."""

import pytest

from api.script import TOP_UPS, run_script


@pytest.mark.parametrize("catalog", TOP_UPS)
def test_the_main_job_holds_on_every_shipped_catalogue(catalog: str) -> None:
    seen: list[tuple[bool, str]] = []
    assert run_script(catalog, lambda is_so, what: seen.append((is_so, what))), seen
    assert len(seen) == 20
