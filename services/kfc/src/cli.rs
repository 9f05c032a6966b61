//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{output::Format, verbs::Verb};

/// From a comment on a pull request to a live model: the commands of Kfops in a shell.
#[derive(Debug, Parser)]
#[command(name = "kfc", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 nobody there.")]
pub(crate) struct Cli {
    /// Base URL of the gateway. Else .kfops/endpoints.json of `kfc local up`, here or above, else http://127.0.0.1:7401.
    #[arg(long, global = true, env = "KFOPS_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Verb(Verb),
    /// Lists commands, the newest first.
    List(ListArgs),
    /// Shows a command: its steps, what came of it, why it failed.
    Show {
        /// Id or full name of a command, or `latest`.
        command: String,
    },
    /// Follows a command to its end.
    Watch {
        /// Id or full name of a command, or `latest`.
        command: String,
    },
    /// Prints the log of a step: of the one that failed, else of the last that has one.
    Logs {
        /// Id or full name of a command, or `latest`.
        command: String,
        /// Title of the step, e.g. "image trainer".
        #[arg(long)]
        step: Option<String>,
    },
    /// Draws the trace of a command; --output json gives OTLP JSON.
    Trace {
        /// Id or full name of a command, or `latest`.
        command: String,
        /// Base URL of the trace store; `kfc local up` says where its own is.
        #[arg(long, env = "KFOPS_TRACES", value_name = "URL")]
        traces: Option<String>,
    },
    /// Lists the locks: who deploys where, and who waits for it.
    Locks,
    /// Says everything that is wrong with a repository, each with its place.
    Check {
        /// The repository.
        #[arg(default_value = ".")]
        path: PathBuf,
    },
    /// Prints a completion script.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// The whole system on this machine, without a cluster.
    Local(kfops_local::LocalArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only of this pull request.
    #[arg(long)]
    pub(crate) pr: Option<u32>,
    /// Only of this repository.
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) repo: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
