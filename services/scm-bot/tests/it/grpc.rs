//! The adapter to the workers, over real gRPC with scripted workers.

use std::sync::Arc;

use kfops_proto::command::State;
use kfops_rpc::Lifecycle;
use kfops_scm_bot::{WorkerSettings, workers::GrpcWorkers};
use tokio::net::TcpListener;

use crate::{
    workers::Workers,
    world::{World, comment_payload},
};

async fn scripted() -> (Workers, GrpcWorkers) {
    let workers = Workers::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let routes = workers.routes();
    tokio::spawn(async move { kfops_rpc::serve(listener, routes, &[], &Lifecycle::new()).await.unwrap() });
    let settings =
        WorkerSettings { image_builder: address.clone(), pipeline_runner: address.clone(), serving_deployer: address };
    let client = GrpcWorkers::new(&settings).unwrap();
    (workers, client)
}

#[tokio::test]
async fn a_ship_over_grpc() {
    let (workers, client) = scripted().await;
    let world = World::with(None, Some(Arc::new(client))).await;
    let payload = comment_payload(1, 1, "author", "/ship --set max_depth=5 --set pipeline_args.name=x");
    let accepted = world.deliver("g-1", "issue_comment", payload, None).await.unwrap();
    let command = world.ended(&accepted.commands[0]).await;
    assert_eq!(command.state(), State::Succeeded, "{command:#?}");
    let titles: Vec<_> = command.steps.iter().map(|step| step.title.as_str()).collect();
    for title in ["image trainer", "task train", "revision iris-00008", "canary 10 %"] {
        assert!(titles.contains(&title), "{titles:?}");
    }
    let lineage = command.lineage.unwrap();
    assert_eq!(lineage.reused_images, ["client"]);
    assert_eq!(lineage.revision, "iris-00008");
    workers.with(|data| {
        let kinds: Vec<_> = data.begun.iter().map(|name| name.split('/').next().unwrap()).collect();
        assert_eq!(kinds, ["builds", "pipelineVersions", "runs", "rollouts"]);
        let mut arguments: Vec<_> = data.runs_asked[0]
            .arguments
            .iter()
            .map(|(key, value)| format!("{key}={:?}", value.kind.as_ref().unwrap()))
            .collect();
        arguments.sort();
        assert_eq!(arguments, ["features=NumberValue(4.0)", "max_depth=NumberValue(5.0)", "name=StringValue(\"x\")"]);
        let asked = &data.rollouts_asked[0];
        assert_eq!(asked.inference_service, "namespaces/iris/inferenceServices/iris");
        assert_eq!(asked.strategy.as_ref().unwrap().canary, [10, 50]);
        assert_eq!(asked.model.as_ref().unwrap().uri, "file:///models/r");
        assert_eq!(asked.fence, 1);
        assert_eq!(data.builds_asked[0].images.len(), 2);
        assert_eq!(data.traces.len(), 4);
    });
}
