//! The forge as its users meet it: octocrab, git, a browser, a webhook receiver.
