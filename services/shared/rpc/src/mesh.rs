//! Who is at the other end, as the mesh's sidecar says.

use http::HeaderMap;

/// Envoy's header for the certificates of the peers on the way.
const HEADER: &str = "x-forwarded-client-cert";

/// The principal of the direct peer as Istio's policies write it, e.g. `cluster.local/ns/kfops/sa/kfops-gateway`. Only
/// right behind a sidecar: Istio's appends its own element at the end of the header (`APPEND_FORWARD`) and removes the header
/// where the peer showed no certificate. All that precedes was said by others, so the text is read from its end, and an
/// element that is not exactly as Envoy writes it for a SPIFFE certificate is none.
#[must_use]
pub fn peer_principal(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get_all(HEADER).iter().next_back()?.to_str().ok()?;
    let element = value.rsplit(',').next()?.trim();
    if !element.starts_with("By=spiffe://") {
        return None;
    }
    let mut uris = element.split(';').filter_map(|pair| pair.strip_prefix("URI="));
    let (uri, None) = (uris.next()?, uris.next()) else { return None };
    let principal = uri.strip_prefix("spiffe://")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    (!principal.is_empty() && principal.chars().all(plain)).then_some(principal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INGRESS: &str = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account";
    const OURS: &str = "By=spiffe://cluster.local/ns/kfops/sa/kfops-gateway;Hash=0f6c;Subject=\"\"";

    fn principal(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        peer_principal(&headers).map(str::to_owned)
    }

    #[test]
    fn the_sidecar_s_own_element_counts() {
        let ingress = format!("{OURS};URI=spiffe://{INGRESS}");
        assert_eq!(principal(&[&ingress]).as_deref(), Some(INGRESS));
        let other = format!("{OURS};URI=spiffe://cluster.local/ns/live/sa/default");
        assert_eq!(principal(&[&format!("{ingress},{other}")]).as_deref(), Some("cluster.local/ns/live/sa/default"));
        assert_eq!(principal(&[&ingress, &other]).as_deref(), Some("cluster.local/ns/live/sa/default"));
    }

    #[test]
    fn what_a_peer_says_of_itself_does_not() {
        let other = format!("{OURS};URI=spiffe://cluster.local/ns/live/sa/default");
        // An open quote that would swallow the sidecar's element, were the text read from its start.
        let forged = format!("By=spiffe://a;URI=spiffe://{INGRESS};Subject=\",{other}");
        assert_eq!(principal(&[&forged]).as_deref(), Some("cluster.local/ns/live/sa/default"));
        assert_eq!(principal(&[]), None);
        assert_eq!(principal(&[""]), None);
        assert_eq!(principal(&[&format!("URI=spiffe://{INGRESS}")]), None);
        assert_eq!(principal(&[&format!("{OURS};URI=spiffe://a;URI=spiffe://{INGRESS}")]), None);
        assert_eq!(principal(&[&format!("{OURS};URI=https://{INGRESS}")]), None);
        assert_eq!(principal(&[OURS]), None);
    }
}
