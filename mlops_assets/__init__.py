"""A model declared once, carried through its whole life as Dagster assets."""

__version__ = "0.1.0"
