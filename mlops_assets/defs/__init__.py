"""The models of this deployment: one folder each, with defs.yaml, sql/ and perhaps train.py."""
