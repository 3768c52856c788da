"""A document sent again leaves by SMTP with its PDF, byte for byte the one that was kept."""

import socket
from email import message_from_bytes
from email.message import Message
from email.policy import default

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from api.delivery import mail_sender
from engine.jobs import Jobs
from tests.api.host import Host
from tests.api.test_receipts import a_purchase, host, listed, path, pdf, renderer

__all__ = ["host", "path", "renderer"]


class Inbox:
    """A mail server's other end: what arrived."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], Message]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=default)))
        return "250 OK"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:aiosmtpd")
def test_the_pdf_goes_with_the_mail(host: Host, path: str) -> None:
    a_purchase(host)
    [receipt] = listed(host, path)
    to = ["ap@customer.example", "tax@customer.example"]
    assert host.post(f"{path}/receipts/{receipt['id']}/send", {"recipients": to}).status_code == 200
    inbox = Inbox()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        Jobs(host.runtime, {"mail": mail_sender(f"smtp://127.0.0.1:{port}")}).run_due()
    finally:
        controller.stop()
    told = {recipients[0]: mail for recipients, mail in inbox.mails}
    assert {*to} <= told.keys()
    for recipient in to:
        mail = told[recipient]
        assert mail["Subject"] == f"Alphio: Receipt {receipt['number']}"
        [attached] = [part for part in mail.walk() if part.get_filename()]
        assert (attached.get_filename(), attached.get_content_type()) == (f"{receipt['number']}.pdf", "application/pdf")
        assert attached.get_payload(decode=True) == pdf(host, path, receipt["id"])
