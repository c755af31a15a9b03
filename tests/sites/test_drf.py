"""Clients of Django REST framework that have a token and keep no cookies, while replicas lag."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core import signing
from django.core.cache import caches
from django.http import HttpRequest
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework import generics, serializers
from rest_framework.authentication import TokenAuthentication
from rest_framework.authtoken.views import obtain_auth_token
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIClient

from pindb.stores import token_key
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import pause_all
from tests.testapp.models import Author
from tests.testapp.views import report

LOCAL = "django.core.cache.backends.locmem.LocMemCache"
# What docs/how-to/rest-framework.md tells a site with an API to write.
RECIPE: dict[str, Any] = {
    "PINDB_PIN_STORE": "pindb.stores.CacheStore",
    "PINDB_PIN_CACHE_KEY": "pindb.stores.token_key",
    "PINDB_UNPINNED_MODELS": ["sessions.Session", "authtoken.Token"],
}
BOTH = pytest.mark.parametrize("scheme", ["Token", "Bearer"])


class SignedAuthentication(TokenAuthentication):  # type: ignore[misc]
    """Finds the user in a signed token, as with JSON Web Tokens: no database is asked."""

    keyword = "Bearer"

    def authenticate_credentials(self, key: str) -> tuple[User, str]:
        return User(pk=signing.loads(key)["user"]), key


@api_view(["GET", "POST"])
@authentication_classes([TokenAuthentication, SignedAuthentication])
@permission_classes([IsAuthenticated])
def authors(request: Any) -> Response:
    if request.method == "POST":
        Author.objects.create(name="written")
    return Response(report(list(Author.objects.all())))


class AuthorSerializer(serializers.ModelSerializer):  # type: ignore[misc]
    class Meta:
        model = Author
        fields = ["name"]


class AuthorView(generics.CreateAPIView):  # type: ignore[misc]
    """Validates that a name is not taken yet."""

    queryset = Author.objects.all()
    serializer_class = AuthorSerializer
    authentication_classes = [TokenAuthentication]


urlpatterns = [
    path("token/", obtain_auth_token),
    path("authors/", authors),
    path("names/", AuthorView.as_view()),
]


@pytest.fixture
def site(servers: PostgresReplicaSet) -> Iterator[None]:
    """Two users that replicas know, replicas that replay nothing any more, and an empty cache."""
    cache = {"default": {"BACKEND": LOCAL, "LOCATION": "tokens"}}
    # Hashes that take no time.
    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    with override_settings(ROOT_URLCONF=__name__, CACHES=cache, PASSWORD_HASHERS=hashers, **RECIPE):
        for name in ("ann", "bob"):
            get_user_model().objects.create_user(name, password="secret")
        pause_all(servers)
        caches["default"].clear()
        yield


on_site = pytest.mark.usefixtures("site")


def new_token(name: str, scheme: str = "Token") -> str:
    if scheme == "Bearer":
        return signing.dumps({"user": User.objects.using("default").get(username=name).pk})
    answer = APIClient().post("/token/", {"username": name, "password": "secret"})
    assert answer.status_code == 200
    return str(answer.data["token"])


def call(method: str, token: str, scheme: str = "Token") -> Any:
    """One request of a client that keeps nothing but its token."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"{scheme} {token}")
    return getattr(client, method)("/authors/")


@on_site
@BOTH
def test_a_fresh_token_is_valid_at_once(scheme: str) -> None:
    assert call("get", new_token("ann", scheme), scheme).status_code == 200


@on_site
def test_a_token_that_is_read_from_replicas_is_not() -> None:
    with override_settings(PINDB_UNPINNED_MODELS=["sessions.Session"]):
        assert call("get", new_token("ann")).status_code == 401


@on_site
@BOTH
def test_who_writes_with_a_token_reads_it_and_nobody_else_is_pinned(scheme: str) -> None:
    ann, bob = new_token("ann", scheme), new_token("bob", scheme)
    answer = call("post", ann, scheme)
    assert (answer.status_code, answer.data["names"]) == (200, ["written"])
    assert answer.cookies == {}
    assert call("get", ann, scheme).data["names"] == ["written"]
    others = call("get", bob, scheme)
    assert (others.status_code, others.data["names"], others.data["pinned"]) == (200, [], [])


