//! Compiling: what works, and each way in which it does not.

use std::time::{Duration, Instant};

use kfops_core::{Digest, Reason};
use kfops_pipeline_runner::Settings;
use kfops_proto::{common, pipeline as pb};
use kfops_rpc::failure_from_proto;
use kfops_settings::HumanDuration;
use kfops_telemetry::Tracer;
use tokio::net::TcpListener;

use crate::harness::{Runner, pinned};

const PIPELINE: &str = r#"
from kfp import dsl
from helper import NAME

@dsl.component(base_image="kfops://trainer", install_kfp_package=False)
def train(depth: int):
    print(depth)

@dsl.component(base_image="localhost:5000/iris/evaluator:latest", install_kfp_package=False)
def evaluate():
    pass

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def other():
    pass

@dsl.pipeline(name=NAME)
def tiny(depth: int = 3, label: str = "yes"):
    train(depth=depth)
    evaluate()
    other()
"#;

fn failure(version: &pb::PipelineVersion) -> kfops_core::Failure {
    assert_eq!(version.state(), pb::State::Failed, "{version:?}");
    failure_from_proto(version.failure.clone().unwrap())
}

/// The failure of a repository with this pipeline.
async fn failing(pipeline: &str) -> kfops_core::Failure {
    let mut runner = Runner::start().await;
    failure(&runner.compile("p.py", &[("p.py", pipeline)]).await)
}

