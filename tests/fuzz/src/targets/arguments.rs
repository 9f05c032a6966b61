//! What follows a verb. The input is a line without its slash.

use kfops_scm_bot::{
    arguments::Arguments,
    grammar::{Line, parse},
    verb::Verb,
};

use super::ensure;

pub(super) fn check(input: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
    let Ok(words) = shell_words::split(rest) else { return Ok(()) };
    for verb in Verb::ALL {
        if let Err(failure) = Arguments::parse(verb, &words) {
            ensure(!failure.to_string().is_empty(), || "refused without a word".into())?;
        }
    }
    let Some(verb) = Verb::parse(word) else { return Ok(()) };
    let Ok(arguments) = Arguments::parse(verb, &words) else { return Ok(()) };
    limits(&arguments)?;
    // Written down again and read from a comment they are the same, as far as Markdown leaves text alone.
    let plain = |word: &String| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=.,%:/@ +".contains(c));
    if !words.iter().all(plain) {
        return Ok(());
    }
    let comment = format!("/{} {}", verb.as_str(), shell_words::join(&words));
    match parse(&comment).as_slice() {
        [Line::Command { verb: read, arguments: again }] => {
            ensure(*read == verb && *again == words, || format!("{comment}: {words:?} became {again:?}"))?;
            let again = Arguments::parse(verb, again).map_err(|failure| failure.to_string())?;
            ensure(again == arguments, || format!("{comment}: {arguments:?} became {again:?}"))
        }
        other => Err(format!("{comment} reads as {other:?}")),
    }
}

/// What becomes part of a resource's name or of a URL is harmless.
fn limits(arguments: &Arguments) -> Result<(), String> {
    let ids = [&arguments.version_id, &arguments.run_id, &arguments.to, &arguments.command];
    for id in ids.into_iter().flatten() {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        ensure(!id.is_empty() && id.len() <= 253 && id.chars().all(plain), || format!("{id} is no id"))?;
    }
    if let Some(percentages) = &arguments.canary {
        let rising = percentages.windows(2).all(|two| two[0] < two[1]);
        ensure(rising && percentages.iter().all(|one| (1..100).contains(one)), || format!("{percentages:?}"))?;
    }
    Ok(())
}
