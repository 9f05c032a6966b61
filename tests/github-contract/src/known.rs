//! Answers that GitHub gives and its description leaves out.

/// Why an undocumented status is right all the same.
pub(crate) fn undocumented(status: u16) -> Option<&'static str> {
    Some(match status {
        304 => "conditional requests work everywhere (If-None-Match)",
        400 => "a body that is no JSON",
        401 => "bad credentials, at every operation",
        403 => "rights, and the primary and secondary rate limits, at every operation",
        404 => "GitHub hides what the caller may not see",
        413 | 414 => "a request that is too large",
        429 => "rate limits",
        500..=599 => "GitHub fails",
        _ => return None,
    })
}

/// Schema of the body of an undocumented status of at least 400.
pub(crate) const ERROR: &str = "#/components/schemas/basic-error";

/// Versions of the REST API.
pub(crate) const API_VERSIONS: [&str; 2] = ["2022-11-28", "2026-03-10"];

/// Largest page: GitHub cuts what is more, so that a client that asks for more is wrong about what it gets.
pub(crate) const LARGEST_PAGE: u64 = 100;

/// Whether an error of a webhook says no more than that GitHub sends a field which is newer than the schemas.
pub(crate) fn newer(what: &str) -> bool {
    // In every user, for a year or more; the OpenAPI document has it.
    what == "Additional properties are not allowed ('user_view_type' was unexpected)"
}
