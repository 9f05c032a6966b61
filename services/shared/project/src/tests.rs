//! Whole files in, diagnostics out.

use proptest::prelude::*;

use crate::*;

const GOOD: &str = r#"apiVersion: kfops.dev/v1
kind: Project
images:
  registry: registry.example.com/iris
  build:
    - {name: trainer, context: ./images/trainer/, include: [src], args: {VERSION: 3.10}}
pipeline:
  name: iris
  source: pipelines/iris.py
  arguments: {max_depth: 3, ratio: 0.25, names: [a, "1"], dry: false}
  model: {task: train, output: model}
serving:
  name: iris
  template: serving/inferenceservice.yaml
  sample: serving/sample.json
  golden: serving/golden.jsonl
environments:
  build: team-iris
  staging: {namespace: team-iris-staging}
  production: {namespace: iris, strategy: {canary: [10, 50], hold: 2m, max_error_rate: 0.1%, max_p99_increase: 25%}}
policy:
  deploy: {permission: maintain, approvals: 1, checks: [test]}
  force: {teams: [ml-platform]}
"#;

const TEMPLATE: &str = r#"apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {{ name }}
  namespace: {{ namespace }}
spec:
  predictor:
    model:
      modelFormat: {name: sklearn}
      protocolVersion: v2
      storageUri: {{ storage_uri }}
"#;

const REQUEST: &str = r#"{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [[1.0]]}]}"#;

fn repository(kfops_yaml: &str) -> Memory {
    Memory::new()
        .with("kfops.yaml", kfops_yaml)
        .with("images/trainer/Dockerfile", "FROM scratch\n")
        .with("src/iris/__init__.py", "")
        .with("pipelines/iris.py", "")
        .with("serving/inferenceservice.yaml", TEMPLATE)
        .with("serving/sample.json", REQUEST)
        .with("serving/golden.jsonl", format!("{{\"request\": {REQUEST}, \"expect\": {{}}, \"tolerance\": 0.1}}\n\n"))
}

fn lines(files: &dyn Files) -> Vec<String> {
    check(files).iter().map(ToString::to_string).collect()
}

/// The good file with one thing changed.
fn with(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    lines(&repository(&GOOD.replacen(from, to, 1)))
}

#[test]
fn the_documented_file_is_read_as_it_says() {
    let files = repository(GOOD);
    assert_eq!(lines(&files), Vec::<String>::new());
    let loaded = Project::load(&files).unwrap();
    assert_eq!(loaded.source_file, "kfops.yaml");
    let project = loaded.project;
    let trainer = project.image("trainer").unwrap();
    assert_eq!(trainer.dockerfile_path(), "images/trainer/Dockerfile");
    assert_eq!(trainer.args["VERSION"], "3.10");
    assert_eq!(
        serde_json::to_value(&project.pipeline.arguments).unwrap(),
        serde_json::json!({"max_depth": 3, "ratio": 0.25, "names": ["a", "1"], "dry": false})
    );
    let production = project.target(Environment::Production).unwrap();
    assert_eq!(production.strategy.hold.get().as_secs(), 120);
    assert!((production.strategy.max_error_rate.fraction() - 0.001).abs() < 1e-12);
    let staging = project.target(Environment::Staging).unwrap();
    assert_eq!((staging.namespace.as_str(), &staging.strategy), ("team-iris-staging", &crate::Strategy::default()));
    assert_eq!(project.pipeline.experiment(), "iris");
    let again: Project = serde_json::from_value(serde_json::to_value(&project).unwrap()).unwrap();
    assert_eq!(again, project);
}

