"""A stand-in for the API server of Kubeflow Pipelines 2.17 (REST, v2beta1): answers as it does and runs with kfp.local."""
