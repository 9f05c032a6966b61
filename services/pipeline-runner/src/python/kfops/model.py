"""`materialize_model`: kept so that pipelines of Kfops 1 keep their shape; the pipeline runner copies the model itself."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def materialize_model(model: dsl.Input[dsl.Model], model_bucket_name: str = ""):
    """Names the artifact that is the model."""
    print(f"the artifact {model.name} is copied to the model store when the run has succeeded")
