"""The notice board: list, post, edit and thank for notices."""