#[tokio::test]
async fn a_version_is_compiled_pinned_and_kept() {
    let mut runner = Runner::start().await;
    let files = [("pipelines/p.py", PIPELINE), ("pipelines/helper.py", "NAME = 'tiny'\n")];
    let version = runner.compile("pipelines/p.py", &files).await;
    assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
    assert_eq!(version.parameters, ["depth", "label"]);
    assert_eq!(version.spec_key, "specs/v-1.yaml");
    assert!(!version.sandbox.is_empty());
    let spec = runner.text(&version.spec_key).await;
    assert_eq!(version.spec_digest, Digest::of(spec.as_bytes()).as_str());
    for image in [pinned("trainer"), pinned("evaluator"), "python:3.11".into()] {
        assert!(spec.contains(&format!("image: {image}\n")), "{image} in {spec}");
    }
    assert!(!spec.contains("kfops://") && !spec.contains("evaluator:latest"));
    assert_eq!(version.log_key, "logs/pipelineVersions/v-1.log");
    assert!(runner.store.exists(&version.log_key).await.unwrap());

    // Asking twice is asking once; asking for something else under the id is refused.
    let again = runner.request("pipelines/p.py", &files).await;
    let same = runner.clients.create_version("v-1", again.clone(), None).await.unwrap();
    assert_eq!((same.uid, same.spec_digest), (version.uid, version.spec_digest));
    let other = pb::PipelineVersion { function: "tiny".into(), ..again };
    let refused = runner.clients.create_version("v-1", other, None).await.unwrap_err();
    assert_eq!(refused.reason, Reason::AlreadyExists);
    // Nothing is left on disk of what was compiled.
    assert_eq!(std::fs::read_dir(runner.folder.path().join("state/compile")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_import_failure_shows_the_repositorys_own_paths() {
    let mut runner = Runner::start().await;
    let files = [("pipelines/p.py", "import lib.data\n"), ("lib/data.py", "x = 1\nimport no_such_package\n")];
    let failure = failure(&runner.compile("pipelines/p.py", &files).await);
    assert_eq!(failure.reason, Reason::CompileFailed);
    assert!(failure.message.contains("pipelines/p.py cannot be imported"), "{}", failure.message);
    assert!(failure.message.contains("no_such_package"), "{}", failure.message);
    assert!(failure.action.contains("import kfp and files"), "{}", failure.action);
    assert!(failure.log_tail.contains("File \"lib/data.py\", line 2"), "{}", failure.log_tail);
    let machine = runner.folder.path().display().to_string();
    assert!(!failure.log_tail.contains(&machine) && !failure.message.contains(&machine), "{}", failure.log_tail);
    assert!(!failure.log_tail.contains("compile.py"), "{}", failure.log_tail);
    assert_eq!(failure.resource, "pipelineVersions/v-1");
}

#[tokio::test]
async fn a_syntax_error_gets_no_advice_about_imports() {
    let failure = failing("def pipeline(:\n    pass\n").await;
    assert!(failure.message.contains("SyntaxError") && !failure.action.contains("import"), "{failure:?}");
    assert!(failure.action.contains("correct the line"), "{failure:?}");
}

#[tokio::test]
async fn a_compile_failure_names_the_line() {
    let failure =
        failing(&PIPELINE.replace("from helper import NAME", "NAME = 'x'").replace("depth=depth", "depth=label")).await;
    assert_eq!(failure.reason, Reason::CompileFailed);
    assert!(failure.message.contains("cannot be compiled"), "{}", failure.message);
    assert!(
        failure.log_tail.contains("File \"p.py\"") && failure.log_tail.contains("depth=label"),
        "{}",
        failure.log_tail
    );
}

#[tokio::test]
async fn several_pipelines_need_a_name() {
    let several = format!(
        "{}\n@dsl.pipeline\ndef second():\n    evaluate()\n",
        PIPELINE.replace("from helper import NAME", "NAME = 'x'")
    );
    let mut runner = Runner::start().await;
    let files = [("p.py", several.as_str()), ("none.py", "import kfp\n")];
    let version = runner.compile("p.py", &files).await;
    assert!(failure(&version).message.contains("second, tiny"), "{:?}", version.failure);
    let request = runner.request("p.py", &files).await;
    for (id, path, function, state, message) in [
        ("v-2", "p.py", "second", pb::State::Succeeded, ""),
        ("v-3", "p.py", "third", pb::State::Failed, "no `third`; its pipelines: second, tiny"),
        ("v-4", "p.py", "dsl", pb::State::Failed, "no pipeline"),
        ("v-5", "none.py", "", pb::State::Failed, "defines no pipeline"),
        ("v-6", "missing.py", "", pb::State::Failed, "no file missing.py"),
    ] {
        let asked = pb::PipelineVersion { function: function.into(), path: path.into(), ..request.clone() };
        runner.clients.create_version(id, asked, None).await.unwrap();
        let version = runner.clients.version(id).await;
        assert_eq!(version.state(), state, "{id}: {:?}", version.failure);
        assert!(version.failure.unwrap_or_default().message.contains(message), "{id}");
    }
}

#[tokio::test]
async fn a_compilation_without_end_is_ended() {
    let change = |settings: &mut Settings| settings.compile_timeout = HumanDuration::from_secs(8);
    let mut runner = Runner::with(change, Tracer::disabled()).await;
    let begun = Instant::now();
    // Importing kfp alone may take seconds on a busy machine.
    let version = runner.compile("p.py", &[("p.py", "import time\nprint('begun')\nwhile True: time.sleep(1)\n")]).await;
    let failure = failure(&version);
    assert_eq!(failure.reason, Reason::CompileTimeout);
    assert!(failure.message.contains("8s"), "{}", failure.message);
    assert!(failure.log_tail.contains("begun"), "{}", failure.log_tail);
    assert!(begun.elapsed() < Duration::from_secs(40));
}

#[tokio::test]
async fn a_compilation_can_be_canceled() {
    let mut runner = Runner::start().await;
    let version = runner.request("p.py", &[("p.py", "while True: pass\n")]).await;
    runner.clients.create_version("v-1", version, None).await.unwrap();
    let name = "pipelineVersions/v-1".to_owned();
    runner.clients.versions.cancel_pipeline_version(pb::CancelPipelineVersionRequest { name }).await.unwrap();
    let begun = Instant::now();
    let version = runner.clients.version("v-1").await;
    assert_eq!(version.state(), pb::State::Canceled);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_compilation_reaches_no_network() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut runner = Runner::start().await;
    let pipeline =
        format!("import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)\nprint('connected')\n");
    let version = runner.compile("p.py", &[("p.py", &pipeline)]).await;
    if version.sandbox.starts_with("none") {
        eprintln!("this machine has no sandbox, and the version says so");
        return;
    }
    let failure = failure(&version);
    assert!(failure.message.contains("cannot be imported"), "{}", failure.message);
    assert!(!failure.log_tail.contains("connected"), "{}", failure.log_tail);
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "a connection came out of the sandbox");
}

#[tokio::test]
async fn a_compilation_sees_no_secrets() {
    // KFOPS_PYTHON is set in our environment; it stands for a secret there.
    assert!(std::env::var_os("KFOPS_PYTHON").is_some());
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("token"), "hunter2").unwrap();
    let change = |settings: &mut Settings| settings.hide.push(secrets.path().to_owned());
    let mut runner = Runner::with(change, Tracer::disabled()).await;
    let state = runner.folder.path().join("state/pipelines.db");
    let pipeline = format!(
        "import os\nprint(sorted(os.environ))\nprint('db', os.path.exists({state:?}))\nprint('token', os.path.exists({:?}))\n",
        secrets.path().join("token")
    );
    let version = runner.compile("p.py", &[("p.py", &pipeline)]).await;
    let log = runner.text(&version.log_key).await;
    assert!(log.contains("'HOME'"), "{log}");
    assert!(!log.contains("KFOPS_PYTHON") && !log.contains("CARGO"), "{log}");
    if version.sandbox.starts_with("bubblewrap") {
        assert!(log.contains("db False") && log.contains("token False"), "{log}");
    }
}

#[tokio::test]
async fn a_compilation_has_limited_memory() {
    let change = |settings: &mut Settings| settings.compile_memory_mib = 1024;
    let mut runner = Runner::with(change, Tracer::disabled()).await;
    let version = runner.compile("p.py", &[("p.py", "data = bytearray(2 << 30)\n")]).await;
    let failure = failure(&version);
    assert_eq!(failure.reason, Reason::CompileFailed);
    assert!(failure.message.contains("more memory than 1024 MiB"), "{failure:?}");
}

#[tokio::test]
async fn code_that_ends_the_process_or_fakes_its_result_gains_nothing() {
    let failure = failing("import os\nos._exit(0)\n").await;
    assert_eq!(failure.reason, Reason::PipelineInvalid);
    let failure = failing("raise SystemExit('enough')\n").await;
    assert!(failure.message.contains("SystemExit: enough"), "{}", failure.message);
    // A link to a file of this machine in the place of the result.
    let link = "import json, os, sys\nr = json.load(open(sys.argv[1]))\nos.symlink('/etc/hostname', r['output'])\nos._exit(0)\n";
    let failure = failing(link).await;
    assert!(failure.message.contains("not a regular file"), "{}", failure.message);
}

#[tokio::test]
async fn an_unknown_image_of_the_build_is_refused() {
    let mut runner = Runner::start().await;
    let pipeline =
        PIPELINE.replace("from helper import NAME", "NAME = 'x'").replace("kfops://trainer", "kfops://trainr");
    let failure = failure(&runner.compile("p.py", &[("p.py", &pipeline)]).await);
    assert_eq!(failure.reason, Reason::PipelineInvalid);
    assert!(
        failure.message.contains("kfops://trainr") && failure.message.contains("trainer, evaluator"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn compiled_yaml_is_taken_as_it_is_and_checked() {
    let mut runner = Runner::start().await;
    let files = [("p.py", PIPELINE), ("helper.py", "NAME = 'tiny'\n")];
    let compiled = runner.compile("p.py", &files).await;
    let spec = runner.text(&compiled.spec_key).await;
    let unpinned = spec.replace(&pinned("trainer"), "trainer");
    let unknown_field = spec.replace("dependentTasks", "dependsOn").replace("componentRef", "componentReference");
    let unknown_component = spec.replace("name: comp-train\n", "name: comp-trian\n");
    for (id, text, message) in [
        ("v-2", unpinned.as_str(), ""),
        ("v-3", "pipelineInfo: [", "not YAML"),
        ("v-4", &unknown_field, "PipelineSpec.root.dag.tasks"),
        ("v-5", &unknown_component, "root.dag.tasks.train.componentRef"),
        ("v-6", "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", "Workflow"),
    ] {
        let version = runner.request("p.yaml", &[("p.yaml", text)]).await;
        runner.clients.create_version(id, version, None).await.unwrap();
        let version = runner.clients.version(id).await;
        if message.is_empty() {
            assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
            assert_eq!(version.spec_digest, compiled.spec_digest);
            assert!(version.sandbox.contains("compiled YAML"), "{}", version.sandbox);
        } else {
            let failure = failure(&version);
            assert_eq!(failure.reason, Reason::PipelineInvalid, "{id}");
            assert!(failure.message.contains(message), "{id}: {}", failure.message);
        }
    }
}

#[tokio::test]
async fn wrong_requests_are_refused_with_their_field() {
    let mut runner = Runner::start().await;
    let good = runner.request("p.py", &[("p.py", PIPELINE)]).await;
    let bad_digest = common::ImageReference { digest: "latest".into(), ..good.images[0].clone() };
    for (version, field) in [
        (pb::PipelineVersion { path: "../p.py".into(), ..good.clone() }, "pipeline_version.path"),
        (pb::PipelineVersion { path: "/etc/passwd.py".into(), ..good.clone() }, "pipeline_version.path"),
        (pb::PipelineVersion { path: "p.sh".into(), ..good.clone() }, "pipeline_version.path"),
        (pb::PipelineVersion { function: "f; import os".into(), ..good.clone() }, "pipeline_version.function"),
        (pb::PipelineVersion { pipeline: String::new(), ..good.clone() }, "pipeline_version.pipeline"),
        (pb::PipelineVersion { source: None, ..good.clone() }, "pipeline_version.source"),
        (pb::PipelineVersion { images: vec![bad_digest], ..good.clone() }, "pipeline_version.images[0].digest"),
    ] {
        let failure = runner.clients.create_version("v-1", version, None).await.unwrap_err();
        assert_eq!((failure.reason, failure.resource.as_str()), (Reason::InvalidArgument, field));
    }
    let failure = runner.clients.create_version("$(touch x)", good, None).await.unwrap_err();
    assert_eq!((failure.reason, failure.resource.as_str()), (Reason::InvalidArgument, "pipeline_version_id"));
}