#[test]
fn every_problem_is_said_at_once() {
    let bad = r#"apiVersion: kfops.dev/v2
kind: Project
images:
  registry: https://registry.example.com
  insecure: maybe
  build:
    - name: trainer
      context: images/trainer
    - name: Trainer
      context: imges/trainer
    - name: trainer
      context: images/trainer
      dockerfile: services/trainer/Dockerfile
      include: [../secrets, src, /etc]
      dockerfil: x
pipelines: {}
pipeline:
  source: [a]
  timeout: 10
  arguments: 3
serving:
  name: Iris_1
  template: serving/inferenceservice.yml
  smaple: serving/sample.json
  golden: serving/golden.json
environments:
  production:
    namespace: iris
    namespace: iris2
    strategy: {canary: [50, 10], hold: 2x, max_error_rate: 25, min_requests: -1}
  staging: {namespace: iris, strategy: {canary: [0, 100]}}
policy:
  deploy: {permission: maintainer}
"#;
    let expected = [
        "1:13: apiVersion: must be `kfops.dev/v1`, found `kfops.dev/v2`",
        "4:13: images.registry: `https://registry.example.com` is not a registry: write it without http:// or https://",
        "5:13: images.insecure: expected true or false, found `maybe`",
        "9:13: images.build[1].name: `Trainer` is not an image name: a-z, 0-9, and single . _ - between them, at most 128 characters",
        "10:16: images.build[1].context: no such folder imges/trainer (did you mean images/trainer?)",
        "11:13: images.build[2].name: `trainer` is the name of images.build[0] too",
        "13:19: images.build[2].dockerfile: no such file images/trainer/services/trainer/Dockerfile (did you mean images/trainer/Dockerfile?)",
        "14:17: images.build[2].include[0]: ../secrets leads out of the repository",
        "14:34: images.build[2].include[2]: /etc is absolute; write it relative to the root of the repository",
        "15:7: images.build[2].dockerfil: unknown key",
        "16:1: pipelines: unknown key",
        "17:1: pipeline: missing key `name`",
        "18:11: pipeline.source: expected a path, found a list",
        "19:12: pipeline.timeout: `10` is not a duration; write 30s, 2m or 1h 30m",
        "20:14: pipeline.arguments: expected a mapping, found `3`",
        "22:9: serving.name: `Iris_1` is not a DNS-1123 label: at most 63 of a-z, 0-9 and -, beginning and ending with a letter or digit",
        "23:13: serving.template: no such file serving/inferenceservice.yml (did you mean serving/inferenceservice.yaml?)",
        "24:3: serving.smaple: unknown key (did you mean sample?)",
        "25:11: serving.golden: no such file serving/golden.json (did you mean serving/golden.jsonl?)",
        "26:1: environments: missing key `build`",
        "29:5: environments.production.namespace: written twice, first in line 28",
        "30:29: environments.production.strategy.canary[1]: canary percentages must rise, but 10 comes after 50",
        "30:40: environments.production.strategy.hold: `2x` is not a duration; write 30s, 2m or 1h 30m",
        "30:60: environments.production.strategy.max_error_rate: `25` is more than 1; write 25% for percent",
        "30:78: environments.production.strategy.min_requests: -1 is outside 0 to 1000000",
        "31:50: environments.staging.strategy.canary[0]: 0 is outside 1 to 99",
        "31:53: environments.staging.strategy.canary[1]: 100 is outside 1 to 99",
        "33:24: policy.deploy.permission: `maintainer` is none of read, triage, write, maintain, admin (did you mean maintain?)",
    ];
    assert_eq!(lines(&repository(bad)), expected.map(|line| format!("kfops.yaml:{line}")));
    // Loading does not look at other files, but finds everything in its own.
    assert_eq!(Project::load(&repository(bad)).unwrap_err().len(), expected.len() - 4);
}

#[test]
fn single_problems() {
    for (from, to, expected) in [
        (GOOD, "", "1:1: empty"),
        (GOOD, "- a\n", "1:1: expected a mapping, found a list"),
        (GOOD, "a: [1\n", "1:4: not valid YAML: unclosed bracket '['"),
        (GOOD, "a: !!python/object x\n", "1:20: tags are not supported"),
        (
            "pipeline:\n",
            "pipeline:\n  function: 'my fn'\n",
            "8:13: pipeline.function: `my fn` is not the name of a Python function",
        ),
        ("policy:\n", "---\na: b\n---\npolicy:\n", "22:1: a second document; only one is read"),
        ("{namespace: team-iris-staging}", "", "19:10: environments.staging: expected a mapping, found nothing"),
        ("kind: Project\n", "", "1:1: missing key `kind`"),
        (
            "hold: 2m",
            "hold: 1h",
            "20:68: environments.production.strategy.hold: hold (1h) must be shorter than timeout (10m)",
        ),
        (
            "include: [src]",
            "include: [src, pipelines/../src]",
            "6:66: images.build[0].include[1]: another included folder is also copied to src",
        ),
        ("source: pipelines/iris.py", "source: src", "9:11: pipeline.source: src is not a file"),
    ] {
        let seen = with(from, to);
        assert!(seen.contains(&format!("kfops.yaml:{expected}")), "{to:?}: {seen:#?}");
    }
    let none = "kfops.yaml:1:1: no such file; it says what to build, run and serve (see docs/kfops.yaml.md)";
    assert_eq!(lines(&Memory::new()), [none]);
}

#[test]
fn what_serving_names_is_looked_into() {
    let all = |path: &str, content: &str| lines(&repository(GOOD).with(path, content));
    let template = "serving/inferenceservice.yaml";
    assert_eq!(
        all(template, "kind: Deployment\n"),
        ["serving/inferenceservice.yaml:1:7: kind: not an InferenceService (kind: InferenceService)"]
    );
    assert_eq!(
        all(template, &TEMPLATE.replace("v1beta1", "v1").replace("{{ storage_uri }}", "s3://x")),
        [
            "serving/inferenceservice.yaml:1:1: `{{ storage_uri }}` is nowhere used, so that every run would serve the same model",
            "serving/inferenceservice.yaml:1:13: apiVersion: must be `serving.kserve.io/v1beta1`",
        ]
    );
    assert_eq!(
        all("serving/sample.json", "{\n \"inputs\": [1,]}"),
        ["serving/sample.json:2:15: not valid JSON: trailing comma"]
    );
    assert_eq!(
        all("serving/sample.json", "{\"instances\": [[1]]}"),
        ["serving/sample.json:1:1: a request of the template's protocol V2 has a list `inputs`"]
    );
    let golden = "{\"reqest\": {}, \"expect\": 1}\n[]\n{\n";
    assert_eq!(
        all("serving/golden.jsonl", golden),
        [
            "serving/golden.jsonl:1:1: reqest: unknown key (did you mean request?)",
            "serving/golden.jsonl:1:1: missing key `request`",
            "serving/golden.jsonl:2:1: not a JSON object",
            "serving/golden.jsonl:3:1: not valid JSON: EOF while parsing an object",
        ]
    );
}

