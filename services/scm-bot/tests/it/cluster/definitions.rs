//! charts/kfops/crds is what the types say.

use kfops_scm_bot::cluster::{CommandObject, DeliveryObject, PushObject, TargetObject};
use kube::{CustomResourceExt as _, ResourceExt as _};

use super::server::{definitions, definitions_folder};

#[test]
fn definitions_are_those_of_the_types() {
    let all = [CommandObject::crd(), DeliveryObject::crd(), PushObject::crd(), TargetObject::crd()];
    if std::env::var_os("KFOPS_UPDATE").is_some() {
        std::fs::create_dir_all(definitions_folder()).unwrap();
        for definition in &all {
            let file = definitions_folder().join(format!("{}.yaml", definition.name_any()));
            let text = serde_saphyr::to_string(definition).unwrap();
            let first = "# Made from services/scm-bot/src/cluster/resources.rs: KFOPS_UPDATE=1 cargo test -p kfops-scm-bot definitions_are\n";
            std::fs::write(file, format!("{first}{text}")).unwrap();
        }
    }
    let value = |definition: &_| serde_json::to_value(definition).unwrap();
    let (committed, made) = (definitions(), all);
    assert_eq!(committed.len(), made.len(), "a file too many or too few in charts/kfops/crds");
    for made in &made {
        let committed = committed.iter().find(|committed| committed.name_any() == made.name_any());
        let same = committed.is_some_and(|committed| value(committed) == value(made));
        assert!(same, "{} has drifted: make it anew with KFOPS_UPDATE=1", made.name_any());
    }
}
