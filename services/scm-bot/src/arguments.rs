//! The arguments of a verb.

use std::collections::BTreeMap;

use kfops_core::{Failure, Reason, ResourceId};
use kfops_project::Environment;

use crate::verb::Verb;

/// Longest `--set` value.
const LONGEST_VALUE: usize = 4096;

/// What was written after a verb.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arguments {
    /// `/build`: only these.
    pub images: Vec<String>,
    /// `--set`: values of pipeline parameters.
    pub set: BTreeMap<String, serde_json::Value>,
    /// `--version-id`.
    pub version_id: Option<String>,
    /// `--run-id`.
    pub run_id: Option<String>,
    /// `--force`.
    pub force: bool,
    /// `--canary`: percentages before 100, instead of those of kfops.yaml. `--canary 0`: none.
    pub canary: Option<Vec<u8>>,
    /// `/rollback --to`: the revision whose model comes back.
    pub to: Option<String>,
    /// `/cancel`, `/retry`: only this command.
    pub command: Option<String>,
    /// `/unlock`: whose lock; production where nothing is said.
    pub environment: Option<Environment>,
}

impl Arguments {
    /// Reads the words after a verb.
    pub fn parse(verb: Verb, words: &[String]) -> Result<Self, Failure> {
        let mut arguments = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, inline) = match word.strip_prefix("--").and_then(|_| word.split_once('=')) {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let mut value = || {
                inline
                    .clone()
                    .or_else(|| words.next().cloned())
                    .ok_or_else(|| wrong(verb, format!("{flag} needs a value")))
            };
            match (verb, flag) {
                (Verb::Run | Verb::BuildRun | Verb::Ship, "--set") => {
                    let pair = value()?;
                    let (key, value) = setting(verb, &pair)?;
                    arguments.set.insert(key, value);
                }
                (Verb::Run, "--version-id") => arguments.version_id = Some(id(verb, "pipelineVersions", &value()?)?),
                (Verb::Deploy | Verb::StagingDeploy, "--run-id") => {
                    arguments.run_id = Some(id(verb, "runs", &value()?)?);
                }
                // Nothing is merged from staging, so that there is nothing to force; Kfops 1 took the flag.
                (Verb::Deploy | Verb::StagingDeploy | Verb::Ship, "--force") if inline.is_none() => {
                    arguments.force = true;
                }
                (Verb::Deploy | Verb::StagingDeploy | Verb::Ship, "--canary") => {
                    arguments.canary = Some(percentages(verb, &value()?)?);
                }
                (Verb::Rollback, "--to") => {
                    let revision = value()?;
                    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
                    if revision.is_empty() || revision.len() > 253 || !revision.chars().all(plain) {
                        return Err(wrong(verb, format!("`{}` is not the name of a revision", short(&revision))));
                    }
                    arguments.to = Some(revision);
                }
                (Verb::Cancel | Verb::Retry, name)
                    if !name.starts_with('-') && inline.is_none() && arguments.command.is_none() =>
                {
                    arguments.command = Some(id(verb, "commands", name)?);
                }
                (Verb::Unlock, "production") => arguments.environment = Some(Environment::Production),
                (Verb::Unlock, "staging") => arguments.environment = Some(Environment::Staging),
                (Verb::Build, image) if !image.starts_with('-') && inline.is_none() => {
                    arguments.images.push(image.to_owned());
                }
                _ => return Err(wrong(verb, format!("unexpected argument `{}`", short(word)))),
            }
        }
        Ok(arguments)
    }
}

fn setting(verb: Verb, pair: &str) -> Result<(String, serde_json::Value), Failure> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(wrong(verb, format!("--set {}: write it as key=value", short(pair))));
    };
    // Kfops 1 set any key below `pipeline`; its parameters were `pipeline_args`.
    let key = ["pipeline_args.", "pipeline.arguments.", "pipeline.pipeline_args."]
        .iter()
        .find_map(|prefix| key.strip_prefix(prefix))
        .unwrap_or(key);
    let named = !key.is_empty() && key.len() <= 256 && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if !named {
        return Err(wrong(verb, format!("--set {}: `{}` is not the name of a parameter", short(pair), short(key))));
    }
    if value.len() > LONGEST_VALUE {
        return Err(wrong(verb, format!("--set {key}: the value is longer than {LONGEST_VALUE} bytes")));
    }
    let value = match serde_saphyr::from_str::<serde_json::Value>(value) {
        Ok(serde_json::Value::Null) if value.is_empty() => serde_json::Value::String(String::new()),
        Ok(typed) => typed,
        Err(_) => serde_json::Value::String(value.to_owned()),
    };
    Ok((key.to_owned(), value))
}

