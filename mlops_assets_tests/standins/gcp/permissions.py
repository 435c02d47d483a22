"""The permissions that Google's documentation names for each method: what deploy/gcp allows is held to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_assets_tests.standins.gcp.bigquery_jobs import KINDS
from mlops_assets_tests.standins.gcp.bigquery_script import statements

# May be asked by everybody, or by whoever may ask what they belong to.
_FREE = ("oauth2.token", "storage.batch", "storage.objects.insertChunk", "storage.objects.cancelInsert")
_ACT_AS = "iam.serviceAccounts.actAs"
METHODS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(_FREE, ()),
    "storage.buckets.get": ["storage.buckets.get"],
    "storage.buckets.getStorageLayout": ["storage.objects.list"],
    "storage.objects.list": ["storage.objects.list"],
    "storage.objects.get": ["storage.objects.get"],
    # Deletion is for what is written over.
    "storage.objects.insert": ["storage.objects.create", "storage.objects.delete"],
    "storage.objects.compose": ["storage.objects.create", "storage.objects.delete", "storage.objects.get"],
    "storage.objects.copy": ["storage.objects.create", "storage.objects.delete", "storage.objects.get"],
    "storage.objects.rewrite": ["storage.objects.create", "storage.objects.delete", "storage.objects.get"],
    "storage.objects.patch": ["storage.objects.get", "storage.objects.update"],
    "storage.objects.delete": ["storage.objects.delete"],
    "pubsub.projects.subscriptions.pull": ["pubsub.subscriptions.consume"],
    "pubsub.projects.subscriptions.acknowledge": ["pubsub.subscriptions.consume"],
    "pubsub.projects.subscriptions.modifyAckDeadline": ["pubsub.subscriptions.consume"],
    "logging.entries.list": ["logging.logEntries.list"],
    "bigquery.datasets.insert": ["bigquery.datasets.create"],
    "bigquery.datasets.get": ["bigquery.datasets.get"],
    "bigquery.tables.insert": ["bigquery.tables.create"],
    "bigquery.tables.list": ["bigquery.tables.list"],
    "bigquery.tables.get": ["bigquery.tables.get"],
    "bigquery.tables.patch": ["bigquery.tables.update", "bigquery.tables.get"],
    "bigquery.tables.delete": ["bigquery.tables.delete"],
    "bigquery.tabledata.list": ["bigquery.tables.getData"],
    "bigquery.tabledata.insertAll": [
        "bigquery.tables.updateData",
        "bigquery.tables.get",
        "bigquery.datasets.get",
    ],
    "bigquery.jobs.insert": ["bigquery.jobs.create"],
    "bigquery.jobs.query": ["bigquery.jobs.create"],
    # Of jobs that the caller made; nobody here asks for other people's.
    "bigquery.jobs.get": ["bigquery.jobs.create"],
    "bigquery.jobs.cancel": ["bigquery.jobs.create"],
    "bigquery.jobs.getQueryResults": ["bigquery.jobs.create", "bigquery.tables.getData"],
    "aiplatform.CreateCustomJob": ["aiplatform.customJobs.create", _ACT_AS],
    "aiplatform.GetCustomJob": ["aiplatform.customJobs.get"],
    "aiplatform.ListCustomJobs": ["aiplatform.customJobs.list"],
    "aiplatform.CancelCustomJob": ["aiplatform.customJobs.cancel"],
    "aiplatform.CreateBatchPredictionJob": ["aiplatform.batchPredictionJobs.create", _ACT_AS],
    "aiplatform.GetBatchPredictionJob": ["aiplatform.batchPredictionJobs.get"],
    "aiplatform.ListBatchPredictionJobs": ["aiplatform.batchPredictionJobs.list"],
    "aiplatform.CancelBatchPredictionJob": ["aiplatform.batchPredictionJobs.cancel"],
    # What starts an operation asks for it too, which is allowed with the resource's `get`.
    "aiplatform.GetOperation": [],
    "aiplatform.UploadModel": ["aiplatform.models.upload", "aiplatform.models.get"],
    "aiplatform.GetModel": ["aiplatform.models.get"],
    "aiplatform.ListModelVersions": ["aiplatform.models.list"],
    "aiplatform.UpdateModel": ["aiplatform.models.update"],
    "aiplatform.MergeVersionAliases": ["aiplatform.models.update"],
    "aiplatform.ImportModelEvaluation": ["aiplatform.modelEvaluations.import"],
    "aiplatform.ListModelEvaluations": ["aiplatform.modelEvaluations.list"],
    "aiplatform.CreateMetadataStore": ["aiplatform.metadataStores.create", "aiplatform.metadataStores.get"],
    "aiplatform.CreateContext": ["aiplatform.contexts.create"],
    "aiplatform.GetContext": ["aiplatform.contexts.get"],
    "aiplatform.UpdateContext": ["aiplatform.contexts.update"],
    "aiplatform.AddContextChildren": ["aiplatform.contexts.addContextChildren"],
    "aiplatform.AddContextArtifactsAndExecutions": ["aiplatform.contexts.addContextArtifactsAndExecutions"],
    "aiplatform.CreateArtifact": ["aiplatform.artifacts.create"],
    "aiplatform.CreateExecution": ["aiplatform.executions.create"],
    "aiplatform.AddExecutionEvents": ["aiplatform.executions.addExecutionEvents"],
    "aiplatform.CreateEndpoint": ["aiplatform.endpoints.create", "aiplatform.endpoints.get"],
    "aiplatform.GetEndpoint": ["aiplatform.endpoints.get"],
    "aiplatform.ListEndpoints": ["aiplatform.endpoints.list"],
    "aiplatform.UpdateEndpoint": ["aiplatform.endpoints.update"],
    "aiplatform.DeployModel": ["aiplatform.endpoints.deploy", "aiplatform.endpoints.get", _ACT_AS],
    "aiplatform.UndeployModel": ["aiplatform.endpoints.undeploy", "aiplatform.endpoints.get"],
    "aiplatform.DeleteEndpoint": ["aiplatform.endpoints.delete", "aiplatform.endpoints.get"],
    "aiplatform.RawPredict": ["aiplatform.endpoints.predict"],
}
"""Method -> what it needs, in the stand-in's names of methods, which are Google's."""

_READING = ["bigquery.tables.getData"]
_CHANGING = [*_READING, "bigquery.tables.updateData"]
_REPLACING = ["bigquery.tables.create", "bigquery.tables.update"]
WORK: Mapping[str, Sequence[str]] = {
    # BigQuery reads and writes a bucket's objects in the name of whoever starts the job.
    "load": [
        *("bigquery.tables.create", "bigquery.tables.update", "bigquery.tables.updateData"),
        *("storage.buckets.get", "storage.objects.get", "storage.objects.list"),
    ],
    "extract": ["bigquery.tables.export", "storage.objects.create", "storage.objects.delete"],
    "destination": ["bigquery.tables.create", "bigquery.tables.updateData"],
    "BEGIN": [],
    "COMMIT": [],
    "ASSERT": _READING,
    "SELECT": _READING,
    "WITH": _READING,
    "INSERT": _CHANGING,
    "DELETE": _CHANGING,
    "MERGE": _CHANGING,
    "CREATE OR REPLACE TABLE": [*_REPLACING, *_CHANGING],
    "CREATE OR REPLACE VIEW": [*_REPLACING, *_READING],
    "CREATE OR REPLACE MATERIALIZED VIEW": [*_REPLACING, *_READING],
    "ALTER TABLE": ["bigquery.tables.get", "bigquery.tables.update"],
}
"""What a job of BigQuery does, by its kind or by how a statement begins -> what that needs beside the job."""

ROLES: Mapping[str, Collection[str]] = {
    "roles/storage.objectViewer": ["storage.objects.get", "storage.objects.list"],
    "roles/storage.objectCreator": ["storage.objects.create"],
    "roles/storage.objectUser": [
        *("storage.objects.create", "storage.objects.delete", "storage.objects.get"),
        *("storage.objects.list", "storage.objects.update"),
    ],
    "roles/storage.legacyBucketReader": ["storage.buckets.get", "storage.objects.list"],
    "roles/iam.serviceAccountUser": [_ACT_AS],
}
"""Of Google's own roles, what a method here may need."""


@dataclass(frozen=True)
class Asked:
    """What somebody needed, and for which method or work.

    Attributes:
        permission: empty where the tables do not know the method.
    """

    caller: str
    method: str
    permission: str


def needed(calls: Iterable[tuple[str, str]]) -> Iterator[Asked]:
    """What calls needed, each a caller with a method or a job's work; what needs nothing is left out."""
    known = {**METHODS, **WORK}
    for caller, method in calls:
        for permission in known.get(method, [""]):
            yield Asked(caller, method, permission)


def work_of(configuration: Mapping[str, Any]) -> Iterator[str]:
    """What a job of BigQuery does, as `WORK` has it, by its configuration; else the words themselves."""
    kind = next(kind for kind in KINDS if kind in configuration)
    if kind != "query":
        yield kind
        return
    query = configuration["query"]
    if "destinationTable" in query:
        yield "destination"
    for statement in statements(query["query"]):
        text = " ".join(statement.split())
        yield next((known for known in WORK if text.upper().startswith(f"{known} ")), text[:80])
