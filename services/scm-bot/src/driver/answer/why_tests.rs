//! Links of `/why`.
