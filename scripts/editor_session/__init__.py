"""An editor's work on a Wagtail site, with pindb and real replicas."""
