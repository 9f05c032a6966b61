use super::*;

const TEMPLATE: &str = r#"
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: "{{ name }}", namespace: {{ namespace }}}
spec:
  predictor:
    model:
      modelFormat: {name: sklearn}
      protocolVersion: v2
      storageUri: {{ storage_uri }}
"#;

fn inputs() -> Inputs {
    Inputs {
        service: ServiceName { namespace: "team".into(), name: "iris".into() },
        storage_uri: "file:///store/models/r-1".into(),
        run_id: "r-1".into(),
        commit: String::new(),
    }
}

fn rendered(template: &str) -> Result<Predictor, Failure> {
    let inputs = inputs();
    predictor(&render(template, &inputs)?, &inputs)
}

#[test]
fn a_template_says_format_protocol_and_model() {
    let expected =
        Predictor { format: "sklearn".into(), protocol: Protocol::V2, storage_uri: "file:///store/models/r-1".into() };
    assert_eq!(rendered(TEMPLATE).unwrap(), expected);
}

#[test]
fn addresses_of_object_stores_are_taken_as_kserve_wants_them() {
    assert_eq!(storage_uri("minio://mlpipeline/v2/r-1/model"), "s3://mlpipeline/v2/r-1/model");
    for uri in ["s3://bucket/r-1", "gs://bucket/r-1", "pvc://claim/r-1"] {
        assert_eq!(storage_uri(uri), uri);
        let inputs = Inputs { storage_uri: uri.into(), ..inputs() };
        assert_eq!(predictor(&render(TEMPLATE, &inputs).unwrap(), &inputs).unwrap().storage_uri, uri);
    }
}

#[test]
fn an_absent_storage_uri_is_ours_and_the_old_style_is_read() {
    let template = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: iris}\nspec: {predictor: {sklearn: {}}}";
    let predictor = rendered(template).unwrap();
    assert_eq!((predictor.protocol, predictor.storage_uri.as_str()), (Protocol::V1, "file:///store/models/r-1"));
    let inside = template.replace("sklearn: {}", "sklearn: {storageUri: '{{ storage_uri }}/model'}");
    assert_eq!(rendered(&inside).unwrap().storage_uri, "file:///store/models/r-1/model");
}

#[test]
fn what_is_no_inference_service_of_this_rollout_is_refused() {
    for (from, to, says) in [
        ("serving.kserve.io/v1beta1", "v1", "apiVersion is `v1`"),
        ("kind: InferenceService", "kind: Pod", "kind is `Pod`"),
        ("{{ name }}", "other", "metadata.name is `other`"),
        ("{{ namespace }}", "kube-system", "metadata.namespace is `kube-system`"),
        ("v2", "grpc-v2", "protocolVersion is `grpc-v2`"),
        ("{{ storage_uri }}", "file:///etc", "storageUri is `file:///etc`"),
        ("{{ storage_uri }}", "{{ storage_uri }}/../r-2", "is not the model of this rollout"),
        ("{{ storage_uri }}", "{{ secret }}", "cannot be filled in"),
        ("predictor:", "predictor: []\n  x:", "spec.predictor is missing"),
        ("{{ namespace }}", "{{ namespace", "cannot be filled in"),
        ("spec:", "spec: [", "no valid YAML"),
    ] {
        let failure = rendered(&TEMPLATE.replace(from, to)).unwrap_err();
        assert_eq!(failure.reason, Reason::TemplateInvalid);
        assert!(failure.message.contains(says), "{to}: {}", failure.message);
    }
}

#[test]
fn hostile_values_do_not_reach_the_yaml() {
    for bad in ["file:///x\nkind: Pod", "file:///x\"", "file:///x: y", "file:///a #b", "file:///{{ name }}"] {
        let inputs = Inputs { storage_uri: bad.into(), ..inputs() };
        assert_eq!(render(TEMPLATE, &inputs).unwrap_err().reason, Reason::TemplateInvalid, "{bad}");
    }
}

#[test]
fn templates_that_never_end_are_ended() {
    for bad in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}",
        "{{ 'x' * 9999999 }}",
        "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]",
    ] {
        assert_eq!(rendered(bad).unwrap_err().reason, Reason::TemplateInvalid, "{}", &bad[..20]);
    }
}
