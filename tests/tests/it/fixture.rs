//! A model repository that builds and trains in seconds.

use std::path::Path;

use kfops_local::demo::WorkTree;

/// examples/iris without pip in its images, with one branch per name: the first differs from main in the README, the others in the tree's depth.
pub(crate) async fn repository(root: &Path, branches: &[&str], edits: &[(&str, &str, &str)]) -> WorkTree {
    let tree = WorkTree::create(root).await.unwrap();
    tree.edit("images/trainer/Dockerfile", "RUN pip install --no-cache-dir --require-hashes -r requirements.txt\n", "")
        .unwrap();
    tree.edit(
        "images/trainer/Dockerfile",
        "import joblib, kfp, sklearn; print(kfp.__version__, sklearn.__version__)",
        "import time; time.sleep(3)",
    )
    .unwrap();
    for (file, from, to) in edits {
        tree.edit(file, from, to).unwrap();
    }
    tree.commit("Fast to build").await.unwrap();
    for (number, branch) in branches.iter().enumerate() {
        tree.branch(branch, "main").await.unwrap();
        // On lines of their own: branches must not conflict.
        if number == 0 {
            tree.edit("README.md", "\n", "\n\nThe first branch.\n").unwrap();
        } else {
            tree.edit("kfops.yaml", "max_depth: 2", &format!("max_depth: {}", 2 + number)).unwrap();
        }
        tree.commit(&format!("Depth {}", 2 + number)).await.unwrap();
    }
    tree
}