fn percentages(verb: Verb, text: &str) -> Result<Vec<u8>, Failure> {
    if text == "0" {
        return Ok(Vec::new());
    }
    let mut percentages: Vec<u8> = Vec::new();
    for part in text.split(',') {
        match part.trim().trim_end_matches('%').parse::<u8>() {
            Ok(percent @ 1..=99) if percentages.last().is_none_or(|last| *last < percent) && percentages.len() < 20 => {
                percentages.push(percent);
            }
            _ => {
                let what = format!(
                    "--canary {}: write rising percentages from 1 to 99, like 10,50, or 0 for none",
                    short(text)
                );
                return Err(wrong(verb, what));
            }
        }
    }
    Ok(percentages)
}

fn id(verb: Verb, collection: &str, text: &str) -> Result<String, Failure> {
    let id = text.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
    ResourceId::parse(id).map(|id| id.to_string()).map_err(|error| wrong(verb, error.to_string()))
}

fn wrong(verb: Verb, message: String) -> Failure {
    Failure::new(Reason::InvalidArgument, message)
        .on("command.arguments")
        .action(format!("write it as {}", verb.usage()))
}

/// Foreign text, short enough to be shown.
fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(verb: Verb, text: &str) -> Result<Arguments, Failure> {
        Arguments::parse(verb, &shell_words::split(text).unwrap())
    }

    #[test]
    fn values_are_typed_as_in_yaml() {
        let set = parse(Verb::Run, "--set depth=3 --set=rate=0.5 --set name=a=b --set on=true --set pipeline_args.x=1 --set e= --set q='\"3\"'")
            .unwrap()
            .set;
        assert_eq!(json!(set), json!({"depth": 3, "rate": 0.5, "name": "a=b", "on": true, "x": 1, "e": "", "q": "3"}));
    }

    #[test]
    fn run_ids() {
        assert_eq!(parse(Verb::Deploy, "--run-id=r-1 --force").unwrap().run_id.unwrap(), "r-1");
        assert_eq!(parse(Verb::Deploy, "--run-id runs/r-1").unwrap().run_id.unwrap(), "r-1");
        for bad in ["--run-id=a=b", "--run-id", "--run-id=../x", "--run-id=$(touch x)"] {
            assert_eq!(parse(Verb::Deploy, bad).unwrap_err().reason, Reason::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn what_is_not_meant_is_refused() {
        for (verb, text) in [
            (Verb::Deploy, "thanks"),
            (Verb::Deploy, "--set x=1"),
            (Verb::Deploy, "--force=no"),
            (Verb::Run, "--set x"),
            (Verb::Run, "--set a.b=1"),
            (Verb::Run, "--set =1"),
            (Verb::Build, "--force"),
            (Verb::Help, "me"),
            (Verb::Deploy, "--canary 50,10"),
            (Verb::Deploy, "--canary 100"),
            (Verb::Deploy, "--canary"),
            (Verb::Run, "--canary 10"),
            (Verb::Rollback, "iris-00007"),
            (Verb::Rollback, "--to ../x"),
            (Verb::Cancel, "c-1 c-2"),
            (Verb::Unlock, "iris"),
        ] {
            assert!(parse(verb, text).is_err(), "{verb:?} {text}");
        }
        assert_eq!(parse(Verb::Ship, "--canary 10%,50").unwrap().canary.unwrap(), [10, 50]);
        assert_eq!(parse(Verb::Ship, "--canary=0").unwrap().canary.unwrap(), [0u8; 0]);
        assert_eq!(parse(Verb::Rollback, "--to iris-00007").unwrap().to.unwrap(), "iris-00007");
        assert_eq!(parse(Verb::Cancel, "commands/c-1").unwrap().command.unwrap(), "c-1");
        assert_eq!(parse(Verb::Build, "trainer client").unwrap().images, ["trainer", "client"]);
    }
}
