//! Who the callers are in a Kubernetes cluster, and what they may: identities by TokenReview or from the mesh's ingress
//! gateway, rights by SubjectAccessReview.
//!
//! What the service account needs, cluster-wide:
//!
//! | group | resource | verbs |
//! |---|---|---|
//! | authentication.k8s.io | tokenreviews | create |
//! | authorization.k8s.io | subjectaccessreviews | create |

mod identity;
mod recent;
mod right;

pub(crate) use identity::{ClusterUser, Identity};
pub(crate) use right::Right;
