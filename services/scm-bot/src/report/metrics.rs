//! Metrics of two runs side by side.

use std::collections::BTreeMap;

/// Most metrics that are compared.
const MOST: usize = 10;

/// `accuracy 0.953 → 0.967 (+0.014)` for each metric of either run; the names are foreign text.
#[must_use]
pub fn compare(live: &BTreeMap<String, f64>, new: &BTreeMap<String, f64>) -> Vec<String> {
    let mut out: Vec<String> = new.iter().take(MOST).map(|(name, new)| one(name, live.get(name), *new)).collect();
    let gone = live.iter().filter(|(name, _)| !new.contains_key(*name));
    out.extend(gone.map(|(name, live)| format!("{name} not measured (live: {})", number(*live))));
    if out.len() > MOST || new.len() > MOST {
        out.truncate(MOST);
        out.push("…".to_owned());
    }
    out
}

fn one(name: &str, live: Option<&f64>, new: f64) -> String {
    match live {
        Some(live) => {
            let change = new - live;
            let sign = if change < 0.0 { "" } else { "+" };
            format!("{name} {} → {} ({sign}{})", number(*live), number(new), number(change))
        }
        None => format!("{name} {} (live: not measured)", number(new)),
    }
}

/// As few digits as tell something: `0.967`, `1234`, `1.2e-5`.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return value.to_string();
    }
    if size >= 1e9 || (size > 0.0 && size < 0.0001) {
        return format!("{value:.2e}");
    }
    let digits = if size >= 1000.0 { 1 } else { 4 };
    let text = format!("{value:.digits$}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if matches!(short, "-0" | "") { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn what_changed() {
        let live = metrics(&[("accuracy", 0.953), ("loss", 0.5), ("rows", 120.0)]);
        let new = metrics(&[("accuracy", 0.967), ("loss", 0.25), ("f1", 0.9)]);
        assert_eq!(
            compare(&live, &new),
            [
                "accuracy 0.953 → 0.967 (+0.014)",
                "f1 0.9 (live: not measured)",
                "loss 0.5 → 0.25 (-0.25)",
                "rows not measured (live: 120)"
            ]
        );
    }

    #[test]
    fn numbers() {
        for (value, shown) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.9666666, "0.9667"),
            (1234.56, "1234.6"),
            (1e12, "1.00e12"),
            (0.000012, "1.20e-5"),
            (f64::NAN, "NaN"),
            (100.0, "100"),
        ] {
            assert_eq!(number(value), shown, "{value}");
        }
    }
}
