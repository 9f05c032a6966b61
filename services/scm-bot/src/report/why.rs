//! The answer of `/why`: where what is live comes from, link by link.

use std::fmt::Write as _;

use kfops_core::Failure;

use super::escape::{code, text};

/// What became of looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It is there, and agrees with the link before.
    Holds,
    /// It is missing, or says something else.
    Broken,
    /// Nobody could be asked.
    Unknown,
}

/// A link of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// e.g. `rollout`.
    pub title: &'static str,
    /// What became of looking.
    pub checked: Checked,
    /// What was found.
    pub found: String,
    /// What it means, when it does not hold.
    pub means: String,
}

impl Link {
    /// It is there and agrees.
    pub fn holds(title: &'static str, found: impl Into<String>) -> Self {
        Self { title, checked: Checked::Holds, found: found.into(), means: String::new() }
    }

    /// It is missing, or does not agree.
    pub fn broken(title: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { title, checked: Checked::Broken, found: found.into(), means: means.into() }
    }

    /// Nobody could be asked.
    pub fn unknown(title: &'static str, failure: &Failure) -> Self {
        let found = format!("could not be checked: {}", failure.message);
        Self { title, checked: Checked::Unknown, found, means: String::new() }
    }
}

/// The lineage of what is live in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// e.g. `production`.
    pub environment: &'static str,
    /// `namespaces/…/inferenceServices/…`.
    pub target: String,
    /// The revision that is live; None: nothing is.
    pub revision: Result<Option<String>, Failure>,
    /// What a rollback brought back, and from where.
    pub restored: String,
    /// From the revision to the commit.
    pub links: Vec<Link>,
}

/// The chains, Markdown.
#[must_use]
pub fn why(chains: &[Chain]) -> String {
    if chains.is_empty() {
        return "The default branch names no place that a model is deployed to: kfops.yaml there has no `serving`, or no \
                `environments.production` and `environments.staging`.\n"
            .to_owned();
    }
    chains.iter().map(chain).collect::<Vec<_>>().join("\n")
}

fn chain(chain: &Chain) -> String {
    let (environment, target) = (chain.environment, code(&chain.target, 200));
    let revision = match &chain.revision {
        Ok(Some(revision)) => revision,
        Ok(None) => return format!("**{environment}** · {target} · nothing is live\n"),
        Err(failure) => {
            let what = text(&failure.message, 300);
            return format!("**{environment}** · {target} · what is live could not be found out: {what}\n");
        }
    };
    let count = |checked: Checked| chain.links.iter().filter(|link| link.checked == checked).count();
    let verdict = match (count(Checked::Broken), count(Checked::Unknown)) {
        (0, 0) => "every link holds".to_owned(),
        (0, unknown) => format!("{unknown} of {} links could not be checked", chain.links.len()),
        (broken, _) => format!(
            "**{broken} of {} links {}**",
            chain.links.len(),
            if broken == 1 { "is broken" } else { "are broken" }
        ),
    };
    let mut out = format!("**{environment}** · {} of {target} · {verdict}\n\n", code(revision, 80));
    if !chain.restored.is_empty() {
        writeln!(out, "{}\n", text(&chain.restored, 400)).ok();
    }
    out += "| | link | found |\n|---|---|---|\n";
    for link in &chain.links {
        let mark = match link.checked {
            Checked::Holds => "✓",
            Checked::Broken => "✗",
            Checked::Unknown => "?",
        };
        let means = if link.means.is_empty() { String::new() } else { format!(": {}", text(&link.means, 400)) };
        writeln!(out, "| {mark} | {} | {}{means} |", link.title, text(&link.found, 1200)).ok();
    }
    out
}

#[cfg(test)]
mod tests {
    use kfops_core::Reason;

    use super::*;

    fn shown(links: Vec<Link>) -> String {
        why(&[Chain {
            environment: "production",
            target: "namespaces/live/inferenceServices/iris".into(),
            revision: Ok(Some("iris-00007".into())),
            restored: String::new(),
            links,
        }])
    }

    #[test]
    fn each_link_with_what_it_means() {
        let away = Failure::new(Reason::WorkerUnavailable, "nobody answers");
        let text = shown(vec![
            Link::holds("revision", "iris-00007 gets 100 %"),
            Link::broken("rollout", "d-1 | is not known", "nobody proved it"),
            Link::unknown("run", &away),
        ]);
        assert_eq!(
            text,
            "**production** · `iris-00007` of `namespaces/live/inferenceServices/iris` · **1 of 3 links is broken**

| | link | found |
|---|---|---|
| ✓ | revision | iris-00007 gets 100 % |
| ✗ | rollout | d-1 \\| is not known: nobody proved it |
| ? | run | could not be checked: nobody answers |
"
        );
        assert!(shown(vec![Link::holds("revision", "x")]).contains("every link holds"));
    }

    #[test]
    fn nothing_is_an_answer() {
        assert!(why(&[]).contains("names no place"));
        let mut chain = Chain {
            environment: "staging",
            target: "t".into(),
            revision: Ok(None),
            restored: String::new(),
            links: Vec::new(),
        };
        assert_eq!(why(&[chain.clone()]), "**staging** · `t` · nothing is live\n");
        chain.revision = Err(Failure::new(Reason::WorkerUnavailable, "nobody answers"));
        assert!(why(&[chain]).ends_with("could not be found out: nobody answers\n"));
    }
}
