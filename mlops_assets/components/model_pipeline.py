"""ModelPipeline: the Component behind `type: mlops_assets.components.ModelPipeline` in a defs.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import dagster as dg
from pydantic import BaseModel

from mlops_assets.components.scaffolding import ModelPipelineScaffolder
from mlops_assets.declaration.loading import FILE, complete
from mlops_assets.declaration.schema import ModelDeclaration
from mlops_assets.declaration.source import Source, read_source
from mlops_assets.errors import DeclarationError
from mlops_assets.settings import current_settings


@dg.scaffold_with(ModelPipelineScaffolder)
class ModelPipeline(dg.Component):
    """A model from arriving files to a served version, declared once.

    Arrivals, SQL tables, dataset, candidate, evaluation, gates, registered model, endpoint and monitoring
    become Dagster assets, checks, sensors and jobs, on the platform that MLOPS_PLATFORM names.

    Args:
        declaration: what defs.yaml says under `attributes`.

    """

    def __init__(self, declaration: ModelDeclaration) -> None:
        self.declaration = declaration

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The schema of `attributes`, for `dg check yaml` and editors."""
        return ModelDeclaration

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """What `dg list components` says."""
        return dg.ComponentTypeSpec(
            description=cls.__doc__.splitlines()[0] if cls.__doc__ else None,
            tags=["machine-learning"],
            produces=["asset", "asset_check", "job", "sensor", "schedule", "resource"],
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:  # noqa: ARG003
        """The component of validated attributes. Values are taken as they are: templates are not rendered.

        Raises:
            DeclarationError: where there are no attributes.

        """
        if not isinstance(attributes, ModelDeclaration):
            raise DeclarationError(
                "The model is not declared.", where=FILE, mend="Write its declaration under `attributes:`."
            )
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Everything that the model becomes, with the resources of the chosen platform.

        Raises:
            DeclarationError: naming file, line and mend of every mistake.

        """
        from mlops_assets.pipeline.build import model_defs
        from mlops_assets.platforms.binding import resources

        folder = context.path if context.path.is_dir() else context.path.parent
        loaded = complete(
            self.declaration,
            folder,
            _positions(folder / FILE),
            allowed_estimators=current_settings().allowed_estimators,
            cache=current_settings().parse_cache,
        )
        return dg.Definitions.merge(model_defs(loaded), dg.Definitions(resources=resources()))


def _positions(path: Path) -> Source:
    """Lines for messages; none for what this package's reader does not take, such as several documents."""
    empty: Any = Source(path, None)
    if not path.is_file():
        return empty
    try:
        return read_source(path)
    except DeclarationError:
        return empty
