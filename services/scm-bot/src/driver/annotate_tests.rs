//! Lines that logs and problems name, found in the files of the repository.

use kfops_project::Memory;

use super::*;

const PROJECT: &str = "apiVersion: kfops.dev/v1
kind: Project
images:
  build:
    - {name: trainer, context: images/trainer}
    - {name: client, context: images/client, dockerfile: build.Dockerfile}
pipeline: {name: iris, source: pipelines/iris.py}
environments: {build: team}
";
const DOCKERFILE: &str = "# syntax=docker/dockerfile:1
FROM python:3.12
ARG VERSION=1
RUN apt-get update && \\
    apt-get install -y git
# RUN pip install nothing
RUN pip install -r requirements.txt
COPY . /app
";

fn files() -> Memory {
    Memory::new()
        .with("kfops.yaml", PROJECT)
        .with("images/trainer/Dockerfile", DOCKERFILE)
        .with("pipelines/iris.py", "import kfp\n")
        .with("src/helper.py", "x\n")
}

fn build(message: &str, log: &str) -> Option<(String, u32)> {
    let project = Project::load(&files()).unwrap().project;
    let failure = Failure::new(Reason::ImageBuildFailed, message).log_tail(log);
    dockerfile(&files(), &project, Some("trainer"), &failure).map(|found| (found.path, found.line))
}

#[test]
fn problems_keep_their_place() {
    let wrong = PROJECT.replace("pipeline:", "pipelin:");
    let found = Project::load(&Memory::new().with("kfops.yaml", wrong)).unwrap_err();
    let annotations = problems(&found);
    let at = annotations.iter().find(|annotation| annotation.line == 7).unwrap();
    assert_eq!((at.path.as_str(), at.column, at.warning), ("kfops.yaml", Some(1), false));
    assert!(at.message.contains("did you mean pipeline?"), "{at:?}");
    let many: Vec<_> = std::iter::repeat_n(found[0].clone(), 80).collect();
    assert_eq!(problems(&many).len(), 50);
}

#[test]
fn steps_of_a_dockerfile() {
    let trainer = |line| Some(("images/trainer/Dockerfile".to_owned(), line));
    let buildah = "STEP 1/5: FROM python:3.12\nSTEP 3/5: RUN apt-get update &&     apt-get install -y git\nE: no\n\
                   Error: building at STEP \"RUN apt-get update && apt-get install -y git\": while running runtime: exit status 100\n";
    assert_eq!(build("the build failed", buildah), trainer(4));
    assert_eq!(
        build("x", "STEP 4/5: RUN pip install -r requirements.txt\nERROR: no matching distribution\n"),
        trainer(7)
    );
    let buildkit = "#8 [3/4] RUN pip install -r requirements.txt\n#8 ERROR: process did not complete\n------\n\
                    Dockerfile:7\n--------------------\n   6 |     # RUN pip install nothing\n";
    assert_eq!(build("x", buildkit), trainer(7));
    assert_eq!(build("Dockerfile line 3: unknown instruction", ""), trainer(3));
    assert_eq!(build("the build failed at step 5/5 (COPY . /app): no such file", ""), trainer(8));
    // A log can say anything.
    assert_eq!(build("Dockerfile line 300: x", ""), None);
    assert_eq!(build("x", "STEP 1/1: "), None);
    assert_eq!(build("disk full", "nothing of use"), None);
}

#[test]
fn frames_of_the_repository() {
    let raise = |log: &str| {
        let failure = Failure::new(Reason::CompileFailed, "it cannot be imported").log_tail(log);
        python(&files(), &failure).map(|found| (found.path, found.line, found.message))
    };
    let log = "Traceback (most recent call last):
  File \"/scratch/v-1/compile.py\", line 40, in main
    module = load(path)
  File \"/scratch/v-1/source/pipelines/iris.py\", line 12, in <module>
    from helper import y
  File \"/scratch/v-1/source/src/helper.py\", line 3, in <module>
    raise ValueError(\"no: good\")
  File \"/env/lib/python3.12/site-packages/src/helper.py\", line 9, in f
ValueError: no: good
";
    assert_eq!(raise(log).unwrap(), ("src/helper.py".into(), 3, "ValueError: no: good".into()));
    let syntax = "  File \"/s/pipelines/iris.py\", line 2\n    def f(:\n          ^\nSyntaxError: invalid syntax\n";
    assert_eq!(raise(syntax).unwrap(), ("pipelines/iris.py".into(), 2, "SyntaxError: invalid syntax".into()));
    for log in
        ["", "  File \"/etc/passwd\", line 1\nx: y", "  File \"../../pipelines/iris.py\", line x", "File \"\", line 1"]
    {
        assert_eq!(raise(log), None, "{log}");
    }
}
