"""I/O managers for assets that people write themselves: tables, datasets and models, on any platform.

What is stored and loaded follows the annotation. See docs/io_managers.md.
"""

from mlops_assets.io_managers.datasets import DatasetIOManager, dataset_io_manager
from mlops_assets.io_managers.models import ModelIOManager, model_io_manager
from mlops_assets.io_managers.tables import TableIOManager, table_io_manager

__all__ = [
    "DatasetIOManager",
    "ModelIOManager",
    "TableIOManager",
    "dataset_io_manager",
    "model_io_manager",
    "table_io_manager",
]
