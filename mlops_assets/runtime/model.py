"""LoadedModel: a stored model, verified, loaded and asked. Serving and scoring use nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mlops_assets.artifacts.digest import digest_file
from mlops_assets.errors import ArtifactError, SignatureError
from mlops_assets.runtime.archive import load_archive
from mlops_assets.runtime.casting import model_frame, records_table, select
from mlops_assets.runtime.signature import Signature
from mlops_assets.runtime.threads import PREDICT, threads_for

MODEL_FILE = "model.skops"
SIGNATURE_FILE = "model.json"
# Rows that the estimator sees at once: bounds the memory of scoring, whatever the batch.
CHUNK = 65_536


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to predict.

    >>> model = LoadedModel.load(folder, files=version.files)  # doctest: +SKIP
    >>> model.predict(pa.table({"square_feet": [1200.0]})).column("prediction")  # doctest: +SKIP

    Attributes:
        signature: what it takes and answers (model.json).
        estimator: the fitted scikit-learn pipeline.
    """

    signature: Signature
    estimator: Any

    @classmethod
    def load(
        cls, folder: Path, *, files: Mapping[str, str] | None = None, trusted_types: Sequence[str] = ()
    ) -> LoadedModel:
        """Load the model in `folder`.

        Args:
            folder: holds model.skops and model.json.
            files: file name -> SHA-256 from the registry or the candidate; checked before anything is parsed.
            trusted_types: types by full name that the operator trusts beside ours (MLOPS_TRUSTED_TYPES).

        Raises:
            ArtifactError: where a file is missing or its digest differs.
            UntrustedModelError: where the model file is not a sound skops archive of trusted types.
        """
        if files is not None:
            check_files(folder, files)
        signature = Signature.read(folder / SIGNATURE_FILE)
        return cls(signature, load_archive(folder / MODEL_FILE, trusted_types=trusted_types))

    def predict(self, batch: pa.Table | pa.RecordBatch, *, strict: bool = False) -> pa.Table:
        """Predictions for the rows of `batch`, in order.

        Args:
            batch: any number of rows; columns by feature name or alias, of types that cast to the features'.
            strict: refuse columns that the model does not know, instead of ignoring them.

        Returns:
            Column `prediction`; for a classification `probability_<class>` for each class beside it, where
            the estimator gives probabilities.

        Raises:
            SignatureError: naming the column, and the row where a value is to blame.
        """
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        table = select(table, self.signature, strict=strict)
        starts = range(0, table.num_rows, CHUNK)
        parts = [self.answer(self._frame(table.slice(start, CHUNK), start)) for start in starts]
        return pa.concat_tables(parts) if parts else self.answer_schema.empty_table()

    def predict_records(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Predictions for rows as JSON gives them, as records with the columns of `predict`.

        Raises:
            SignatureError: naming the column and the row.
        """
        return self.predict(records_table(records, self.signature)).to_pylist() if records else []

    def frame(self, batch: pa.Table) -> pd.DataFrame:
        """The frame that the estimator takes for `batch`; SignatureError as in `predict`."""
        return self._frame(select(batch, self.signature), 0)

    @property
    def has_probabilities(self) -> bool:
        """Whether the estimator gives probabilities of classes."""
        return self.signature.task == "classification" and hasattr(self.estimator, "predict_proba")

    @property
    def answer_schema(self) -> pa.Schema:
        """Schema of what `predict` returns."""
        fields = [pa.field("prediction", prediction_type(self.signature))]
        if self.has_probabilities:
            fields += [pa.field(f"probability_{label}", pa.float64()) for label in self.signature.labels]
        return pa.schema(fields)

    def _frame(self, table: pa.Table, first_row: int) -> pd.DataFrame:
        return model_frame(table, self.signature.features, first_row=first_row)

    def answer(self, frame: pd.DataFrame) -> pa.Table:
        """What `predict` returns, for a frame that is cast already."""
        with threads_for(len(frame), PREDICT):
            columns: list[pa.Array] = [
                pa.array(_column(self.estimator.predict(frame)), type=prediction_type(self.signature))
            ]
            if self.has_probabilities:
                columns += [pa.array(column) for column in self._probabilities(frame).T]
        return pa.Table.from_arrays(columns, schema=self.answer_schema)

    def _probabilities(self, frame: pd.DataFrame) -> np.ndarray:
        """Rows x classes, in the signature's order; a class that the estimator never saw has 0."""
        given = np.asarray(self.estimator.predict_proba(frame), dtype=np.float64)
        classes = list(self.signature.target.classes or ())
        known = np.asarray(self.estimator.classes_).tolist()
        if known == classes:
            return given
        aligned = np.zeros((len(frame), len(classes)))
        for position, label in enumerate(known):
            aligned[:, classes.index(label)] = given[:, position]
        return aligned


def prediction_type(signature: Signature) -> pa.DataType:
    """Type of the column `prediction`: that of the classes, or float64."""
    if signature.task == "regression":
        return pa.float64()
    return pa.array(list(signature.target.classes or ())).type


def _column(values: Any) -> np.ndarray:
    """Predictions as one column: some estimators answer rows x 1."""
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise SignatureError(
            f"The estimator answers {array.shape[1:]} values per row.",
            mend="A model has one target: predict one value.",
        )
    return array


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Return where the files a model is loaded from have the given digests.

    Raises:
        ArtifactError: naming the first file that is missing, unlisted or different.
    """
    for name in dict.fromkeys((SIGNATURE_FILE, MODEL_FILE, *files)):
        path = folder / name
        if name not in files:
            raise ArtifactError(
                f"{name} is not among the model's recorded files.", where=name, mend="Train again."
            )
        if not path.is_file():
            raise ArtifactError(f"{name} is missing.", where=str(path), mend="Train again.")
        actual = digest_file(path)
        if actual != files[name]:
            raise ArtifactError(
                f"{name} is not the recorded file: SHA-256 {actual[:12]} instead of {files[name][:12]}.",
                where=str(path),
                mend="Train again, and find out who changed it.",
            )
