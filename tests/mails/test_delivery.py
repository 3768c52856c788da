"""Mails to a real SMTP server on this machine: what arrives, what is tried again, what is given up."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlmodel import select

from api.delivery import mail_sender
from api.mails.compose import write_notice
from engine.jobs import Jobs
from engine.store import outbox
from engine.store.database import Database, reading, transact
from engine.store.tables import MailRow, OutboxRow
from tests.engine.support import FakeClock
from tests.flows.world import ACCOUNT, World, open_world


@dataclass
class PostOffice:
    """Takes mails, after it has given the answers it was told to give first."""

    to_recipients: list[str] = field(default_factory=list)
    to_data: list[str] = field(default_factory=list)
    taken: list[EmailMessage] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - the name that the server calls
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        if self.to_recipients:
            return self.to_recipients.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802 - the same
        if self.to_data:
            return self.to_data.pop(0)
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        return "250 OK"


@dataclass
class Post:
    office: PostOffice
    world: World
    jobs: Jobs

    def tell(self, notice: str, **facts: object) -> None:
        told: dict[str, object] = {"notice": notice, **facts}
        transact(self.world.db, lambda session: outbox.enqueue(session, ACCOUNT, "notice", told, self.now))
        self.jobs.run_due()

    @property
    def now(self) -> Any:
        return self.world.clock.now()

    def mail(self) -> MailRow:
        with reading(self.world.db) as session:
            return session.exec(select(MailRow)).one()

    def waiting(self) -> int:
        with reading(self.world.db) as session:
            return sum(row.done_at is None for row in session.exec(select(OutboxRow)).all() if row.kind == "mail")


@pytest.fixture
def post(db: Database, clock: FakeClock) -> Iterator[Post]:
    office = PostOffice()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Controller(office, hostname="127.0.0.1", port=port)
    server.start()
    world = open_world(db, clock)
    jobs = Jobs(world.runtime, {"notice": write_notice, "mail": mail_sender(f"smtp://127.0.0.1:{port}")})
    yield Post(office, world, jobs)
    world.close()
    server.stop()


def test_a_mail_arrives_as_text_and_html(post: Post) -> None:
    post.tell("lowBalance", balanceAfter="500", thresholdCredits="1000")
    [message] = post.office.taken
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None and "Your balance is" in text.get_content()
    assert html is not None and "<h1" in html.get_content()
    assert (message["To"], message["From"]) == ("mira@customer.example", post.world.runtime.catalog.seller.email)
    assert message["List-Unsubscribe"] == "<https://purser.example/account/settings>"
    assert message["Date"] and message["Auto-Submitted"] == "auto-generated"
    assert post.mail().sent_at == post.now and post.waiting() == 0


def test_a_mail_that_is_always_sent_offers_no_way_to_refuse_it(post: Post) -> None:
    post.tell("depleted", balanceAfter="0")
    assert post.office.taken[0]["List-Unsubscribe"] is None


@pytest.mark.parametrize("answers", ["to_recipients", "to_data"])
def test_a_server_that_is_busy_is_asked_again(post: Post, answers: str) -> None:
    setattr(post.office, answers, ["451 later", "450 later still"])
    post.tell("depleted", balanceAfter="0")
    for _ in range(3):
        post.world.clock.advance(timedelta(minutes=1))
        post.jobs.run_due()
    [message] = post.office.taken
    mail = post.mail()
    assert message["Message-ID"].startswith(f"<{mail.mail_id}@") and mail.sent_at is not None
    assert mail.problem is None and post.waiting() == 0


@pytest.mark.parametrize("answers", ["to_recipients", "to_data"])
def test_what_is_refused_for_good_is_noted_and_left(post: Post, answers: str) -> None:
    setattr(post.office, answers, ["550 no such mailbox"])
    post.tell("depleted", balanceAfter="0")
    post.world.clock.advance(timedelta(days=1))
    post.jobs.run_due()
    mail = post.mail()
    assert post.office.taken == [] and mail.sent_at is None and post.waiting() == 0
    assert mail.problem is not None and "no such mailbox" in mail.problem


def test_after_three_days_of_trying_a_mail_is_given_up(post: Post) -> None:
    post.office.to_data = ["451 later"] * 200
    post.tell("depleted", balanceAfter="0")
    for _ in range(80):
        post.world.clock.advance(timedelta(hours=1))
        post.jobs.run_due()
    assert post.waiting() == 0 and post.office.taken == []
    assert "later" in (post.mail().problem or "")
    assert len(post.office.to_data) > 100, "an hour apart at most, three days long"


def test_a_mail_that_is_sent_twice_is_the_same_mail(post: Post) -> None:
    """The process dies after the server took it and before that was noted."""
    post.tell("depleted", balanceAfter="0")
    mail = post.mail()

    def forget(session: Any) -> None:
        row = session.get(MailRow, (ACCOUNT, mail.mail_id))
        row.sent_at = None
        outbox.enqueue(session, ACCOUNT, "mail", {"mailId": mail.mail_id}, post.now)

    transact(post.world.db, forget)
    post.jobs.run_due()
    first, second = post.office.taken
    assert first["Message-ID"] == second["Message-ID"]
