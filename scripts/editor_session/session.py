"""The session: what an editor does in Wagtail's admin, and what visitors see of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from pindb.testing.postgres import PostgresReplicaSet


class Failed(Exception):
    """A step did not do what it should."""


class Session:
    """One editor at work.

    Arguments:
        name: makes what this session creates its own.
    """

    def __init__(self, name: str, home: int, strict: bool) -> None:
        from django.test import Client

        self.name = name
        self.home = home
        self.strict = strict
        self.editor = Client()
        self.visitor = Client()
        self.failures: list[str] = []
        self.steps = 0
        self.page = self.image = self.advert = 0

    # ---- the browser ---------------------------------------------------------------------------

    def url(self, name: str, *args: Any) -> str:
        from django.urls import reverse

        return reverse(name, args=args)

    def get(self, url: str, has: str = "", lacks: str = "", status: int = 200, client: Any = None) -> Any:
        response = (client or self.editor).get(url)
        if response.status_code != status:
            raise Failed(f"GET {url}: status {response.status_code} instead of {status}")
        text = response.content.decode() if not response.streaming else ""
        if has and has not in text:
            raise Failed(f"GET {url}: {has!r} is not there (stale?)")
        if lacks and lacks in text and lacks in (client or self.editor).get(url).content.decode():
            # Asked twice, since Wagtail's message about what was deleted names it, once.
            raise Failed(f"GET {url}: {lacks!r} is still there (stale?)")
        return response

    def post(self, url: str, data: Any = None, status: int = 302) -> Any:
        response = self.editor.post(url, data or {})
        if response.status_code != status:
            raise Failed(f"POST {url}: status {response.status_code} instead of {status}{_errors(response)}")
        return response

    def step(self, function: Callable[[], None]) -> None:
        self.steps += 1
        try:
            function()
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)
            where = " < ".join(
                f"{one.name} ({one.filename.rpartition('/')[2]}:{one.lineno})" for one in last[:-9:-1]
            )
            text = " ".join(str(error).split())[:300]
            self.failures.append(f"{function.__name__}: {type(error).__name__}: {text}\n      {where}")

    # ---- the steps, in their order -------------------------------------------------------------

    def run(self) -> None:
        for step in (
            self.log_in,
            self.look_around,
            self.upload_image,
            self.edit_image,
            self.create_draft,
            self.edit_draft,
            self.publish,
            self.annotate,
            self.edit_live_page,
            self.publish_by_model,
            self.schedule,
            self.move,
            self.reorder,
            self.copy,
            self.alias,
            self.lock,
            self.workflow,
            self.history,
            self.privacy,
            self.search,
            self.redirects,
            self.snippet,
            self.document,
            self.users,
            self.bulk_unpublish,
            self.unpublish,
            self.commands,
            self.delete,
            self.delete_image,
            self.log_out,
        ):
            self.step(step)

    def form(self, title: str, **more: Any) -> dict[str, Any]:
        return {
            "title": title,
            "slug": f"{self.name}-page",
            "body": '{"blocks": [], "entityMap": {}}',
            "tags": "red, green",
            "image": self.image or "",
            "links-TOTAL_FORMS": "1",
            "links-INITIAL_FORMS": "0",
            "links-MIN_NUM_FORMS": "0",
            "links-MAX_NUM_FORMS": "1000",
            "links-0-url": "https://example.com/",
            "links-0-ORDER": "1",
            "links-0-id": "",
            **more,
        }

    def edit_form(self, title: str, **more: Any) -> dict[str, Any]:
        """The form of a page that has one link."""
        import pindb
        from scripts.editor_session.site.models import BlogPageLink

        with pindb.master("default"):
            link = BlogPageLink.objects.filter(page_id=self.page).first()
        if link is None:
            return self.form(title, **more)
        return self.form(title, **{"links-INITIAL_FORMS": "1", "links-0-id": link.pk}, **more)

    def edit_url(self) -> str:
        return self.url("wagtailadmin_pages:edit", self.page)

    def explorer(self) -> str:
        return self.url("wagtailadmin_explore", self.home)

    def log_in(self) -> None:
        self.get("/admin/login/")
        self.post("/admin/login/", {"username": "editor", "password": "secret"})
        self.get("/admin/", "editor")

    def look_around(self) -> None:
        for path in (
            "pages/",
            "images/",
            "documents/",
            "snippets/",
            "users/",
            "groups/",
            "reports/site-history/",
        ):
            response = self.editor.get(f"/admin/{path}", follow=True)
            if response.status_code != 200:
                raise Failed(f"GET /admin/{path}: status {response.status_code}")
        self.get("/admin/account/")
        self.get("/", client=self.visitor)

    def upload_image(self) -> None:
        self.post(
            self.url("wagtailimages:add"),
            {
                "title": f"{self.name} image",
                "file": picture(),
                "tags": "blue, green",
                "collection": root_collection(),
            },
        )
        self.get(self.url("wagtailimages:index"), f"{self.name} image")
        self.image = newest("wagtailimages", "Image")
        self.get(self.url("wagtailimages:edit", self.image), "blue")

    def edit_image(self) -> None:
        url = self.url("wagtailimages:edit", self.image)
        self.post(url, {"title": f"{self.name} picture", "tags": "yellow", "collection": root_collection()})
        self.get(url, "yellow", "blue")
        self.get(self.url("wagtailimages:index") + "?q=picture", f"{self.name} picture")

    def create_draft(self) -> None:
        add = self.url("wagtailadmin_pages:add", "site", "blogpage", self.home)
        self.get(add)
        self.post(add, self.form(f"{self.name} draft"))
        self.page = newest("site", "BlogPage")
        self.get(self.edit_url(), f"{self.name} draft")
        self.get(self.explorer(), f"{self.name} draft")
        self.get(f"/{self.name}-page/", status=404)

    def edit_draft(self) -> None:
        self.post(self.edit_url(), self.edit_form(f"{self.name} second draft"))
        self.get(self.edit_url(), f"{self.name} second draft")
        self.get(self.url("wagtailadmin_pages:view_draft", self.page), f"{self.name} second draft")

    def publish(self) -> None:
        data = self.edit_form(f"{self.name} published", **{"action-publish": "1", "tags": "red, violet"})
        self.post(self.edit_url(), data)
        self.get(self.edit_url(), f"{self.name} published")
        self.get(f"/{self.name}-page/", "violet")

    def annotate(self) -> None:
        """Use generic relations as a view of the site's own does, in a unit of work of its own."""
        from scripts.editor_session.site.models import BlogPage

        with self.unit(catch_up=True):
            page = BlogPage.objects.get(pk=self.page)
            page.notes.create(text="first")
            self.must(page.notes.count() == 1, "one note")
        with self.unit(catch_up=True):
            page = BlogPage.objects.get(pk=self.page)
            page.notes.update(text="second")
            self.must(page.notes.get().text == "second", "the note is changed")
        with self.unit(catch_up=True):
            page = BlogPage.objects.get(pk=self.page)
            notes = page.notes.all()
            len(notes)
            notes.delete()
            self.must(not page.notes.exists(), "the note is gone")
        with self.unit(catch_up=True):
            BlogPage.objects.get(pk=self.page).tagged_items.all()
            page = BlogPage.objects.get(pk=self.page)
            page.tags.add("orange")
            page.save()
            self.must("orange" in BlogPage.objects.get(pk=self.page).tags.names(), "the tag is there")

    def edit_live_page(self) -> None:
        self.post(self.edit_url(), self.edit_form(f"{self.name} changed", **{"action-publish": "1"}))
        self.get(f"/{self.name}-page/", f"{self.name} changed")

    def publish_by_model(self) -> None:
        from scripts.editor_session.site.models import BlogPage

        with self.unit(catch_up=True):
            page = BlogPage.objects.get(pk=self.page)
            page.title = f"{self.name} by code"
            page.save_revision().publish()
            self.must(BlogPage.objects.get(pk=self.page).title == f"{self.name} by code", "published by code")
        with self.unit(catch_up=True):
            page = BlogPage.objects.get(pk=self.page)
            page.get_latest_revision_as_object().save_revision(changed=False)
            page.revisions.all().update(user=None)
        with self.unit(catch_up=True):
            page = BlogPage.objects.get(pk=self.page)
            page.get_parent().specific.get_children().update(show_in_menus=True)
            page.refresh_from_db()
            self.must(page.show_in_menus, "in menus")

    def schedule(self) -> None:
        from django.core.management import call_command
        from django.utils import timezone

        soon = timezone.now() + timedelta(hours=1)
        go_live_at = soon.strftime("%Y-%m-%d %H:%M")
        data = self.edit_form(f"{self.name} later", go_live_at=go_live_at, **{"action-publish": "1"})
        self.post(self.edit_url(), data)
        self.get(self.edit_url(), "later")
        with self.unit(), self.master():
            from wagtail.models import Revision

            past = timezone.now() - timedelta(minutes=1)
            for revision in Revision.objects.filter(
                object_id=str(self.page), approved_go_live_at__isnull=False
            ):
                revision.approved_go_live_at = past
                revision.content["go_live_at"] = past.isoformat()
                revision.save()
        with self.unit(), self.master():
            call_command("publish_scheduled", stdout=io.StringIO())
        self.get(f"/{self.name}-page/", f"{self.name} later")

    def move(self) -> None:
        add = self.url("wagtailadmin_pages:add", "site", "blogpage", self.home)
        data = self.form(f"{self.name} section", **{"action-publish": "1"})
        self.post(add, {**data, "slug": f"{self.name}-section"})
        section = newest("site", "BlogPage")
        self.post(self.url("wagtailadmin_pages:move_confirm", self.page, section))
        self.get(f"/{self.name}-section/{self.name}-page/", f"{self.name} later")
        self.post(self.url("wagtailadmin_pages:move_confirm", self.page, self.home))
        self.get(f"/{self.name}-page/", f"{self.name} later")

    def reorder(self) -> None:
        self.post(self.url("wagtailadmin_pages:set_page_position", self.page) + "?position=0", status=200)

    def copy(self) -> None:
        data = {
            "new_title": f"{self.name} copy",
            "new_slug": f"{self.name}-copy",
            "new_parent_page": self.home,
            "copy_subpages": "",
            "publish_copies": "on",
            "alias": "",
        }
        self.post(self.url("wagtailadmin_pages:copy", self.page), data)
        self.get(self.explorer(), f"{self.name} copy")
        self.get(f"/{self.name}-copy/", "red")

    def alias(self) -> None:
        data = {
            "new_title": f"{self.name} alias",
            "new_slug": f"{self.name}-alias",
            "new_parent_page": self.home,
            "alias": "on",
        }
        self.post(self.url("wagtailadmin_pages:copy", self.page), data)
        self.post(self.edit_url(), self.edit_form(f"{self.name} aliased", **{"action-publish": "1"}))
        self.get(f"/{self.name}-alias/", f"{self.name} aliased")

    def lock(self) -> None:
        self.post(self.url("wagtailadmin_pages:lock", self.page))
        self.get(self.edit_url(), "locked")
        self.post(self.url("wagtailadmin_pages:unlock", self.page))

    def workflow(self) -> None:
        self.post(self.edit_url(), self.edit_form(f"{self.name} submitted", **{"action-submit": "1"}))
        from wagtail.models import Page

        with self.unit(), self.master():
            state = Page.objects.get(pk=self.page).current_workflow_task_state
        if state is None:
            raise Failed("The page is in no workflow.")
        self.post(
            self.url("wagtailadmin_pages:workflow_action", self.page, "approve", state.pk),
            {"comment": "good"},
        )
        self.get(f"/{self.name}-page/", f"{self.name} submitted")

    def history(self) -> None:
        self.get(self.url("wagtailadmin_pages:history", self.page), "Published")
        with self.unit(), self.master():
            from wagtail.models import Page

            first = Page.objects.get(pk=self.page).revisions.order_by("pk").first().pk
        self.get(self.url("wagtailadmin_pages:revisions_revert", self.page, first))
        self.get(self.url("wagtailadmin_pages:revisions_compare", self.page, "earliest", "latest"))

    def privacy(self) -> None:
        url = self.url("wagtailadmin_pages:set_privacy", self.page)
        self.get(url)
        self.post(url, {"restriction_type": "password", "password": "pw", "groups": []}, status=200)
        self.get(f"/{self.name}-page/", "password")
        self.post(url, {"restriction_type": "none", "password": "", "groups": []}, status=200)
        self.get(f"/{self.name}-page/", f"{self.name} submitted")

    def search(self) -> None:
        self.get(f"/search/?q={self.name}", f"{self.name} submitted")
        self.get(f"/search/?q={self.name}", client=self.visitor)
        self.get(self.url("wagtailadmin_pages:search") + f"?q={self.name}", f"{self.name} submitted")

    def redirects(self) -> None:
        data = {"old_path": f"/{self.name}-old", "site": "", "is_permanent": "on", "redirect_page": self.page}
        self.post(self.url("wagtailredirects:add"), data)
        self.get(self.url("wagtailredirects:index"), f"/{self.name}-old")
        self.get(f"/{self.name}-old/", status=301)

    def snippet(self) -> None:
        name = "wagtailsnippets_site_advert"
        self.post(self.url(f"{name}:add"), {"text": f"{self.name} advert", "tags": "gold"})
        self.get(self.url(f"{name}:list"), f"{self.name} advert")
        self.advert = newest("site", "Advert")
        edit = self.url(f"{name}:edit", self.advert)
        self.post(edit, {"text": f"{self.name} notice", "tags": "gold, silver", "action-publish": "1"})
        self.get(edit, f"{self.name} notice")
        self.get(self.url(f"{name}:list") + "?q=notice", f"{self.name} notice")
        self.post(self.url(f"{name}:unpublish", self.advert))
        self.get(self.url(f"{name}:history", self.advert))
        self.post(self.url(f"{name}:delete", self.advert))
        self.get(self.url(f"{name}:list"), lacks=f"{self.name} notice")

    def document(self) -> None:
        from django.core.files.base import ContentFile

        file = ContentFile(b"text", name=f"{self.name}.txt")
        data = {
            "title": f"{self.name} document",
            "file": file,
            "tags": "grey",
            "collection": root_collection(),
        }
        self.post(self.url("wagtaildocs:add"), data)
        self.get(self.url("wagtaildocs:index"), f"{self.name} document")
        document = newest("wagtaildocs", "Document")
        self.get(f"/documents/{document}/{self.name}.txt")
        self.post(self.url("wagtaildocs:delete", document))
        self.get(self.url("wagtaildocs:index"), lacks=f"{self.name} document")

    def users(self) -> None:
        data = {
            "username": f"{self.name}-user",
            "email": "user@example.com",
            "first_name": "A",
            "last_name": "User",
            "password1": "a long secret 1",
            "password2": "a long secret 1",
            "is_active": "on",
        }
        self.post(self.url("wagtailusers_users:add"), data)
        self.get(self.url("wagtailusers_users:index"), f"{self.name}-user")
        user = newest("auth", "User")
        self.get(self.url("wagtailusers_users:edit", user), "user@example.com")
        self.post(self.url("wagtailusers_users:delete", user))
        self.get(self.url("wagtailusers_users:index"), lacks=f"{self.name}-user")

    def bulk_unpublish(self) -> None:
        url = self.url("wagtail_bulk_action", "wagtailcore", "page", "unpublish") + f"?id={self.page}"
        self.get(url)
        self.post(url + "&next=/admin/", {"confirm": "true"})
        self.get(f"/{self.name}-page/", status=404)
        url = self.url("wagtail_bulk_action", "wagtailcore", "page", "publish") + f"?id={self.page}"
        self.post(url + "&next=/admin/", {"confirm": "true"})
        self.get(f"/{self.name}-page/", f"{self.name} submitted")

    def unpublish(self) -> None:
        self.post(self.url("wagtailadmin_pages:unpublish", self.page))
        self.get(f"/{self.name}-page/", status=404)

    def commands(self) -> None:
        from django.core.management import call_command

        for name, arguments in (
            ("update_index", ()),
            ("rebuild_references_index", ()),
            ("fixtree", ("--noinput",)),
            ("set_url_paths", ()),
            ("purge_revisions", ("--days", "1")),
            ("wagtail_update_image_renditions", ()),
            ("remove_stale_contenttypes", ("--no-input",)),
            ("clearsessions", ()),
        ):
            with self.unit(catch_up=True), command_block():
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        call_command(name, *arguments, stdout=io.StringIO())
                except Exception as error:
                    error.args = (f"manage.py {name}: {error}",)
                    self.step(_raising(f"manage_{name}", error))

    def delete(self) -> None:
        self.post(self.url("wagtailadmin_pages:delete", self.page))
        self.get(self.explorer(), lacks=f'"{self.name} submitted"')
        self.get(self.edit_url(), status=404)

    def delete_image(self) -> None:
        self.post(self.url("wagtailimages:delete", self.image))
        self.get(self.url("wagtailimages:index"), lacks=f"{self.name} picture")

    def log_out(self) -> None:
        self.post("/admin/logout/")
        self.get("/admin/", status=302)

    # ---- units of work beside requests ---------------------------------------------------------

    catch_up: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def unit(self, catch_up: bool = False) -> Iterator[None]:
        """A unit of work; Strict's begins with a pin. With `catch_up` its reads find what was written."""
        import pindb

        if catch_up:
            self.catch_up()
        with pindb.pinning_context():
            if self.strict:
                pindb.pin("default")
            yield

    def master(self) -> Any:
        import pindb

        return pindb.master("default")

    def must(self, condition: bool, what: str) -> None:
        if not condition:
            raise Failed(f"not so: {what} (stale?)")


