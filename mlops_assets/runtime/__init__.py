"""The program inside a training, evaluation or serving process: plain Python on local files.

Imports `artifacts` and `errors` of this package and data libraries; never Dagster, a cloud SDK or the
settings.
"""
