//! Small models, made once by the environment's Python.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use kfops_proto::common::Model;

const MAKE: &str = r#"
import pathlib, pickle, sys
import joblib
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

root = pathlib.Path(sys.argv[1])
X, y = load_iris(return_X_y=True)

def folder(name):
    (root / name).mkdir(parents=True)
    return root / name

tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y)
joblib.dump(tree, folder("tree") / "model.joblib")
joblib.dump(DecisionTreeClassifier(max_depth=4, random_state=0).fit(X, y), folder("deeper") / "model.joblib")
joblib.dump(DecisionTreeClassifier(max_depth=2, random_state=0).fit(X[:, :3], y), folder("three") / "model.joblib")
(folder("corrupt") / "model.joblib").write_bytes(b"this is no model")
folder("empty")

CODE = """
import time

class Flaky:
    def predict(self, x):
        if x[0][0] > 7.2:
            raise RuntimeError("flower too large")
        return [0 for _ in x]

class Sleepy:
    def __init__(self):
        time.sleep(600)

class Stuck:
    def predict(self, x):
        time.sleep(600)

class Slow:
    def predict(self, x):
        time.sleep(0.8)
        return [0 for _ in x]
"""

CODE += """
class Nosy:
    def predict(self, x):
        import os, pathlib
        state = pathlib.Path.cwd().parents[2]
        seen = sorted(p.name for p in state.iterdir())
        kept = state.joinpath("servers", *pathlib.Path.cwd().parts[-2:])
        seen += sorted(p.name for p in kept.iterdir())
        seen += sorted(p.name for p in state.parent.joinpath("secrets").iterdir())
        for target in (pathlib.Path.home() / "kfops-was-here", kept / "model_server.py"):
            try:
                with target.open("a") as file:
                    file.write("x")
                seen.append("wrote")
            except OSError:
                pass
        raise RuntimeError(",".join(seen))
"""

class Pickled:
    """Becomes an object of a class that the server has never seen."""
    def __init__(self, name):
        self.name = name
    def __reduce__(self):
        return eval, (f"(lambda scope: (exec({CODE!r}, scope), scope[{self.name!r}]())[1])({{}})",)

for name in ("Flaky", "Sleepy", "Stuck", "Slow", "Nosy"):
    with open(folder(name.lower()) / "model.pkl", "wb") as file:
        pickle.dump(Pickled(name), file)
"#;

/// The environment's Python, and Envoy.
pub(crate) fn tools() -> (PathBuf, PathBuf) {
    let of = |name: &str| {
        std::env::var_os(name).map(PathBuf::from).unwrap_or_else(|| {
            panic!("{name} is not set: run `make test`, which makes the Python environment and sets it")
        })
    };
    (of("KFOPS_PYTHON"), of("KFOPS_ENVOY"))
}

/// The model of that name. The models stay in the target folder, for the next run of the same script.
pub(crate) fn model(name: &str) -> Model {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let root = temporary.join(format!("models-{}", kfops_core::short_hash(&[MAKE], 12)));
        if !root.is_dir() {
            let draft = tempfile::tempdir_in(temporary).unwrap();
            let made = std::process::Command::new(tools().0).args(["-c", MAKE]).arg(draft.path()).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            std::fs::rename(draft.keep(), &root).unwrap();
        }
        root
    });
    let folder = root.join(name);
    let digest = kfops_store::digest_folder(&folder).unwrap().to_string();
    Model { uri: format!("file://{}", folder.display()), digest, size_bytes: 1 }
}