def command_block() -> Any:
    """What a command runs in: a block of the master with a Strict that does not pin commands by itself."""
    from django.conf import settings

    import pindb
    from pindb.conf import DEFAULTS

    if settings.STRICT and "PINDB_PINNED_COMMANDS" not in DEFAULTS:
        return pindb.master("default")
    return contextlib.nullcontext()


def _raising(name: str, error: Exception) -> Callable[[], None]:
    def function() -> None:
        raise error

    function.__name__ = name
    return function


def _errors(response: Any) -> str:
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        form = response.context["form"]
        return f": {form.errors.as_json()} {[one.errors for one in getattr(form, 'formsets', {}).values()]}"
    return ""


def picture() -> Any:
    from django.core.files.images import ImageFile
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 48), "white").save(file, "PNG")
    file.seek(0)
    return ImageFile(file, name="picture.png")


def newest(app: str, model: str) -> int:
    """The highest key of a model, on the master."""
    from django.apps import apps

    import pindb

    with pindb.pinning_context(), pindb.master("default"):
        return int(apps.get_model(app, model).objects.order_by("-pk").values_list("pk", flat=True)[0])


def root_collection() -> int:
    from wagtail.models import Collection

    import pindb

    with pindb.pinning_context(), pindb.master("default"):
        return int(Collection.get_first_root_node().pk)


