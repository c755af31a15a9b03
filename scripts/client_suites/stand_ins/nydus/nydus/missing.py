"""What Nydus is made of inside, and pindb is not."""


def missing(name):
    """Something that can be imported, and not be used."""

    class Missing:
        def __init__(self, *args, **kwargs):
            raise NotImplementedError(f"pindb has no {name}.")

    return Missing
