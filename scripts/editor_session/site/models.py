"""Pages with tags and notes, a snippet with tags, and images as Wagtail has them."""

from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from modelcluster.contrib.taggit import ClusterTaggableManager
from modelcluster.fields import ParentalKey
from taggit.managers import TaggableManager
from taggit.models import TaggedItemBase
from wagtail.admin.panels import FieldPanel, InlinePanel
from wagtail.fields import RichTextField
from wagtail.models import (
    DraftStateMixin,
    LockableMixin,
    Orderable,
    Page,
    PreviewableMixin,
    RevisionMixin,
    WorkflowMixin,
)
from wagtail.search import index
from wagtail.snippets.models import register_snippet


class Note(models.Model):
    """A remark on anything."""

    text = models.CharField(max_length=200)
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.CharField(max_length=50)
    subject = GenericForeignKey()


class HomePage(Page):
    template = "site/page.html"


class BlogPageTag(TaggedItemBase):
    content_object = ParentalKey("BlogPage", related_name="tagged_items", on_delete=models.CASCADE)


class BlogPage(Page):
    template = "site/page.html"
    body = RichTextField(blank=True)
    image = models.ForeignKey(
        "wagtailimages.Image", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    tags = ClusterTaggableManager(through=BlogPageTag, blank=True)
    notes = GenericRelation(Note)

    content_panels = [
        *Page.content_panels,
        FieldPanel("body"),
        FieldPanel("image"),
        FieldPanel("tags"),
        InlinePanel("links", label="links"),
    ]
    search_fields = [*Page.search_fields, index.SearchField("body")]


class BlogPageLink(Orderable):
    page = ParentalKey(BlogPage, related_name="links", on_delete=models.CASCADE)
    url = models.URLField()
    panels = [FieldPanel("url")]


@register_snippet
class Advert(
    WorkflowMixin,
    DraftStateMixin,
    LockableMixin,
    RevisionMixin,
    PreviewableMixin,
    index.Indexed,
    models.Model,
):
    text = models.CharField(max_length=200)
    tags = TaggableManager(blank=True)
    notes = GenericRelation(Note)
    _revisions = GenericRelation(
        "wagtailcore.Revision",
        content_type_field="base_content_type",
        object_id_field="object_id",
        related_query_name="advert",
        for_concrete_model=False,
    )
    workflow_states = GenericRelation(
        "wagtailcore.WorkflowState",
        content_type_field="base_content_type",
        object_id_field="object_id",
        related_query_name="advert",
        for_concrete_model=False,
    )

    panels = [FieldPanel("text"), FieldPanel("tags")]
    search_fields = [index.SearchField("text"), index.AutocompleteField("text")]

    @property
    def revisions(self):
        return self._revisions

    def __str__(self):
        return self.text