def prepare() -> int:
    """Make the tables, the editor and the home page; return the page's key."""
    from django.core.management import call_command

    import pindb

    with command_block():
        call_command("makemigrations", "site", verbosity=0)
        call_command("migrate", verbosity=0)
    with pindb.pinning_context(), pindb.master("default"):
        from django.contrib.auth.models import User
        from wagtail.models import Page, Site

        from scripts.editor_session.site.models import HomePage

        User.objects.create_superuser("editor", "editor@example.com", "secret")
        root = Page.get_first_root_node()
        home = HomePage(title="Home", slug="front")
        root.add_child(instance=home)
        Site.objects.all().delete()
        Site.objects.create(hostname="testserver", root_page=home, is_default_site=True)
    return int(home.pk)


def main() -> int:
    config = json.loads(os.environ["PINDB_EDITOR_SESSION"])
    failures = 0
    with (
        PostgresReplicaSet(2, configuration={"lock_timeout": "20s"}) as servers,
        tempfile.TemporaryDirectory() as folder,
    ):
        config |= {
            "master": servers.master_database,
            "replicas": servers.replica_databases,
            "media": folder,
        }
        os.environ["PINDB_EDITOR_SESSION"] = json.dumps(config)
        os.environ["DJANGO_SETTINGS_MODULE"] = "scripts.editor_session.site.settings"
        os.makedirs(os.path.join(folder, "editor_session_migrations"))
        with open(os.path.join(folder, "editor_session_migrations", "__init__.py"), "w"):
            pass
        sys.path.insert(0, folder)
        import django

        django.setup()
        from django.db import connections

        home = prepare()
        for state in config["states"]:
            for number in range(config["rounds"]):
                servers.wait_until_caught_up()
                session = Session(f"{state}{number}", home, config["router"] == "strict")
                with in_state(servers, state, session):
                    session.run()
                print(f"  {state}: {session.steps} steps, {len(session.failures)} failed", flush=True)
                for failure in session.failures:
                    print(f"    {failure}", flush=True)
                failures += len(session.failures)
        connections.close_all()
    return 1 if failures else 0


@contextmanager
def in_state(servers: PostgresReplicaSet, state: str, session: Session) -> Iterator[None]:
    """Run a session while the replicas are healthy, paused or killed."""

    def catch_up_paused() -> None:
        for replica in (0, 1):
            servers.resume(replica)
        servers.wait_until_caught_up()
        for replica in (0, 1):
            servers.pause(replica)

    if state == "healthy":
        session.catch_up = servers.wait_until_caught_up
        yield
    elif state == "paused":
        session.catch_up = catch_up_paused
        catch_up_paused()
        yield
        for replica in (0, 1):
            servers.resume(replica)
    else:
        for replica in (0, 1):
            servers.kill(replica)
        yield
        for replica in (0, 1):
            servers.start(replica)


if __name__ == "__main__":
    sys.exit(main())
