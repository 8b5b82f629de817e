"""What is looked at and how it is altered: manifests, splits, point layouts, sampling, pixels and points, the loader."""
