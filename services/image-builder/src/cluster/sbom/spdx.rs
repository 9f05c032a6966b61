//! SPDX 2.3 in JSON, in an in-toto statement (v0.1), as BuildKit takes it.

use kfops_core::short_hash;
use serde_json::{Value, json};

use super::packages::Package;

const IMAGE: &str = "SPDXRef-Image";
const UNKNOWN: &str = "NOASSERTION";

/// The statement about what the image `name` holds; BuildKit says which image that is. `now` is in the form of RFC 3339.
pub(super) fn statement(name: &str, now: &str, found: &[Package]) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://spdx.dev/Document",
        "subject": [],
        "predicate": document(name, now, found),
    })
}

fn document(name: &str, now: &str, found: &[Package]) -> Value {
    let urls: Vec<&str> = found.iter().map(|package| package.url.as_str()).collect();
    let mut packages = vec![json!({
        "SPDXID": IMAGE,
        "name": name,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relationships = vec![related("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for (number, package) in found.iter().enumerate() {
        let id = format!("SPDXRef-Package-{number}");
        relationships.push(related(IMAGE, "CONTAINS", &id));
        packages.push(json!({
            "SPDXID": id,
            "name": package.name,
            "versionInfo": package.version,
            "downloadLocation": UNKNOWN,
            "filesAnalyzed": false,
            "licenseConcluded": UNKNOWN,
            "licenseDeclared": UNKNOWN,
            "copyrightText": UNKNOWN,
            "sourceInfo": format!("listed in {}", package.source),
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package.url,
            }],
        }));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://kfops.dev/spdx/{}", short_hash(&[&[now], urls.as_slice()].concat(), 32)),
        "creationInfo": {"created": now, "creators": [concat!("Tool: kfops-image-builder-", env!("CARGO_PKG_VERSION"))]},
        "packages": packages,
        "relationships": relationships,
    })
}

fn related(from: &str, how: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": how, "relatedSpdxElement": to})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_is_in_the_image_that_the_document_describes() {
        let package = |name: &str| Package {
            url: format!("pkg:pypi/{name}@1"),
            name: name.into(),
            version: "1".into(),
            source: "/x/METADATA".into(),
        };
        let statement = statement("sbom", "2026-01-02T03:04:05Z", &[package("a"), package("b")]);
        let document = &statement["predicate"];
        assert_eq!(statement["predicateType"], "https://spdx.dev/Document");
        let ids: Vec<&Value> =
            document["packages"].as_array().unwrap().iter().map(|package| &package["SPDXID"]).collect();
        let related: Vec<&Value> = document["relationships"]
            .as_array()
            .unwrap()
            .iter()
            .map(|relation| &relation["relatedSpdxElement"])
            .collect();
        assert_eq!(ids, related);
        assert_eq!(document["packages"][2]["externalRefs"][0]["referenceLocator"], "pkg:pypi/b@1");
    }
}
