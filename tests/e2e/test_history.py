"""The checker of histories: silent on honest wallets, and it names the fault of every racy one."""

import pytest

from tests.e2e.history import Call, Fault, Row, check
from tests.e2e.racy import CAP, COUPON, START_LIMITS, FaultName, play

SEEDS = range(200)
NAMED: dict[FaultName, str] = {
    "lost update": "balance",
    "replayed key spends twice": "key",
    "limit before lock": "limit",
    "refusal on a stale read": "refusal",
    "seq taken by a refusal": "gap",
    "end cut off": "lost",
    "written and refused": "unexplained",
    "balance before lock": "overdrawn",
    "written later": "order",
    "cap before lock": "cap",
    "reversal before lock": "reversal",
    "hold before lock": "hold",
}


def faults_of(fault: FaultName, seed: int) -> list[Fault]:
    calls, ledgers = play(fault, seed)
    return check(calls, ledgers, {COUPON: CAP}, START_LIMITS)


def test_honest_histories_have_no_fault_and_meet_everything() -> None:
    seen: set[str] = set()
    for seed in SEEDS:
        calls, ledgers = play("none", seed)
        assert check(calls, ledgers, {COUPON: CAP}, START_LIMITS) == []
        seen |= {f"{call.kind} {call.status} {call.code}".strip() for call in calls}
        seen |= {f"{call.kind} again" for call in calls if call.is_replay}
    wanted = {"spend 402 CREDIT-001", "spend 402 CREDIT-002", "coupon 409 COUPON-005", "spend again", "void 201"}
    assert wanted <= seen, seen


@pytest.mark.parametrize("fault", NAMED)
def test_every_planted_race_is_named(fault: FaultName) -> None:
    caught = [seed for seed in SEEDS if NAMED[fault] in {found.law for found in faults_of(fault, seed)}]
    assert len(caught) >= 5, f"{fault}: only seeds {caught}"


def call(kind: str, key: str, start: float, end: float, **more: object) -> Call:
    told: dict[str, object] = {"account": "a", "credits": 10, "status": 201, **more}
    return Call(start=start, end=end, kind=kind, key=key, **told)  # type: ignore[arg-type]


GRANTED = call("grant", "g", 1, 2, row="t1", balance_after=10)
LEDGER = {"a": [Row(1, "t1", "promo_credit", 10, 10)]}


def test_a_refusal_while_the_money_was_certainly_there_is_a_fault_and_a_concurrent_one_is_not() -> None:
    after = call("spend", "s", 3, 4, status=402, code="ACN-CREDIT-001", available=0)
    assert [fault.law for fault in check([GRANTED, after], LEDGER)] == ["refusal"]
    meanwhile = call("spend", "s", 1.5, 4, status=402, code="ACN-CREDIT-001", available=0)
    assert check([GRANTED, meanwhile], LEDGER) == []
    told_wrong = call("spend", "s", 1.5, 4, credits=20, status=402, code="ACN-CREDIT-001", available=7)
    assert [fault.law for fault in check([GRANTED, told_wrong], LEDGER)] == ["refusal"]


def test_a_change_of_limits_is_in_force_from_its_start_to_the_next_ones_end() -> None:
    rows = {"a": [*LEDGER["a"], Row(2, "t2", "debit", -10, 0)]}
    spent = call("spend", "s", 7, 8, row="t2", balance_after=0)
    low = call("limits", "", 3, 4, credits=5, status=200)
    assert [fault.law for fault in check([GRANTED, low, spent], rows)] == ["limit"]
    high = call("limits", "", 5, 7.5, credits=50, status=200)
    assert check([GRANTED, low, high, spent], rows) == []


def test_an_answer_that_differs_from_its_row_and_a_wallet_without_a_ledger_are_faults() -> None:
    other = call("grant", "g", 1, 2, row="t1", balance_after=11)
    assert [fault.law for fault in check([other], LEDGER)] == ["answer"]
    assert [fault.law for fault in check([GRANTED], {})] == ["lost"]
