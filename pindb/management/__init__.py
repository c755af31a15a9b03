"""The management command ``manage.py pindb``, and pins for management commands.

Private.
"""
