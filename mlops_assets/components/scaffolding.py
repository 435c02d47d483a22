"""What `dg scaffold defs mlops_assets.components.ModelPipeline NAME` writes: a start that loads and runs."""

from __future__ import annotations

import re
from string import Template

import dagster as dg

from mlops_assets.declaration.checking import TAKEN
from mlops_assets.declaration.loading import FILE
from mlops_assets.errors import DeclarationError

_DEFS = Template("""\
# $name: a model from arriving files to a served version.
#
# This start works as it is, on made-up rows. To see it run, from the folder with pyproject.toml:
#
#   mkdir -p .mlops/store/landing/$name
#   awk 'BEGIN { srand(1); print "id,seen_at,amount,kind,target"
#     for (i = 1; i <= 500; i++) { a = rand() * 100; k = rand() < 0.5
#       printf "%d,2026-01-%02d 12:00:00,%.2f,%s,%.2f\\n", i, 1 + i % 28, a, k ? "new" : "old", 2 * a + 30 * k
#     } }' > .mlops/store/landing/$name/example.csv
#   dg dev      # switch on the sensor ${name}_landing, or materialise the job $name
#
# Then make it yours: columns, SQL, target, gates. `dg check defs` names file, line and mend of a mistake.
type: $type

attributes:
  name: $name

  # What arrives: files below .mlops/store/landing/$name/, with these columns.
  # {type: float, source: Amount} where the file calls a column something else.
  # Types: int, float, bool, string, timestamp, date.
  arrivals:
    prefix: landing/$name/
    format: csv
    columns:
      id: int
      seen_at: timestamp
      amount: float
      kind: string
      target: float
    # A row that breaks a check goes to quarantine with the reason.
    checks:
      - {column: id, not_null: true}
      - {column: amount, min: 0}
      - {column: target, not_null: true}

  # One SELECT per file; every file is a table, and an asset.
  tables: sql/

  # The training dataset: a table, cut in three. A key never changes its split.
  dataset:
    from: features
    split: {by: hash, key: id, train: 0.6, validation: 0.2, test: 0.2}

  # regression or classification; any estimator of scikit-learn by name, or `program: train.py`.
  training:
    task: regression
    target: target
    estimator: sklearn.ensemble.HistGradientBoostingRegressor

  # What it must reach before a registry takes it.
  gates:
    - {metric: rmse, baseline: {better_by: 0.1}}
    - {metric: rmse, champion: {tolerance: 0.02}}

  # automatic: what passes its gates serves; manual: a person says so.
  registry: {approval: automatic}
""")

_SQL = """\
-- materialized: table
-- description: What the model sees, with the target that it learns; the latest row of each id.
SELECT id, amount, kind, target
FROM arrivals
QUALIFY row_number() OVER (PARTITION BY id ORDER BY seen_at DESC, _object DESC, _row DESC) = 1
"""


class ModelPipelineScaffolder(dg.Scaffolder):
    """Writes defs.yaml and sql/features.sql, named after the folder."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """Write the start into the requested folder.

        Raises:
            DeclarationError: for the Python format, or where there is a defs.yaml already.

        """
        if request.scaffold_format != "yaml":
            raise DeclarationError(
                "A model is declared in YAML.",
                where=str(request.target_path),
                mend="Leave out --format python.",
            )
        folder = request.target_path
        if request.append or (folder / FILE).exists():
            raise DeclarationError(
                f"There is a {FILE} already; a model has a folder of its own.",
                where=str(folder),
                mend="Choose another name.",
            )
        (folder / "sql").mkdir(parents=True, exist_ok=True)
        (folder / "sql" / "features.sql").write_text(_SQL, encoding="utf-8")
        text = _DEFS.substitute(name=model_name(folder.name), type=request.type_name)
        (folder / FILE).write_text(text, encoding="utf-8")


def model_name(folder: str) -> str:
    """A model's name from a folder's: lower case, letters, digits and underscores.

    >>> model_name("Churn-2026")
    'churn_2026'
    """
    name = re.sub(r"[^a-z0-9]+", "_", folder.lower()).strip("_")
    if not name or not name[0].isalpha() or name in TAKEN:
        name = f"model_{name}".rstrip("_")
    return name[:63]
