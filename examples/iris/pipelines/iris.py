"""Trains a decision tree on the iris data and says how good it is."""

from kfp import dsl

# Kfops replaces this reference by the digest of the image that was built from the same commit.
TRAINER = "registry.example.com/iris/trainer"


# The image has the KFP SDK, so nothing is installed when a task starts.
@dsl.component(base_image=TRAINER, install_kfp_package=False)
def train(
    max_depth: int,
    features: int,
    test_size: float,
    seed: int,
    model: dsl.Output[dsl.Model],
):
    """Fits the tree on the first `features` measurements and writes it to `model`, a folder with model.joblib."""
    import os

    import joblib
    from sklearn.datasets import load_iris
    from sklearn.model_selection import train_test_split
    from sklearn.tree import DecisionTreeClassifier

    x, y = load_iris(return_X_y=True)
    x_train, _, y_train, _ = train_test_split(
        x[:, :features], y, test_size=test_size, random_state=seed, stratify=y
    )
    classifier = DecisionTreeClassifier(max_depth=max_depth, random_state=seed)
    classifier.fit(x_train, y_train)
    os.makedirs(model.path, exist_ok=True)
    joblib.dump(classifier, os.path.join(model.path, "model.joblib"))
    model.metadata["framework"] = "scikit-learn"
    model.metadata["max_depth"] = max_depth
    print(f"trained on {len(x_train)} flowers, depth {classifier.get_depth()}")


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def evaluate(
    features: int,
    test_size: float,
    seed: int,
    min_accuracy: float,
    model: dsl.Input[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
):
    """Measures the tree on flowers it has not seen; fails when it is too bad to be deployed."""
    import os

    import joblib
    from sklearn.datasets import load_iris
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.model_selection import train_test_split

    x, y = load_iris(return_X_y=True)
    _, x_test, _, y_test = train_test_split(
        x[:, :features], y, test_size=test_size, random_state=seed, stratify=y
    )
    predicted = joblib.load(os.path.join(model.path, "model.joblib")).predict(x_test)
    accuracy = float(accuracy_score(y_test, predicted))
    metrics.log_metric("accuracy", round(accuracy, 4))
    metrics.log_metric("f1_macro", round(float(f1_score(y_test, predicted, average="macro")), 4))
    print(f"accuracy {accuracy:.4f} on {len(x_test)} flowers")
    if accuracy < min_accuracy:
        raise ValueError(f"accuracy {accuracy:.4f} is below min_accuracy {min_accuracy}")


@dsl.pipeline(name="iris", description="A decision tree that tells three kinds of iris apart")
def iris(
    max_depth: int = 3,
    features: int = 4,
    test_size: float = 0.4,
    seed: int = 1,
    min_accuracy: float = 0.9,
):
    trained = train(max_depth=max_depth, features=features, test_size=test_size, seed=seed)
    evaluate(
        features=features,
        test_size=test_size,
        seed=seed,
        min_accuracy=min_accuracy,
        model=trained.outputs["model"],
    )
