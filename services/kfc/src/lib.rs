//! `kfc`: the commands of Kfops from a shell, against the gateway's REST API; `kfc check` for a repository; `kfc local`
//! for the whole system on one machine. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 nobody there.

mod board;
mod check;
mod cli;
mod client;
mod exit;
mod locks;
mod logs;
mod name;
mod output;
mod repository;
mod server;
mod start;
mod subject;
mod trace;
mod verbs;
mod view;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use kfops_core::Reason;

use crate::{
    cli::{Cli, Command},
    client::Client,
    exit::Exit,
    output::Output,
};

/// Reads the command line and does what it says.
pub async fn main() -> ExitCode {
    // clap ends the process with 2 for wrong usage and 0 for --help.
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            exit.print();
            ExitCode::from(exit.code())
        }
    }
}

async fn run(cli: Cli) -> Result<(), Exit> {
    let Cli { server, output, command } = cli;
    let output = Output::new(output);
    let command = match command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kfc", &mut script);
            output.bytes(&script);
            return Ok(());
        }
        Command::Check { path } => return check::run(&path, &output),
        Command::Local(args) => {
            return kfops_local::run(args).await.map_err(|failure| match failure.reason {
                Reason::InvalidArgument => Exit::Usage(failure),
                _ => Exit::Failed(failure),
            });
        }
        other => other,
    };
    let server = server::find(server)?;
    let client = Client::new(&server)?;
    match command {
        Command::Verb(verb) => start::run(&client, &server, verb, &output).await,
        Command::List(args) => view::list(&client, &args, &output).await,
        Command::Show { command } => view::show(&client, &command, &output).await,
        Command::Watch { command } => {
            let command = name::resolve(&client, &command).await?;
            watch::to_the_end(&client, &command, false, &output).await
        }
        Command::Logs { command, step } => logs::run(&client, &command, &step.unwrap_or_default(), &output).await,
        Command::Trace { command, traces } => trace::run(&client, &server, &command, traces, &output).await,
        Command::Locks => locks::run(&client, &output).await,
        // Done above, without a server.
        Command::Check { .. } | Command::Completion { .. } | Command::Local(_) => Ok(()),
    }
}
