"""The form that notices are written in."""

from __future__ import annotations

from django import forms

from testproject.board.models import Notice

__all__ = ["NoticeForm"]


class NoticeForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for type checkers alone
    """Title and text of a notice."""

    class Meta:
        model = Notice
        fields = ["title", "body"]
        labels = {"body": "Text"}
        widgets = {"body": forms.Textarea(attrs={"rows": 6})}
