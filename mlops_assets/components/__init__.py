"""The Dagster Components that this package offers to its own and to other people's dg projects."""

from mlops_assets.components.model_pipeline import ModelPipeline

__all__ = ["ModelPipeline"]
