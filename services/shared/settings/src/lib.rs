//! Settings of a service: defaults, then a YAML file, then the environment, then flags.

use std::path::PathBuf;

use figment::{
    Figment,
    providers::{Env, Serialized},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

mod duration;
pub use duration::HumanDuration;

/// Flags that every service has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingsFlags {
    /// YAML file with settings.
    #[arg(long, short = 's', value_name = "FILE", env = "KFOPS_SETTINGS")]
    pub settings: Option<PathBuf>,
    /// Sets one value over file and environment, e.g. --set listen=127.0.0.1:9000. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Prints the JSON schema of the settings and ends.
    #[arg(long)]
    pub print_settings_schema: bool,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is not there or not readable.
    #[error("settings file {path}: {cause}", path = .0.display(), cause = .1)]
    Unreadable(PathBuf, std::io::Error),
    /// The file is not YAML.
    #[error("settings file {path}: {cause}", path = .0.display(), cause = .1)]
    NotYaml(PathBuf, String),
    /// `--set` without `=`.
    #[error("--set {0}: write it as key=value")]
    Flag(String),
    /// A value is missing, unknown or of the wrong type.
    #[error("{0}")]
    Invalid(String),
}

/// Reads the settings of `service`. Environment variables are `KFOPS_<SERVICE>_<KEY>`, with `__` between the
/// levels of a key, e.g. `KFOPS_GATEWAY_TELEMETRY__LOG_FILTER=debug`.
pub fn load<T>(service: &str, flags: &SettingsFlags) -> Result<T, SettingsError>
where
    T: Default + Serialize + DeserializeOwned,
{
    let mut figment = Figment::from(Serialized::defaults(T::default()));
    if let Some(path) = &flags.settings {
        let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Unreadable(path.clone(), error))?;
        let values: serde_json::Value =
            serde_saphyr::from_str(&text).map_err(|error| SettingsError::NotYaml(path.clone(), error.to_string()))?;
        if !values.is_null() {
            figment = figment.merge(Serialized::defaults(values));
        }
    }
    let prefix = format!("KFOPS_{}_", service.to_uppercase().replace('-', "_"));
    figment = figment.merge(Env::prefixed(&prefix).split("__"));
    for pair in &flags.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| SettingsError::Flag(pair.clone()))?;
        let value: serde_json::Value = serde_saphyr::from_str(value).unwrap_or_else(|_| value.into());
        figment = figment.merge(Serialized::default(key, value));
    }
    figment.extract().map_err(|error| {
        let lines: Vec<String> = error
            .into_iter()
            .map(|e| {
                let key = e.path.join(".");
                if key.is_empty() { format!("settings: {e}") } else { format!("settings: {key}: {}", e.kind) }
            })
            .collect();
        SettingsError::Invalid(lines.join("; "))
    })
}

/// The JSON schema of a service's settings, indented.
#[must_use]
pub fn schema<T: JsonSchema>() -> String {
    serde_json::to_string_pretty(&schemars::schema_for!(T)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        listen: String,
        limit: u32,
        hold: HumanDuration,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { listen: "127.0.0.1:1".into(), limit: 3, hold: HumanDuration::from_secs(5) }
        }
    }

    fn flags(yaml: &str, set: &[&str]) -> (tempfile::NamedTempFile, SettingsFlags) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(yaml.as_bytes()).unwrap();
        let flags = SettingsFlags {
            settings: Some(file.path().to_owned()),
            set: set.iter().map(ToString::to_string).collect(),
            print_settings_schema: false,
        };
        (file, flags)
    }

    #[test]
    fn flags_win_over_the_file_over_defaults() {
        let (_file, flags) = flags("listen: 0.0.0.0:2\nlimit: 4\n", &["limit=5", "hold=2m"]);
        let settings: Sample = load("sample", &flags).unwrap();
        assert_eq!(settings, Sample { listen: "0.0.0.0:2".into(), limit: 5, hold: HumanDuration::from_secs(120) });
    }

    #[test]
    fn an_unknown_key_is_named() {
        let (_file, flags) = flags("lisen: x\n", &[]);
        let error = load::<Sample>("sample", &flags).unwrap_err().to_string();
        assert!(error.contains("lisen"), "{error}");
    }

    #[test]
    fn a_wrong_type_names_its_key() {
        let (_file, flags) = flags("limit: many\n", &[]);
        let error = load::<Sample>("sample", &flags).unwrap_err().to_string();
        assert!(error.contains("limit"), "{error}");
    }
}
