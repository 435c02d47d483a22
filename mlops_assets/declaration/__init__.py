"""What a user writes: defs.yaml, SQL and train.py, parsed and validated with the place of every mistake.

Below `pipeline` and `components`, which both read it. Imports neither Dagster nor a data library at
module level.
"""

from mlops_assets.declaration.schema import ModelDeclaration

__all__ = ["ModelDeclaration"]
