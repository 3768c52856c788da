"""The totals of a document in the terms of EN 16931, computed once; every rendering takes them from here.

BR-CO-10 lines sum to BT-106; BR-CO-13 that is BT-109, there being no charges or allowances on the document;
BR-CO-14 tax is the sum of its breakdown; BR-CO-15 BT-112 = BT-109 + BT-110; BR-CO-16 BT-115 = BT-112 − BT-113.
"""

from dataclasses import dataclass

from engine.rules.document_data import Document


@dataclass(frozen=True, slots=True)
class Totals:
    """Minor units. `line_nets` has one net amount (BT-131) for each line, in order."""

    line_nets: tuple[int, ...]
    lines_minor: int
    net_minor: int
    tax_minor: int
    total_minor: int
    prepaid_minor: int
    due_minor: int


def totals(document: Document) -> Totals:
    """What is paid at issue is prepaid: nothing is due, on an invoice as on a credit note."""
    nets = line_nets(document)
    assert sum(nets) == document.net_minor
    return Totals(
        line_nets=nets,
        lines_minor=sum(nets),
        net_minor=document.net_minor,
        tax_minor=document.tax_minor,
        total_minor=document.total_minor,
        prepaid_minor=document.total_minor,
        due_minor=0,
    )


def line_nets(document: Document) -> tuple[int, ...]:
    """Each line's share of the net, rounded so that the shares sum to it: the difference of running sums rounded
    down."""
    priced, net = document.priced_minor, document.net_minor
    if priced == 0:
        return tuple(0 for _ in document.lines)
    nets: list[int] = []
    running = given = 0
    for line in document.lines:
        running += line.amount_minor
        nets.append(running * net // priced - given)
        given += nets[-1]
    return tuple(nets)
