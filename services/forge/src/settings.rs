//! What the forge is told when it starts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::Role;

/// Settings of one forge.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder for repositories and the database. Made if absent.
    pub root: PathBuf,
    /// Where to listen. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// The address that people and bots use, if it is not `http://<listen>`.
    pub public_url: Option<String>,
    /// Users with their tokens. They are made if absent.
    pub accounts: Vec<Account>,
    /// Whether callers from this machine may push, comment and press buttons on the pages without a token.
    pub trust_loopback: bool,
    /// Who a push without a token from this machine is ascribed to.
    pub local_user: String,
    /// Requests an hour for one user. Without it nothing is refused and the headers speak of 5,000.
    pub rate_limit: Option<u32>,
    /// Holds webhooks back until [`crate::Forge::deliver`], so that hooks can get their new addresses first.
    pub hold_deliveries: bool,
    /// Lets the token of a user `name[bot]` write check runs. GitHub wants an App for that.
    pub bot_tokens_are_apps: bool,
    /// How long the token of an installation lives.
    pub installation_token_life: Duration,
    /// Largest push, in bytes.
    pub max_push: u64,
    /// A file that every request with its answer and every webhook is appended to, as lines of JSON.
    pub exchange_log: Option<PathBuf>,
    /// Whether other processes may arrange faults, at `/_forge/`.
    pub fault_admin: bool,
}

/// A user of the forge with a token.
#[derive(Debug, Clone)]
pub struct Account {
    /// Login; one that ends in `[bot]` is an app.
    pub login: String,
    /// What it may do in every repository.
    pub role: Role,
    /// `Authorization: Bearer` value.
    pub token: SecretString,
}

impl Settings {
    /// Settings for a forge in `root` on a free loopback port, trusting this machine.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            public_url: None,
            accounts: Vec::new(),
            trust_loopback: true,
            local_user: "author".to_owned(),
            rate_limit: None,
            hold_deliveries: false,
            bot_tokens_are_apps: false,
            installation_token_life: Duration::from_secs(3600),
            max_push: 1 << 30,
            exchange_log: None,
            fault_admin: false,
        }
    }

    /// Adds a user with a token.
    #[must_use]
    pub fn account(mut self, login: impl Into<String>, role: Role, token: impl Into<String>) -> Self {
        let token = SecretString::from(token.into());
        self.accounts.push(Account { login: login.into(), role, token });
        self
    }
}
