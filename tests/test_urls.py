"""Parts of a URLconf whose views pin, and are otherwise unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.contrib.admin import AdminSite
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import (
    NoReverseMatch,
    Resolver404,
    include,
    path,
    re_path,
    register_converter,
    resolve,
    reverse,
)
from django.urls.converters import IntConverter
from django.utils.translation import gettext_lazy, override
from django.views import View
from django.views.decorators.csrf import csrf_exempt

import pindb
from pindb.testing.postgres import PostgresReplicaSet
from pindb.urls import pinned
from tests.conftest import SERVERS, pause_all
from tests.testapp import views
from tests.testapp.models import Author, Book, Tag


class Year(IntConverter):
    regex = "[0-9]{4}"


register_converter(Year, "pindb_year")


def tell(request: HttpRequest, **kwargs: Any) -> JsonResponse:
    """Its docstring."""
    return JsonResponse({"new": sorted(pindb.get_newly_pinned()), **kwargs})


@csrf_exempt
@transaction.non_atomic_requests
def exempt(request: HttpRequest) -> JsonResponse:
    return tell(request)


async def atell(request: HttpRequest, **kwargs: Any) -> JsonResponse:
    await asyncio.sleep(0)
    return tell(request, **kwargs)


class Telling(View):
    def get(self, request: HttpRequest) -> JsonResponse:
        return tell(request)

    post = get


class ATelling(View):
    async def get(self, request: HttpRequest) -> JsonResponse:
        return await atell(request)


class Callable:
    """A view that is an object."""

    def __call__(self, request: HttpRequest) -> JsonResponse:
        return tell(request)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse("the site's own page", status=404)


inner = [path("<slug:word>/", tell, name="word")]
blog: list[Any] = [
    path("", tell, name="index"),
    path("<pindb_year:year>/", tell, {"extra": 1}, name="year"),
    re_path(r"^old/([a-z]+)/$", lambda request, word: JsonResponse({"word": word}), name="old"),
    path("class/", Telling.as_view(), name="class"),
    path("async/", atell, name="async"),
    path("async-class/", ATelling.as_view(), name="async-class"),
    path("object/", Callable(), name="object"),
    path("partial/", partial(tell, more=2), name="partial"),
    path("exempt/", exempt, name="exempt"),
    path("nameless/", tell),
    path("write/", views.write, name="write"),
    path(gettext_lazy("Yes"), tell, name="translated"),
    path("more/<int:number>/", include((inner, "more"))),
    path("less/<int:number>/", include(inner)),
]


def urlconf(arrange: Any) -> Any:
    """A site whose blog is as `arrange` says: pinned, or as Django has it."""
    module: Any = ModuleType("urlconf")
    vars(module).update(
        handler404="tests.test_urls.not_found",
        urlpatterns=[
            path("blog/", arrange(include((blog, "blog")))),
            path("second/", arrange(include((blog, "blog"), namespace="second"))),
            re_path(r"^of/(?P<user>[a-z]+)/", arrange(include(inner))),
            path("list/", arrange([path("", tell, name="listed"), path("x/", tell), path("y/", tell)])),
            path("lazy/", arrange(include("tests.testapp.urls"))),
            path("view/", arrange(tell), name="view"),
            *i18n_patterns(path(gettext_lazy("No"), arrange(include(inner)))),
            path("free/", tell, name="free"),
        ],
    )
    return module


PLAIN = urlconf(lambda view: include(view) if isinstance(view, list) else view)
PINNED = urlconf(pinned)


@pytest.fixture
def site() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=PINNED, DEBUG=False):
        yield


PATHS = [
    *("/blog/", "/blog/2026/", "/blog/old/word/", "/blog/class/", "/blog/async/", "/blog/async-class/"),
    *("/blog/object/", "/blog/partial/", "/blog/exempt/", "/blog/nameless/", "/blog/Yes"),
    *("/blog/more/7/word/", "/blog/less/7/word/", "/second/", "/second/more/7/word/", "/of/ann/word/"),
    *("/list/", "/list/y/", "/lazy/read/", "/view/", "/en-us/Noword/", "/free/"),
]


def described(match: Any) -> dict[str, Any]:
    names = ("func", "args", "kwargs", "url_name", "view_name", "app_names", "namespaces", "route")
    more = ("_func_path", "captured_kwargs", "extra_kwargs")
    return {name: getattr(match, name) for name in (*names, *more)}


@pytest.mark.parametrize("url", PATHS)
def test_what_a_path_resolves_to_is_the_same_but_for_the_pin(url: str) -> None:
    plain, found = resolve(url, PLAIN), resolve(url, PINNED)
    assert described(found) == described(plain)
    assert hash(found.func) == hash(plain.func)
    assert repr(found) == repr(plain) or isinstance(plain.func, partial)
    assert iscoroutinefunction(found.func) == iscoroutinefunction(plain.func)
    for name in ("__doc__", "csrf_exempt", "_non_atomic_requests", "view_class", "view_initkwargs"):
        assert getattr(found.func, name, None) == getattr(plain.func, name, None)
    if url != "/free/":
        assert type(found.func) is not type(plain.func)


@pytest.mark.parametrize("url", PATHS)
def test_all_views_below_run_pinned(url: str, site: None) -> None:
    if url in ("/blog/old/word/", "/lazy/read/"):
        return
    new = Client().get(url).json()["new"]
    assert new == ([] if url == "/free/" else ["default"])


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        *(("blog:index", [], {}), ("second:index", [], {}), ("blog:year", [], {"year": 2026})),
        *(("blog:old", ["word"], {}), ("blog:more:word", [], {"number": 7, "word": "x"})),
        *(("blog:word", [7, "x"], {}), ("blog:translated", [], {})),
        *(("word", [], {"user": "ann", "word": "x"}), ("word", [], {"word": "x"}), ("listed", [], {})),
        *(("view", [], {}), (views.read, [], {})),
    ],
)
def test_names_and_views_are_reversed(name: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    for language in ("en", "de"):
        with override(language):
            expected = reverse(name, PLAIN, args, kwargs)
            assert reverse(name, PINNED, args, kwargs) == expected
            assert resolve(expected, PINNED).func == resolve(expected, PLAIN).func


def test_a_view_that_was_found_can_be_reversed() -> None:
    for url in ("/lazy/read/", "/lazy/write/"):
        match = resolve(url, PINNED)
        assert reverse(match.func, PINNED) == url
    assert resolve("/lazy/read/", PINNED).func == views.read
    assert resolve("/lazy/read/", PINNED).func != views.write


def test_an_application_is_reversed_in_the_namespace_that_is_current() -> None:
    assert reverse("blog:index", PINNED, current_app="second") == "/second/"
    with pytest.raises(NoReverseMatch):
        reverse("blog:nothing", PINNED)


def test_nothing_is_pinned_by_looking_for_a_path() -> None:
    resolve("/blog/", PINNED)
    with pytest.raises(Resolver404):
        resolve("/blog/x/y/z/", PINNED)
    assert pindb.get_pinned() == set()


def test_the_page_for_what_is_not_found_is_the_sites(site: None) -> None:
    assert Client().get("/blog/x/y/z/").content == b"the site's own page"
    with override_settings(DEBUG=True):
        assert b"more/&lt;int:number&gt;/" in Client().get("/blog/x/y/z/").content


def test_djangos_checks_see_the_patterns_below(site: None) -> None:
    def ids(module: ModuleType) -> list[str]:
        with override_settings(ROOT_URLCONF=module):
            return [message.id or "" for message in run_checks(tags=["urls"])]

    assert ids(PINNED) == ids(PLAIN) == []


def test_asynchronous_views_run_pinned_under_asgi(site: None) -> None:
    async def run() -> list[Any]:
        urls = ("/blog/async/", "/blog/async-class/", "/blog/", "/free/")
        return [(await AsyncClient().get(url)).json()["new"] for url in urls]

    assert asyncio.run(run()) == [["default"], ["default"], ["default"], []]


def test_an_include_is_imported_when_its_patterns_are_needed() -> None:
    module: Any = ModuleType("urlconf")
    resolver = pinned(("no.such.module", None, None))
    vars(module)["urlpatterns"] = [path("first/", tell), path("lazy/", resolver)]
    assert resolve("/first/", module).func is tell
    with pytest.raises(ModuleNotFoundError):
        resolve("/lazy/", module)


@pytest.mark.parametrize(
    ("methods", "pinning"),
    [
        (None, {"GET", "POST", "PUT"}),
        ("unsafe", {"POST", "PUT"}),
        (["POST"], {"POST"}),
        ({"get", "put"}, {"GET", "PUT"}),
        ([], set()),
    ],
)
def test_methods_say_which_requests_are_pinned(methods: Any, pinning: set[str]) -> None:
    module = urlconf(partial(pinned, methods=methods))
    with override_settings(ROOT_URLCONF=module):
        found = {m for m in ("GET", "POST", "PUT") if Client().generic(m, "/view/").json()["new"]}
    assert found == pinning


@pytest.mark.parametrize("aliases", ["api", ["api"], ("api", "default")])
def test_several_sets_are_pinned(aliases: Any) -> None:
    with override_settings(ROOT_URLCONF=urlconf(partial(pinned, aliases=aliases))):
        expected = ["api"] if len(aliases) != 2 else ["api", "default"]
        assert Client().get("/blog/").json()["new"] == expected


def test_blocks_inside_of_each_other_pin_what_both_say() -> None:
    module = urlconf(lambda view: pinned(pinned(view), "api"))
    with override_settings(ROOT_URLCONF=module):
        assert Client().get("/blog/").json()["new"] == ["api", "default"]
    assert resolve("/view/", module).func == tell


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("blog.urls",), TypeError, r"include\('blog.urls'\)"),
        (((blog, "blog"),), TypeError, "include"),
        (([7],), TypeError, "path"),
        ((tell, "default-0"), pindb.PinDbConfigError, "write 'default'"),
        ((tell, "nothing"), pindb.PinDbConfigError, "'nothing' is not a master"),
        ((tell, []), TypeError, "aliases='default'"),
        ((tell, "default", "post"), TypeError, r"\['POST'\]"),
        ((i18n_patterns(path("", tell)),), ImproperlyConfigured, "i18n_patterns"),
    ],
)
def test_what_cannot_be_pinned_is_refused(arguments: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        pinned(*arguments)


@override_settings(PINDB_ENABLED=False)
def test_while_pindb_is_off_nothing_is_pinned() -> None:
    with override_settings(ROOT_URLCONF=urlconf(partial(pinned, aliases="of another site"))):
        assert Client().get("/blog/").json()["new"] == []


def test_in_a_transaction_of_the_request_a_pinned_view_reads_the_master(
    paused: PostgresReplicaSet, site: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    Author.objects.using("default").create(name="new")
    assert Client().get("/lazy/read/").json()["used"] == ["default"]
    # Only the view that is exempt opens a transaction of its own.
    assert Client().get("/lazy/exempt/").json()["used"] == ["default"]


# ---- the admin ---------------------------------------------------------------------------------


admin_site = AdminSite()
admin_site.register([Author, Book])

ADMIN: dict[str, Any] = {
    "INSTALLED_APPS": [
        *settings.INSTALLED_APPS,
        "django.contrib.admin.apps.SimpleAdminConfig",
        "django.contrib.messages",
    ],
    "MIDDLEWARE": [*settings.MIDDLEWARE, "django.contrib.messages.middleware.MessageMiddleware"],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    "DATABASE_ROUTERS": ["pindb.StrictPinDbRouter"],
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "PINDB_UNPINNED_MODELS": ["sessions.Session"],
}


@pytest.fixture(scope="module")
def admin_tables() -> Iterator[None]:
    with override_settings(**ADMIN), pindb.master("default"):
        call_command("migrate", "admin", database="default", skip_checks=True, verbosity=0)
        # The content types of the admin's models are looked up on replicas that stand still.
        SERVERS.wait_until_caught_up()
    yield
    # Tables that no installed app has keep others from being flushed.
    with override_settings(**ADMIN), pindb.master("default"):
        call_command("migrate", "admin", "zero", database="default", skip_checks=True, verbosity=0)


@pytest.fixture
def staff(admin_tables: None, servers: PostgresReplicaSet) -> Iterator[Client]:
    """Somebody who may do everything, not logged in yet, on replicas that stand still."""
    ContentType.objects.clear_cache()
    with override_settings(**ADMIN), pindb.master("default"):
        get_user_model().objects.create_superuser("ann", password="secret")
    pause_all(servers)
    with override_settings(**ADMIN):
        yield Client()
    ContentType.objects.clear_cache()


def admin_at(arrange: Any) -> override_settings:
    module: Any = ModuleType("urlconf")
    vars(module)["urlpatterns"] = [path("admin/", arrange(admin_site.urls))]
    return override_settings(ROOT_URLCONF=module)


def test_the_admin_works_under_strict_and_shows_whoever_uses_it_their_writes(staff: Client) -> None:
    def post(url: str, **data: Any) -> str:
        response = staff.post(url, data, follow=True)
        assert response.status_code == 200
        assert "errornote" not in response.content.decode()
        return str(response.content.decode())

    def get(url: str) -> str:
        response = staff.get(url)
        assert response.status_code == 200
        return str(response.content.decode())

    authors = "/admin/testapp/author/"
    with admin_at(pinned):
        assert "Site administration" in post("/admin/login/?next=/admin/", username="ann", password="secret")
        get(f"{authors}add/")
        for name in ("first", "second", "third"):
            assert "was added successfully" in post(f"{authors}add/", name=name)
        assert "3 authors" in get(authors)
        first, second, third = Author.objects.using("default").order_by("pk")
        assert "was changed successfully" in post(f"{authors}{first.pk}/change/", name="changed")
        assert 'value="changed"' in get(f"{authors}{first.pk}/change/")
        assert "Changed Name" in get(f"{authors}{first.pk}/history/")
        books = "/admin/testapp/book/"
        assert "0 books" in get(books)
        tag = Tag.objects.using("default").create(name="tag")
        post(f"{books}add/", title="a book", author=first.pk, tags=tag.pk)
        assert "1 book" in get(books)
        assert f"Author object ({second.pk})" in get(f"{authors}{second.pk}/delete/")
        assert "2 authors" in post(f"{authors}{second.pk}/delete/", post="yes")
        selected = {"action": "delete_selected", "_selected_action": [first.pk, third.pk]}
        assert "Book object" in post(authors, **selected)
        assert "0 authors" in post(authors, **selected, post="yes")
        assert "0 books" in get(books)
        assert "Log in" in post("/admin/logout/") or "Logged out" in get("/admin/login/")
    assert not Author.objects.using("default").exists()


def test_without_pins_the_admin_cannot_write_under_strict(staff: Client) -> None:
    with admin_at(lambda view: view), pytest.raises(pindb.UnpinnedWriteException):
        staff.post("/admin/login/?next=/admin/", {"username": "ann", "password": "secret"})


def test_others_who_use_the_admin_read_the_replicas(staff: Client) -> None:
    with admin_at(partial(pinned, methods="unsafe")):
        staff.post("/admin/login/", {"username": "ann", "password": "secret"})
        staff.post("/admin/testapp/author/add/", {"name": "new"})
        assert "1 author" in staff.get("/admin/testapp/author/").content.decode()
        staff.cookies.pop("pindb_pinned_set")
        assert "0 authors" in staff.get("/admin/testapp/author/").content.decode()
