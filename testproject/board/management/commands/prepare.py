"""``manage.py prepare``: everything that the site needs in an empty database."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandParser, call_command

import pindb
from testproject.board.models import Notice

NOTICES = [
    ("Bicycle found", "Blue, with a basket. It stands in the yard behind the library."),
    ("Choir rehearsal", "Tuesday at seven in the great hall. New voices are welcome, basses most of all."),
    ("Jam for books", "Twelve jars of quince jam, to be swapped for novels. Ask at the front desk."),
]


class Command(BaseCommand):
    """Migrates, and makes an admin and some notices."""

    help = "Migrate, and make an admin and some notices."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("password")

    @pindb.master("default")
    def handle(self, *args: Any, **options: Any) -> None:
        """Everything in a block on the master, which a Strict router asks for."""
        call_command("migrate", verbosity=0, interactive=False)
        User.objects.create_superuser(options["username"], password=options["password"])
        author = User.objects.create_user("caretaker")
        for title, body in NOTICES:
            Notice.objects.create(title=title, body=body, author=author)