@on_site
@pytest.mark.parametrize("router", ["pindb.GreedyPinDbRouter", "pindb.StrictPinDbRouter"])
def test_pinned_by_method_a_serializer_validates_against_the_master(router: str) -> None:
    ann, bob = new_token("ann"), new_token("bob")

    def create(token: str) -> Any:
        client = APIClient(raise_request_exception=False)
        client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
        return client.post("/names/", {"name": "taken"})

    middleware = ["pindb.middleware.PinDbMiddleware", "pindb.middleware.PinUnsafeMethodsMiddleware"]
    with override_settings(MIDDLEWARE=middleware, DATABASE_ROUTERS=[router]):
        assert create(ann).status_code == 201
        assert create(bob).status_code == 400
    caches["default"].clear()
    with override_settings(MIDDLEWARE=middleware[:1], DATABASE_ROUTERS=[router]):
        assert create(bob).status_code == 500


@on_site
def test_the_default_key_loses_the_pins_of_a_token() -> None:
    token = new_token("ann")
    with override_settings(PINDB_PIN_CACHE_KEY="pindb.stores.user_key"):
        call("post", token)
        assert call("get", token).data["names"] == []


@on_site
def test_a_token_is_not_kept_in_the_cache() -> None:
    token = new_token("ann")
    call("post", token)
    cache: Any = caches["default"]
    assert len(cache._cache) == 1
    assert token not in repr(cache._cache)


@on_site
def test_an_invalid_token_gets_no_further_than_the_api_lets_it() -> None:
    call("post", new_token("ann"))
    assert call("get", "nonsense").status_code == 401
    assert call("post", "nonsense").status_code == 401
    assert len(caches["default"]._cache) == 1  # type: ignore[attr-defined]


@on_site
@pytest.mark.parametrize(
    "header", ["Token " + "x" * 1_000_000, "Token zo\u00eb", "Bearer \u00ff", "Token", " "]
)
def test_an_absurd_header_does_no_harm(header: str) -> None:
    client = Client(raise_request_exception=True)
    for url in ("/authors/", "/token/"):
        answer = client.get(url, headers={"Authorization": header})
        assert answer.status_code in (401, 405)


def test_who_has_no_token_has_the_pins_of_their_session() -> None:
    request = RequestFactory().get("/")
    assert token_key(request) is None
    request.user = SimpleNamespace(pk=7, is_authenticated=True)  # type: ignore[assignment]
    assert token_key(request) == "7"


# ---- the key -----------------------------------------------------------------------------------


def asked_with(header: str) -> HttpRequest:
    return RequestFactory().get("/", headers={"Authorization": header})


def key_of(header: str) -> str | None:
    return token_key(asked_with(header))


def test_a_token_and_a_user_of_the_same_name_are_two_owners() -> None:
    request, by_session = asked_with("Token abc"), RequestFactory().get("/")
    by_session.user = request.user = SimpleNamespace(pk="abc", is_authenticated=True)  # type: ignore[assignment]
    assert token_key(by_session) == "abc"
    assert token_key(request) == key_of("Token abc") not in (None, "abc", "Token abc")


word = st.text(st.characters(exclude_characters=' ,"', exclude_categories=["Z", "C"]), min_size=1)


@given(word, word)
def test_no_two_tokens_have_one_key(first: str, second: str) -> None:
    assert (key_of(f"Token {first}") == key_of(f"Token {second}")) == (first == second)
    assert key_of(f"Token {first}") != key_of(f"Bearer {first}")
    assert key_of(f"TOKEN  {first}") == key_of(f"token {first}")


@given(st.text(max_size=60))
@example("Token \u4f60\udc80")
def test_any_header_has_a_key_or_none(header: str) -> None:
    key = key_of(header)
    assert key is None or (len(key) == len(key_of("Token x") or "") and key.isascii())


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Token",
        "Token a b",
        'Digest username="ann",nonce="1"',
        'Token token="a"',
        "OAuth oauth_nonce=1,oauth_token=2",
        "Negotiate YII=",
        "NTLM TlRM",
    ],
)
def test_what_differs_in_each_request_is_no_key(header: str) -> None:
    assert key_of(header) is None


def test_basic_credentials_are_a_key_in_which_nobody_can_read_them() -> None:
    credentials = base64.b64encode(b"ann:secret").decode()
    key = key_of(f"Basic {credentials}")
    assert key is not None
    with override_settings(SECRET_KEY="another site's"):
        assert key_of(f"Basic {credentials}") != key
