//! Deliveries that were taken. The note is written last: a delivery without one is taken again, and its commands have the
//! same names then.

use std::{collections::HashMap, time::SystemTime};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kfops_core::{Failure, Reason, short_hash};
use kube::{
    ResourceExt as _,
    api::{ListParams, PostParams},
};

use super::{
    access::{all, ask, exists, failed, failed_kind, gone},
    ledger::ClusterLedger,
    listing::AT_ONCE,
    pushes::Newest,
    resources::{DeliveryObject, DeliverySpec},
    times::{read, seconds, text},
};
use crate::{
    command::Command,
    ports::{Accepted, Created, Delivery},
};

/// The first object of a ledger: it was begun when this was made.
const BIRTH: &str = "birth";

/// GUIDs may hold what names may not.
fn name(guid: &str) -> String {
    format!("d-{}", short_hash(&[guid], 40))
}

impl ClusterLedger {
    /// Whether a delivery was taken.
    pub(super) async fn taken(&self, guid: &str) -> Result<bool, Failure> {
        match ask(self.0.deliveries.get_metadata(&name(guid))).await {
            Ok(_) => Ok(true),
            Err(error) if gone(&error) => Ok(false),
            Err(error) => Err(failed(&error, &format!("deliveries/{}", name(guid)))),
        }
    }

    /// Notes that a delivery was taken; false when that is known.
    pub(super) async fn note(&self, delivery: &Delivery) -> Result<bool, Failure> {
        let spec =
            DeliverySpec { id: delivery.id.clone(), event: delivery.event.clone(), received: text(delivery.received) };
        self.keep(&DeliveryObject::new(&name(&delivery.id), spec)).await
    }

    async fn keep(&self, object: &DeliveryObject) -> Result<bool, Failure> {
        match ask(self.0.deliveries.create(&PostParams::default(), object)).await {
            Ok(_) => Ok(true),
            Err(error) if exists(&error) => Ok(false),
            Err(error) if gone(&error) => Err(failed_kind::<DeliveryObject>(&error)),
            Err(error) => Err(failed(&error, &format!("deliveries/{}", object.name_any()))),
        }
    }

    pub(super) async fn take(&self, delivery: &Delivery, commands: Vec<Command>) -> Result<Accepted, Failure> {
        if self.taken(&delivery.id).await? {
            return Ok(Accepted::Duplicate);
        }
        let mut pushes: HashMap<(String, u64), Option<Newest>> = HashMap::new();
        let (mut new, none) = (Vec::new(), commands.is_empty());
        for mut command in commands {
            if command.written.is_some() {
                let on = (command.repository.to_string(), command.pull_request);
                if !pushes.contains_key(&on) {
                    let newest = self.newest(&command.repository, command.pull_request).await?;
                    pushes.insert(on.clone(), newest);
                }
                if let Some(Some(newest)) = pushes.get(&on) {
                    command.written_before(&newest.head, newest.at);
                }
            }
            // The same comment may come under another GUID, or a second time because the first was cut off.
            new.extend(self.insert(command).await?);
        }
        let noted = self.note(delivery).await?;
        let known = if none { !noted } else { new.is_empty() };
        Ok(if known { Accepted::Duplicate } else { Accepted::New(new) })
    }

    pub(super) async fn make(&self, command: Command) -> Result<Created, Failure> {
        if let Some(new) = self.insert(command.clone()).await? {
            return Ok(Created::New(new));
        }
        let existing = self.find(&command.id).await?;
        if existing.asked.as_ref().unwrap_or(&existing.command).same_request(&command) {
            return Ok(Created::Existing(existing.command));
        }
        let name = format!("commands/{}", command.id);
        Err(Failure::new(Reason::AlreadyExists, format!("{name} exists and asks for something else"))
            .on(name)
            .action("choose another id"))
    }

    pub(super) async fn not_taken(&self, guids: &[String]) -> Result<Vec<String>, Failure> {
        let known: Vec<_> = stream::iter(guids.to_vec())
            .map(|guid| async move { Ok::<_, Failure>((self.taken(&guid).await?, guid)) })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(known.into_iter().filter(|(known, _)| !known).map(|(_, guid)| guid).collect())
    }

    /// When the ledger was begun, by the API server's clock.
    pub(super) async fn birth(&self) -> Result<SystemTime, Failure> {
        let get = || async {
            match ask(self.0.deliveries.get_metadata(BIRTH)).await {
                Ok(meta) => Ok(Some(meta)),
                Err(error) if gone(&error) => Ok(None),
                Err(error) => Err(failed(&error, "deliveries/birth")),
            }
        };
        let mut birth = get().await?;
        if birth.is_none() {
            let spec = DeliverySpec {
                id: BIRTH.to_owned(),
                event: "the ledger was begun".to_owned(),
                received: text(self.0.clock.now()),
            };
            self.keep(&DeliveryObject::new(BIRTH, spec)).await?;
            birth = get().await?;
        }
        let made = birth.and_then(|birth| birth.metadata.creation_timestamp);
        let made = made.ok_or_else(|| Failure::internal("deliveries/birth has no time"))?;
        Ok(made.0.into())
    }

    /// Names of those that were received before a time.
    pub(super) async fn old_deliveries(&self, before: SystemTime) -> Result<Vec<String>, Failure> {
        let api = &self.0.deliveries;
        let keep = |object: DeliveryObject| {
            let received = read(&object.spec.received);
            let old = received.is_none_or(|received| seconds(received) < seconds(before));
            Some(object.name_any()).filter(|name| old && name != BIRTH)
        };
        let page = |piece| async move { api.list(&piece).await };
        all::<DeliveryObject, _, _, _>(&ListParams::default(), page, keep).await
    }
}
