"""From a file to a declaration: look at it, warn of what misleads a model, write defs.yaml and its SQL."""

from mlops_assets.starting.profile import ColumnProfile, Profile, look
from mlops_assets.starting.warnings import ColumnWarning, warn
from mlops_assets.starting.writer import write

__all__ = ["ColumnProfile", "ColumnWarning", "Profile", "look", "warn", "write"]
