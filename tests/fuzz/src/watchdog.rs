//! Sees when the code does not come back from an input.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use crate::{Target, corpus};

/// Longest time for one input of at most 64 KiB, all properties together, in a build without optimisation.
pub const LIMIT: Duration = Duration::from_secs(10);

enum News {
    Begun(Vec<u8>),
    Done,
}

/// Watches one thread.
#[derive(Debug)]
pub struct Watchdog {
    news: Sender<News>,
    _thread: JoinHandle<()>,
}

impl Watchdog {
    /// Ends the process with the input in the corpus when one takes too long.
    #[must_use]
    pub fn new(target: Target) -> Self {
        let (news, heard) = channel();
        Self { news, _thread: std::thread::spawn(move || watch(target, &heard)) }
    }

    /// The same check, watched.
    pub fn check(&self, target: Target, input: &[u8]) -> Result<(), String> {
        self.news.send(News::Begun(input.to_vec())).ok();
        let checked = target.check(input);
        self.news.send(News::Done).ok();
        checked
    }
}

fn watch(target: Target, heard: &Receiver<News>) {
    while let Ok(news) = heard.recv() {
        let News::Begun(input) = news else { continue };
        match heard.recv_timeout(LIMIT) {
            // A panic leaves no word; the next input does.
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let kept = corpus::keep(target, &input).map(|path| path.display().to_string());
                eprintln!("{}: no answer within {LIMIT:?} to {} bytes: {kept:?}", target.name(), input.len());
                std::process::exit(1);
            }
        }
    }
}
