//! `kfc check`.

use serde_json::Value as Json;

use crate::kfc::kfc;

const BAD: &str = "\
apiVersion: kfops.dev/v1
kind: Project
images:
  registry: registry.example.com/iris
  build:
    - {name: trainer, context: images/trianer}
pipeline:
  name: iris
  source: pipelines/iris.py
  argumnets: {max_depth: 3}
environments:
  build: team-iris
";

#[tokio::test]
async fn every_problem_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("images/trainer")).unwrap();
    std::fs::write(folder.path().join("images/trainer/Dockerfile"), "FROM scratch\n").unwrap();
    std::fs::write(folder.path().join("kfops.yaml"), BAD).unwrap();
    let said = kfc(folder.path(), &[], &["check"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("kfops.yaml:6:"), "{said:?}");
    assert!(said.out.contains("(did you mean images/trainer?)"), "{said:?}");
    assert!(said.out.contains("no such file pipelines/iris.py"), "{said:?}");
    assert!(said.out.contains("argumnets"), "{said:?}");
    assert!(said.out.lines().count() >= 3);
    assert!(said.err.contains("errors"), "{said:?}");
    let above = folder.path().parent().unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let from_above = kfc(above, &[], &["check", name]).await;
    assert!(from_above.out.starts_with(&format!("{name}/kfops.yaml:")), "{from_above:?}");
    let json = kfc(folder.path(), &[], &["check", "--output", "json"]).await;
    assert_eq!(json.code, 1);
    let problems: Json = serde_json::from_str(&json.out).unwrap();
    assert_eq!(problems.as_array().unwrap().len(), said.out.lines().count());
    assert_eq!(problems[0]["line"], 6);
}

#[tokio::test]
async fn an_empty_folder_and_a_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let said = kfc(folder.path(), &[], &["check", "."]).await;
    assert_eq!(said.code, 1);
    assert!(said.out.starts_with("kfops.yaml:1:1: no such file"), "{said:?}");
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris");
    let said = kfc(&example, &[], &["check"]).await;
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", "no problems\n"));
}
