"""What `manage.py pindb` needs."""
