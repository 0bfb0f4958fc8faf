"""State in buckets: S3, R2, Google Cloud Storage, Azure Blob Storage. docs/decisions/object-stores.md says how."""
