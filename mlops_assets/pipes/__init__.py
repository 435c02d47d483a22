"""Dagster Pipes clients for remote jobs; those of SageMaker and Vertex AI come with their platforms."""
