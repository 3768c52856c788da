"""Mails: what a customer is told, in their language, as HTML and as text."""
