"""A small Wagtail site."""
