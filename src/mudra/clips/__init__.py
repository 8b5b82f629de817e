"""What is looked at and how it is altered: manifests, splits, layouts, sampling, pixels, the loader."""
