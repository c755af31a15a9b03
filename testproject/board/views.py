"""The pages, and three ways to write: without a word, with a declaration, and in a block.

`post` leaves it to the router: Greedy pins at the write, Strict refuses it. `edit` declares its write, so
both let it pass. `thank` writes in a block of `pindb.master`, which pins nothing.
"""

from __future__ import annotations

import os

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import cache_page
from django.views.decorators.http import require_POST

import pindb
from testproject import servers
from testproject.board.forms import NoticeForm
from testproject.board.models import Notice

__all__ = ["board", "change_server", "edit", "post", "poster", "thank"]


def board(request: HttpRequest) -> HttpResponse:
    """All notices, from a replica unless the visitor is pinned."""
    notices = list(Notice.objects.select_related("author"))
    return render(request, "board/board.html", {"notices": notices})


@cache_page(60)
def poster(request: HttpRequest) -> HttpResponse:
    """All notices, to print out: the same page for everybody, a minute old at the most."""
    return render(request, "board/poster.html", {"notices": list(Notice.objects.all())})


@login_required
def post(request: HttpRequest) -> HttpResponse:
    """A new notice. Says nothing to pindb: what happens is up to the router."""
    form = NoticeForm(request.POST or None)
    if form.is_valid():
        form.instance.author = request.user
        notice = form.save()
        messages.success(request, f"“{notice}” is on the board.")
        return redirect("board")
    return render(request, "board/form.html", {"form": form, "heading": "Post a notice"})


@login_required
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """A changed notice. Declares the write before the first read of what it is going to change."""
    if request.method == "POST":
        pindb.pin("default")
        return _edit(request, pk)
    # Whoever edits starts from the latest text, and has written nothing yet: no pin.
    with pindb.master("default"):
        return _edit(request, pk)


def _edit(request: HttpRequest, pk: int) -> HttpResponse:
    notice = get_object_or_404(Notice, pk=pk)
    if notice.author_id != request.user.pk and not request.user.is_staff:
        raise PermissionDenied("Notices are edited by those who posted them.")
    form = NoticeForm(request.POST or None, instance=notice)
    if form.is_valid():
        form.instance.edited_at = timezone.now()
        form.save()
        messages.success(request, f"“{notice}” is changed.")
        return redirect("board")
    return render(request, "board/form.html", {"form": form, "heading": "Edit the notice"})


@require_POST
def thank(request: HttpRequest, pk: int) -> HttpResponse:
    """One more thanks. What has to be right at once is read in the block; later pages may lag."""
    with pindb.master("default"):
        Notice.objects.filter(pk=pk).update(thanks=F("thanks") + 1)
        notice = get_object_or_404(Notice, pk=pk)
    messages.success(request, f"Thanks for “{notice}”: {notice.thanks} so far.")
    return redirect("board")


@require_POST
def change_server(request: HttpRequest, alias: str) -> HttpResponse:
    """A replica paused, resumed, killed or started, where the demo lets visitors do so."""
    if servers.SOCKET not in os.environ:
        raise Http404("Only the demo starts and stops servers.")
    action = request.POST.get("action", "")
    error, _ = servers.ask(action or "nothing", alias)
    if error:
        messages.error(request, f"{alias}: {error}")
    else:
        messages.success(request, servers.ACTIONS[action].format(alias))
    return redirect("board")
