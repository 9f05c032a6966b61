//! Standard output: formats, colours, width.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use clap::ValueEnum;
use serde_json::Value as Json;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// JSON as the API gives it.
    Json,
    /// The same as YAML.
    Yaml,
    /// Only names, one a line.
    Name,
}

/// Where results go.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) terminal: bool,
    colour: bool,
    outcome_counts: AtomicBool,
}

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Green,
    Red,
    Yellow,
    Grey,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let set = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal() && set("TERM").is_none_or(|term| term != "dumb");
        Self { format, terminal, colour: terminal && set("NO_COLOR").is_none(), outcome_counts: AtomicBool::new(false) }
    }

    /// For people?
    pub(crate) fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// A line.
    pub(crate) fn line(&self, line: &str) {
        self.bytes(format!("{line}\n").as_bytes());
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            // Whoever read us (`| head`) has enough. A command that is waited for still says by its exit code how it ended.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                if !self.outcome_counts.load(Ordering::Relaxed) {
                    std::process::exit(0);
                }
            }
            Err(error) => {
                eprintln!("cannot write the output: {error}");
                std::process::exit(1);
            }
        }
    }

    /// From now on the exit code says more than that somebody has stopped reading.
    pub(crate) fn outcome_counts(&self) {
        self.outcome_counts.store(true, Ordering::Relaxed);
    }

    /// Somebody else's text. On a terminal without what would steer it.
    pub(crate) fn foreign(&self, bytes: &[u8]) {
        if !self.terminal {
            return self.bytes(bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        let text: String = text.chars().filter(|c| matches!(c, '\n' | '\t' | '\r') || !c.is_control()).collect();
        self.bytes(text.as_bytes());
    }

    /// A resource as JSON or YAML, or its name.
    pub(crate) fn value(&self, value: &Json) {
        match self.format {
            Format::Json | Format::Table => self.line(&serde_json::to_string_pretty(value).unwrap_or_default()),
            Format::Yaml => self.bytes(serde_saphyr::to_string(value).unwrap_or_default().as_bytes()),
            Format::Name => self.line(value["name"].as_str().unwrap_or_default()),
        }
    }

    /// Text in a colour, where there are colours.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => 32,
            Colour::Red => 31,
            Colour::Yellow => 33,
            Colour::Grey => 90,
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Columns of the terminal.
    pub(crate) fn width(&self) -> usize {
        let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let is = || rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
        asked.or_else(is).filter(|width| *width > 0).unwrap_or(110)
    }
}

/// The colour of a mark or a state.
pub(crate) fn colour_of(state: &str) -> Option<Colour> {
    match state.rsplit_once("STATE_").map_or(state, |(_, state)| state) {
        "SUCCEEDED" => Some(Colour::Green),
        "FAILED" | "REFUSED" => Some(Colour::Red),
        "RUNNING" | "ACCEPTED" | "RECEIVED" => Some(Colour::Yellow),
        "CANCELED" | "SUPERSEDED" | "SKIPPED" => Some(Colour::Grey),
        _ => None,
    }
}

/// Text of the server or a repository on one line, without control characters.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
