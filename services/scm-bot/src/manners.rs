//! Whom the bot answers. Those who may write, always. Others once for each comment, and so many times an hour: what a
//! stranger writes must not keep it from its work.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use kfops_core::Failure;

use crate::{command::Repository, engine::lock};

/// What GitHub said about somebody so recently need not be asked again, only to know whether to answer.
const FRESH: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Most people that are remembered.
const MOST: usize = 4096;

/// What is remembered of those who write.
#[derive(Default)]
pub(crate) struct Manners(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Of each person in each repository.
    rights: HashMap<String, Arc<Right>>,
    /// When somebody who may not was answered.
    answers: HashMap<String, VecDeque<SystemTime>>,
}

/// A clock that was set back makes it young.
fn age(then: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

/// What GitHub said of somebody's right to write; whoever asks GitHub holds it meanwhile, so that one asks for all.
#[derive(Default)]
pub(crate) struct Right(tokio::sync::Mutex<Option<(bool, SystemTime)>>);

impl Right {
    /// As GitHub said a moment ago, or says now.
    pub(crate) async fn get(
        &self,
        now: SystemTime,
        ask: impl Future<Output = Result<bool, Failure>>,
    ) -> Result<bool, Failure> {
        let mut known = self.0.lock().await;
        if let Some((writes, then)) = *known
            && age(then, now) < FRESH
        {
            return Ok(writes);
        }
        let writes = ask.await?;
        *known = Some((writes, now));
        Ok(writes)
    }

    /// Keeps what GitHub said to somebody else, unless it is being asked.
    pub(crate) fn note(&self, writes: bool, now: SystemTime) {
        if let Ok(mut known) = self.0.try_lock() {
            *known = Some((writes, now));
        }
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        self.0.try_lock().is_ok_and(|known| known.is_some_and(|(_, then)| age(then, now) < FRESH))
    }
}

impl Manners {
    /// Whether somebody may write to a repository.
    pub(crate) fn right(&self, repository: &Repository, actor: &str, now: SystemTime) -> Arc<Right> {
        let rights = &mut lock(&self.0).rights;
        if rights.len() >= MOST {
            rights.retain(|_, right| Arc::strong_count(right) > 1 || right.is_fresh(now));
            if rights.len() >= MOST {
                rights.clear();
            }
        }
        Arc::clone(rights.entry(format!("{repository} {actor}").to_ascii_lowercase()).or_default())
    }

    /// Whether somebody who may not write is answered once more.
    pub(crate) fn answer(&self, actor: &str, now: SystemTime, most: usize) -> bool {
        let answers = &mut lock(&self.0).answers;
        if answers.len() >= MOST {
            answers.retain(|_, times| times.back().is_some_and(|then| age(*then, now) < HOUR));
        }
        let actor = actor.to_ascii_lowercase();
        if answers.len() >= MOST && !answers.contains_key(&actor) {
            return false;
        }
        let times = answers.entry(actor).or_default();
        times.retain(|then| age(*then, now) < HOUR);
        let more = times.len() < most;
        if more {
            times.push_back(now);
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn so_many_answers_an_hour() {
        let manners = Manners::default();
        let at = |minute: u64| UNIX_EPOCH + Duration::from_secs(60 * minute);
        assert!(manners.answer("eve", at(0), 2) && manners.answer("EVE", at(30), 2));
        assert!(!manners.answer("eve", at(59), 2) && manners.answer("ann", at(59), 2));
        assert!(manners.answer("eve", at(60), 2) && !manners.answer("eve", at(61), 2));
        assert!(!manners.answer("bob", at(61), 0));
    }

    #[test]
    fn as_many_people_as_there_is_room_for() {
        let manners = Manners::default();
        for number in 0..MOST {
            assert!(manners.answer(&number.to_string(), UNIX_EPOCH, 2));
        }
        assert!(!manners.answer("one-more", UNIX_EPOCH, 2) && manners.answer("7", UNIX_EPOCH, 2));
        assert!(manners.answer("one-more", UNIX_EPOCH + HOUR, 2));
    }

    #[tokio::test]
    async fn what_github_said_is_good_for_a_minute() {
        let (manners, repository) = (Manners::default(), Repository::parse("o/r").unwrap());
        manners.right(&repository, "ann", UNIX_EPOCH).note(true, UNIX_EPOCH);
        for (seconds, expected) in [(59, true), (60, false)] {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(manners.right(&repository, "Ann", now).get(now, async { Ok(false) }).await, Ok(expected));
        }
        let other = manners.right(&Repository::parse("o/x").unwrap(), "ann", UNIX_EPOCH);
        assert_eq!(other.get(UNIX_EPOCH, async { Ok(false) }).await, Ok(false));
    }
}
