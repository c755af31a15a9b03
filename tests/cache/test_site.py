"""What Django keeps in a cache: sessions, pages, fragments and templates, on three servers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from django.core.cache import cache as default_cache
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import Client, override_settings
from django.urls import path
from django.views.decorators.cache import cache_page, never_cache

from pindb.testing.redis import TestSetup
from tests.cache.tools import settings_of

# So many that each server has some of their sessions, whose keys are chance.
VISITORS = 40
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
TEMPLATES = "django.template.backends.django.DjangoTemplates"
FRAGMENT = "{% load cache %}{% cache 60 fragment name %}{{ numbers.next }} {{ name }}{% endcache %}"

numbers = count()


@never_cache
def visits(request: HttpRequest) -> HttpResponse:
    """How often this visitor has come."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


@cache_page(60)
def page(request: HttpRequest, number: int) -> HttpResponse:
    """Another text each time that it is worked out."""
    return HttpResponse(f"{number}: {next(numbers)}")


def plain(request: HttpRequest, number: int) -> HttpResponse:
    """The same, without a decorator."""
    return page.__wrapped__(request, number)  # type: ignore[attr-defined, no-any-return]


class Numbers:
    """Counts how often a template was worked out."""

    @property
    def next(self) -> int:
        return next(numbers)


def fragment(request: HttpRequest) -> HttpResponse:
    """A page with a part from the cache."""
    template = engines["django"].from_string(FRAGMENT)
    return HttpResponse(template.render({"numbers": Numbers(), "name": request.GET["name"]}, request))


def limited(request: HttpRequest) -> HttpResponse:
    """Three times for each address."""
    address = request.GET["address"]
    default_cache.add(f"limit:{address}", 0, 60)
    return HttpResponse(status=200 if default_cache.incr(f"limit:{address}") <= 3 else 429)


urlpatterns = [
    path("visits/", visits),
    path("page/<int:number>/", page),
    path("plain/<int:number>/", plain),
    path("fragment/", fragment),
    path("limited/", limited),
]


@pytest.fixture(params=["partition", "consistent", "miss"])
def site(request: pytest.FixtureRequest, cache_urls: list[str]) -> Iterator[str]:
    """A site on a cache with that router; "miss" is one whose dead servers are misses."""
    options: dict[str, Any] = {"ROUTER": request.param}
    if request.param == "miss":
        options = {"ON_DOWN": "miss", "RETRY_TIMEOUT": 60}
    with override_settings(
        CACHES={"default": settings_of(cache_urls[:3], options=options)},
        ROOT_URLCONF=__name__,
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        MIDDLEWARE=[SESSIONS],
        TEMPLATES=[{"BACKEND": TEMPLATES}],
        ALLOWED_HOSTS=["testserver"],
    ):
        yield request.param


def sizes(servers: TestSetup) -> list[int]:
    """How many keys each of the three servers has; 0 where it is dead."""
    found = []
    for server in range(3):
        with servers.client(server) as client:
            found.append(client.dbsize() if servers.is_running(server) else 0)
    return found


@pytest.mark.usefixtures("site")
def test_sessions_are_spread_and_found_again(cache_servers: TestSetup) -> None:
    visitors = [Client() for _ in range(VISITORS)]
    for time in range(1, 4):
        assert [visitor.get("/visits/").content for visitor in visitors] == [b"%d" % time] * VISITORS
    assert sum(sizes(cache_servers)) == VISITORS
    assert min(sizes(cache_servers)) > 0


@pytest.mark.usefixtures("site")
def test_sessions_that_are_in_the_database_too_survive_an_empty_cache() -> None:
    with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cached_db"):
        visitor = Client()
        for time in range(1, 5):
            assert visitor.get("/visits/").content == b"%d" % time
            if time == 2:
                default_cache.clear()


@pytest.mark.usefixtures("site")
def test_pages_are_worked_out_once(cache_servers: TestSetup) -> None:
    first = [Client().get(f"/page/{number}/").content for number in range(VISITORS)]
    assert [Client().get(f"/page/{number}/").content for number in range(VISITORS)] == first
    assert len(set(first)) == VISITORS
    # Each has its headers beside it.
    assert sum(sizes(cache_servers)) == 2 * VISITORS
    assert min(sizes(cache_servers)) > 0


@pytest.mark.usefixtures("site")
def test_the_cache_middleware_keeps_whole_sites() -> None:
    middleware = [
        "django.middleware.cache.UpdateCacheMiddleware",
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    with override_settings(MIDDLEWARE=middleware):
        first = [Client().get(f"/plain/{number}/").content for number in range(VISITORS)]
        assert [Client().get(f"/plain/{number}/").content for number in range(VISITORS)] == first


@pytest.mark.usefixtures("site")
def test_fragments_are_worked_out_once_for_each_name(cache_servers: TestSetup) -> None:
    names = [f"name-{number}" for number in range(VISITORS)]
    first = [Client().get("/fragment/", {"name": name}).content for name in names]
    assert [Client().get("/fragment/", {"name": name}).content for name in names] == first
    assert len(set(first)) == VISITORS
    assert sum(sizes(cache_servers)) == VISITORS


@pytest.mark.usefixtures("site")
def test_the_cached_template_loader_and_the_cache_get_along() -> None:
    templates = {"page.html": FRAGMENT}
    loaders = [
        ("django.template.loaders.cached.Loader", [("django.template.loaders.locmem.Loader", templates)])
    ]
    with override_settings(TEMPLATES=[{"BACKEND": TEMPLATES, "OPTIONS": {"loaders": loaders}}]):
        template: Any = engines["django"].get_template("page.html")
        again: Any = engines["django"].get_template("page.html")
        assert again.template is template.template
        request = HttpRequest()
        first = template.render({"numbers": Numbers()}, request)
        assert template.render({"numbers": Numbers()}, request) == first


@pytest.mark.usefixtures("site")
def test_what_is_counted_in_the_cache_counts_for_all() -> None:
    for address in ("10.0.0.1", "10.0.0.2"):
        answers = [Client().get("/limited/", {"address": address}).status_code for _ in range(5)]
        assert answers == [200, 200, 200, 429, 429]


def test_a_site_whose_dead_servers_are_misses_goes_on(site: str, cache_servers: TestSetup) -> None:
    if site != "miss":
        pytest.skip("only where dead servers are misses")
    visitors = [Client() for _ in range(VISITORS)]
    for visitor in visitors:
        visitor.get("/visits/")
    lost = sizes(cache_servers)[1]
    cache_servers.kill(1)
    answers = [visitor.get("/visits/") for visitor in visitors]
    assert {answer.status_code for answer in answers} == {200}
    # Whose session is lost begins anew.
    assert sorted(answer.content for answer in answers) == [b"1"] * lost + [b"2"] * (VISITORS - lost)
    assert 0 < lost < VISITORS
    for number in range(VISITORS):
        assert Client().get(f"/page/{number}/").status_code == 200