#[test]
fn kfops_1_is_the_same_project() {
    let config = r#"repository: {owner: o, name: n}
pipeline:
  name: Sklearn Iris
  namespace: team-profile
  experiment_name: My experiment
  pipeline_path: my_pipeline/pipeline.py
  pipeline_function_name: iris
  pipeline_execution_mode: V2_COMPATIBLE
  pipeline_args: {max_depth: 3}
deployment:
  inference_service_name: sklearn-iris
  inference_service_function_path: config_files/deployment.py
  pre_deployment_test_sample_input_path: test_deployment/input.json
  production: {namespace: prod}
  staging:
image_builder:
  container_registry_uri: my-registry
  insecure: true
  images:
    - name: my_image_name
      dockerfile_folder_path: containers/my_image_name
      other_folders_path: [containers/lib]
  minio: {context_files_bucket_name: x}
"#;
    let files = Memory::new()
        .with("config_files/config.yaml", config)
        .with("config_files/deployment.py", "")
        .with("my_pipeline/pipeline.py", "")
        .with("test_deployment/input.json", "{\"instances\": [[1]]}")
        .with("containers/my_image_name/Dockerfile", "")
        .with("containers/lib/x.py", "");
    let file = "config_files/config.yaml";
    let warnings = [
        format!("{file}:1:13: repository: not needed: the webhook says which repository it is"),
        format!("{file}:8:28: pipeline.pipeline_execution_mode: obsolete: KFP 2 has one mode"),
        format!("{file}:23:10: image_builder.minio: ignored: Kfops keeps build contexts in its own object store"),
    ];
    assert_eq!(lines(&files), warnings);
    let loaded = Project::load(&files).unwrap();
    assert_eq!(loaded.warnings.len(), 3);
    let project = loaded.project;
    assert_eq!(project.images.registry.as_deref(), Some("my-registry"));
    assert!(project.images.insecure);
    assert_eq!(project.images.build[0].include, ["containers/lib"]);
    assert_eq!(project.pipeline.function.as_deref(), Some("iris"));
    assert_eq!(project.pipeline.experiment(), "My experiment");
    assert_eq!((project.pipeline.model.output.as_str(), &project.pipeline.model.task), ("model", &None));
    assert_eq!(project.environments.build, "team-profile");
    assert_eq!(project.target(Environment::Production).unwrap().namespace, "prod");
    assert!(project.target(Environment::Staging).is_none());
    let serving = project.serving.unwrap();
    assert_eq!((serving.name.as_str(), serving.template_kind()), ("sklearn-iris", TemplateKind::Python));
    assert_eq!(serving.sample.as_deref(), Some("test_deployment/input.json"));

    let bad = config.replace("containers/my_image_name", "container/my_image_name").replace("prod}", "Prod}");
    assert_eq!(
        lines(&files.with(file, bad))[2..4],
        [
            format!(
                "{file}:14:27: deployment.production.namespace: `Prod` is not a DNS-1123 label: at most 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
            ),
            format!(
                "{file}:21:31: image_builder.images[0].dockerfile_folder_path: no such folder container/my_image_name (did you mean containers/my_image_name?)"
            ),
        ]
    );
}

#[test]
fn the_example_has_no_problems() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/iris");
    let files = Folder::new(folder).unwrap();
    assert_eq!(lines(&files), Vec::<String>::new());
    let project = Project::load(&files).unwrap().project;
    assert_eq!(project.images.build.len(), 2);
    // The pipeline's reference must be one that can be pinned.
    let registry = project.images.registry.unwrap();
    let source = String::from_utf8(files.read(&project.pipeline.source, 1 << 20).unwrap()).unwrap();
    assert!(source.contains(&format!("\"{registry}/trainer\"")));
}

#[test]
fn the_schema_is_committed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/kfops.schema.json");
    let schema = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("KFOPS_UPDATE").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == schema,
        "docs/kfops.schema.json is not what the types say: KFOPS_UPDATE=1 cargo test -p kfops-project, and commit it"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for file in PROJECT_FILES {
            drop(check(&Memory::new().with(file, bytes.clone())));
        }
    }

    #[test]
    fn no_change_of_a_good_file_makes_it_panic(at in 0..GOOD.len(), text in "[ -~\n\u{e9}*&<%{}]{0,8}", cut in 0usize..20) {
        let mut bytes = GOOD.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, text.bytes());
        for diagnostic in check(&repository("").with("kfops.yaml", bytes)) {
            prop_assert!(diagnostic.line > 0 && diagnostic.column > 0 && !diagnostic.message.is_empty());
        }
    }
}
