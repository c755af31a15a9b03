"""django-redis's own tests, on its own client and on pindb's, compared test by test."""
