"""Assembles one declared model: its assets, checks, jobs, sensors and schedule."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.approval import approval_sensor
from mlops_assets.pipeline.arrivals import arrivals_asset
from mlops_assets.pipeline.candidate import candidate_asset
from mlops_assets.pipeline.dataset import dataset_asset
from mlops_assets.pipeline.deployment import endpoint_asset
from mlops_assets.pipeline.evaluation import evaluation_asset
from mlops_assets.pipeline.gates import gate_checks
from mlops_assets.pipeline.landing import landing_sensor
from mlops_assets.pipeline.monitoring import drift_check
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.registration import registered_model_asset
from mlops_assets.pipeline.tables import table_assets
from mlops_assets.settings import Settings, current_settings

# New data flows through as soon as it is there, but never past a blocking check that did not pass.
FLOW = dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()


def model_defs(loaded: LoadedDeclaration, settings: Settings | None = None) -> dg.Definitions:
    """Everything that the declaration becomes, without resources.

    Args:
        loaded: the declaration with its SQL and program.
        settings: executor and automation; default: this process's.
    """
    settings = settings or current_settings()
    stages: list[dg.AssetsDefinition] = [
        arrivals_asset(loaded),
        *_flowing(
            [
                *table_assets(loaded),
                dataset_asset(loaded),
                candidate_asset(loaded),
                evaluation_asset(loaded),
                registered_model_asset(loaded),
                *([endpoint_asset(loaded)] if loaded.spec.endpoint.enabled else []),
            ]
        ),
    ]
    checks = [gate_checks(loaded), drift_check(loaded)]
    jobs = _jobs(loaded, settings)
    sensors: list[dg.SensorDefinition] = [landing_sensor(loaded), _automation_sensor(loaded, settings)]
    if loaded.spec.endpoint.enabled:
        sensors.append(approval_sensor(loaded))
    return dg.Definitions(
        assets=stages,
        asset_checks=checks,
        jobs=jobs,
        sensors=sensors,
        schedules=_schedules(loaded, settings),
    )


def _flowing(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets with the automation condition; it acts only while the model's automation sensor is on."""
    return [
        asset.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=FLOW))
        for asset in assets
    ]


def _jobs(loaded: LoadedDeclaration, settings: Settings) -> list[dg.JobDefinition]:
    """`<model>`: everything; `<model>_retrain`: dataset to registered model."""
    names = Names(loaded.name)
    everything = dg.AssetSelection.groups(loaded.name)
    retrain = dg.AssetSelection.assets(
        *(names.asset(stage) for stage in ("dataset", "candidate", "evaluation", "registered_model"))
    )
    executor = dg.in_process_executor if settings.executor == "in_process" else dg.multiprocess_executor
    return [
        dg.define_asset_job(  # type: ignore[list-item]
            loaded.name,
            selection=everything,
            executor_def=executor,
            description=f"Everything of {loaded.name}: arriving objects to the served model.",
        ),
        dg.define_asset_job(  # type: ignore[list-item]
            f"{loaded.name}_retrain",
            selection=retrain,
            executor_def=executor,
            description=f"{loaded.name} from the training dataset to the registered model.",
        ),
    ]


def _automation_sensor(loaded: LoadedDeclaration, settings: Settings) -> dg.SensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        f"{loaded.name}_automation",
        target=dg.AssetSelection.groups(loaded.name),
        default_status=dg.DefaultSensorStatus.RUNNING
        if settings.automation
        else dg.DefaultSensorStatus.STOPPED,
        description="When on, new data flows through to the registered model by itself.",
    )


def _schedules(loaded: LoadedDeclaration, settings: Settings) -> list[dg.ScheduleDefinition]:
    if loaded.spec.schedule is None:
        return []
    return [
        dg.ScheduleDefinition(
            name=f"{loaded.name}_retrain_schedule",
            job_name=f"{loaded.name}_retrain",
            cron_schedule=loaded.spec.schedule,
            default_status=dg.DefaultScheduleStatus.RUNNING
            if settings.automation
            else dg.DefaultScheduleStatus.STOPPED,
        )
    ]
