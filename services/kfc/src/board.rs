//! The steps of a command while it runs: on a terminal with spinners, else one line for each step that has ended.

use std::collections::HashSet;

use kfops_local::waterfall;
use serde_json::Value as Json;

use crate::output::{Output, colour_of};

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// What was printed so far.
pub(crate) struct Board<'a> {
    output: &'a Output,
    /// Titles of the steps whose last line stands.
    printed: HashSet<String>,
    running: Vec<Json>,
    /// Lines below the cursor's start that are drawn anew.
    live: usize,
    frame: usize,
    /// Shows nothing.
    quiet: bool,
}

impl<'a> Board<'a> {
    pub(crate) fn new(output: &'a Output, quiet: bool) -> Self {
        Self { output, printed: HashSet::new(), running: Vec::new(), live: 0, frame: 0, quiet }
    }

    /// A new snapshot.
    pub(crate) fn show(&mut self, command: &Json) {
        if self.quiet || !self.output.is_table() {
            return;
        }
        let mut text = self.erase();
        self.running.clear();
        for step in command["steps"].as_array().into_iter().flatten() {
            let title = step["title"].as_str().unwrap_or_default();
            match step["state"].as_str().unwrap_or_default() {
                "STEP_STATE_RUNNING" => self.running.push(step.clone()),
                "STEP_STATE_SUCCEEDED" | "STEP_STATE_FAILED" | "STEP_STATE_SKIPPED" | "STEP_STATE_CANCELED"
                    if self.printed.insert(title.to_owned()) =>
                {
                    text.push_str(&self.coloured(step));
                    text.push('\n');
                }
                _ => {}
            }
        }
        text.push_str(&self.spinners());
        self.output.bytes(text.as_bytes());
    }

    /// The spinners turn.
    pub(crate) fn tick(&mut self) {
        if !self.output.terminal || !self.output.is_table() || self.running.is_empty() {
            return;
        }
        self.frame += 1;
        let text = self.erase() + &self.spinners();
        self.output.bytes(text.as_bytes());
    }

    /// Removes the spinners.
    pub(crate) fn close(&mut self) {
        let text = self.erase();
        self.output.bytes(text.as_bytes());
    }

    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.live) {
            0 => String::new(),
            lines => format!("\u{1b}[{lines}A\u{1b}[J"),
        }
    }

    fn spinners(&mut self) -> String {
        if !self.output.terminal {
            return String::new();
        }
        // A line that wraps would not be erased.
        let width = self.output.width().saturating_sub(1);
        let mut text = String::new();
        for step in &self.running {
            let line = waterfall::step_line(step).replacen('●', FRAMES[self.frame % FRAMES.len()], 1);
            text.push_str(&line.chars().take(width).collect::<String>());
            text.push('\n');
        }
        self.live = self.running.len();
        text
    }

    fn coloured(&self, step: &Json) -> String {
        let state = step["state"].as_str().unwrap_or_default();
        let (line, mark) = (waterfall::step_line(step), waterfall::mark(state));
        match (colour_of(state), line.strip_prefix(mark)) {
            (Some(colour), Some(rest)) if !mark.is_empty() => self.output.paint(colour, mark) + rest,
            _ => line,
        }
    }
}
