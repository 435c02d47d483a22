"""Where everything of one model is found: asset keys, relations, URIs. The only place that spells them."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from mlops_assets.artifacts import ArtifactUri


@dataclass(frozen=True)
class Names:
    """The names of one model's parts, derived from the model's own."""

    model: str

    def asset(self, stage: str) -> dg.AssetKey:
        """Asset key `<model>/<stage>`; a stage is a table or a fixed one (arrivals, dataset, …)."""
        return dg.AssetKey([self.model, stage])

    @property
    def partitions(self) -> str:
        """Name of the dynamic partitions: one per arriving object, its key below the landing prefix."""
        return f"{self.model}_arrivals"

    @property
    def arrivals(self) -> str:
        """Relation of the loaded rows."""
        return self.relation("arrivals")

    @property
    def quarantine(self) -> str:
        """Relation of the rejected rows."""
        return self.relation("arrivals_quarantine")

    @property
    def ledger(self) -> str:
        """Relation with one row per loaded object."""
        return self.relation("arrivals_ledger")

    def relation(self, table: str) -> str:
        """`schema.table`, the model's name as the schema."""
        return f"{self.model}.{table}"

    def datasets(self, root: ArtifactUri) -> ArtifactUri:
        """Folder of datasets, one folder per version."""
        return root.join("datasets", self.model)

    def profile(self, root: ArtifactUri, data: str) -> ArtifactUri:
        """The profile of a training split, by its digest: what drift is measured against."""
        return root.join("profiles", self.model, f"{data}.json")

    def candidates(self, root: ArtifactUri) -> ArtifactUri:
        """Folder of candidates, one folder per recipe."""
        return root.join("candidates", self.model)

    def evaluations(self, root: ArtifactUri) -> ArtifactUri:
        """Folder of evaluations, one folder per candidate and data."""
        return root.join("evaluations", self.model)

    def copied(self, folder: ArtifactUri, digest: str) -> ArtifactUri:
        """Where below the folder of candidates or evaluations one lies that another platform made."""
        return folder.join(f"copied-{digest[:16]}")

    def decision(
        self, root: ArtifactUri, candidate: str, evaluation: str, policy: str, champion: int | None
    ) -> ArtifactUri:
        """The decision record on one candidate, evaluation, policy and champion (all digests cut to 16)."""
        name = f"{evaluation[:16]}-{policy[:16]}-{champion or 0}.json"
        return self.decisions(root, candidate).join(name)

    def decisions(self, root: ArtifactUri, candidate: str) -> ArtifactUri:
        """Folder of the decision records on one candidate."""
        return root.join("decisions", self.model, candidate[:16])

    def memo(self, root: ArtifactUri, stage: str) -> ArtifactUri:
        """Folder of what a stage remembers of its runs."""
        return root.join("memo", self.model, stage)
