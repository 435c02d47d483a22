"""Google Cloud on 127.0.0.1, for its real clients.

`server` starts and stops it; `web` is what every API is made of (routes named by Google's own method ids,
errors in Google's shape), `faults` makes calls fail, `identity` are the service accounts that clients log in
as, `permissions` what IAM would demand for the calls. `fixtures` are pytest's.

Cloud Storage: `objects` keeps them, `uploads` takes them in, `storage` is its JSON API, `batch` many calls of
it in one. `pubsub` is Pub/Sub (over REST alone), which buckets notify of what is written and deleted.

BigQuery: `bigquery` is its API, `bigquery_jobs` what runs, `bigquery_script` runs SQL by DuckDB; names of
tables are found by `bigquery_names` in `bigquery_catalogue`, partitions read by `bigquery_layout`, objects
loaded and extracted by `bigquery_transfers`, values written by `bigquery_values`.

Vertex AI: `vertex` says which area serves which operation of those that `vertex_routes` takes from the SDK's
own tables. `vertex_jobs` are jobs, run by `vertex_execution` in a `vertex_container`; `vertex_batch` are
batch predictions, made by the containers (`vertex_serving`) that `vertex_endpoints` deploys too;
`vertex_metadata` is ML Metadata, and with it Experiments.
"""
