"""AWS on 127.0.0.1: moto's server, with SageMaker jobs that really run.

`server` starts and stops it; one module per service area (`jobs`, later `registry` and `endpoints`) says what
SageMaker does, and `limits` what it refuses; `execution`, `container`, `transfers` and `log_stream` run a job
as the service would; `faults` makes calls fail; `fixtures` are pytest's.
"""
