//! Starting a command: `kfc build_run --pr 3 -w`.

use std::io::Write as _;

use serde_json::json;

use crate::{
    client::Client,
    exit::Exit,
    name,
    output::{Format, Output},
    repository,
    server::Server,
    subject,
    verbs::{Subject, Verb},
    view, watch,
};

/// Creates the command and, if asked, follows it.
pub(crate) async fn run(client: &Client, server: &Server, verb: Verb, output: &Output) -> Result<(), Exit> {
    let (subject, answers) = (verb.subject(), verb.answers());
    let (verb, mut arguments, common) = verb.parts();
    if common.config_override.is_some() {
        return Err(Exit::usage(
            "--config-override is not possible: a command takes kfops.yaml from the commit that it works on",
            "commit the change to the pull request, or use --set for pipeline parameters",
        ));
    }
    let ignored = [("--namespace", &common.namespace, "namespaces stand in kfops.yaml under environments")];
    let ignored = ignored.into_iter().chain([("--kubeflow-url", &common.kubeflow_url, "--server says where Kfops is")]);
    for (flag, _, instead) in ignored.filter(|(_, value, _)| value.is_some()) {
        writeln!(std::io::stderr(), "kfc: {flag} is ignored: {instead}").ok();
    }
    if let (Subject::Command(command), "VERB_CANCEL", None) = (&subject, verb, common.pr) {
        return view::cancel(client, command, output).await;
    }
    if let Subject::Command(command) = &subject {
        // The words of a command know ids only.
        arguments = vec![name::resolve(client, command).await?.trim_start_matches("commands/").to_owned()];
    }
    let found = match common.pr {
        Some(number) => Some((None, number.to_string())),
        None => subject::find(client, &subject).await?,
    };
    let Some((own, pull_request)) = found else {
        return Err(no_pull_request(verb));
    };
    let repository = match own.filter(|_| common.repo.is_none()) {
        Some(repository) => repository,
        None => repository::find(common.repo, server).await?,
    };
    let body = json!({
        "verb": verb, "arguments": arguments, "repository": repository, "pullRequest": pull_request,
    });
    // Chosen once, so that asking again after a lost answer starts nothing twice.
    let id = format!("kfc-{:016x}", rand::random::<u64>());
    let command = client.post("v1/commands", &[("commandId", &id)], &body).await?;
    let name = command["name"].as_str().unwrap_or_default().to_owned();
    if !common.wait && (!answers || output.format == Format::Name) {
        match output.format {
            Format::Table => {
                output.line(&format!("{name}  {}", view::title(&command)));
            }
            _ => output.value(&command),
        }
        // Standard output is the command's alone.
        writeln!(std::io::stderr(), "follow it: kfc watch {}", name.trim_start_matches("commands/")).ok();
        return Ok(());
    }
    if output.is_table() {
        output.line(&format!("{name}  {}", view::title(&command)));
    }
    watch::to_the_end(client, &name, answers, output).await
}

fn no_pull_request(verb: &str) -> Exit {
    let (message, action) = match verb {
        "VERB_BUILD" | "VERB_RUN" | "VERB_BUILD_RUN" => (
            "a command needs a pull request: the working tree without one cannot be built or run yet",
            "push the branch, open a pull request and give --pr NUMBER",
        ),
        "VERB_WHY" => ("nothing is named", "give --pr NUMBER, or the name of a model"),
        "VERB_RETRY" | "VERB_CANCEL" => ("nothing is named", "give --pr NUMBER, or the id of a command"),
        _ => ("no pull request is named", "give --pr NUMBER"),
    };
    Exit::usage(message, action)
}
