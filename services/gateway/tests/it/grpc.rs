//! Plain gRPC on the same port.

use kfops_core::Reason;
use kfops_proto::command::{
    AcceptDeliveryRequest, Command, CreateCommandRequest, GetCommandRequest, State, Verb, WatchCommandRequest,
    command_service_client::CommandServiceClient, delivery_service_client::DeliveryServiceClient,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::harness::gateway;

#[tokio::test]
async fn commands_over_grpc() {
    let gateway = gateway().await;
    let channel = kfops_rpc::connect(&gateway.url("")).unwrap();
    let mut client = CommandServiceClient::new(channel);
    let command = Command { verb: Verb::Ship.into(), repository: "o/r".into(), pull_request: 3, ..Command::default() };
    let mut request = tonic::Request::new(CreateCommandRequest { command: Some(command), command_id: "c-1".into() });
    request.metadata_mut().insert("kfops-actor", "root".parse().unwrap());
    let made = client.create_command(request).await.unwrap().into_inner();
    assert_eq!(made.name, "commands/c-1");
    assert_eq!(made.trace_id.len(), 32);
    assert_eq!(gateway.tracer.recorded(), 1);
    assert_eq!(gateway.bot.seen.lock().unwrap().actors, ["local"]);
    let mut watch = client.watch_command(WatchCommandRequest { name: made.name.clone() }).await.unwrap().into_inner();
    let mut states = Vec::new();
    while let Some(snapshot) = watch.message().await.unwrap() {
        states.push(snapshot.state());
    }
    assert_eq!(states, [State::Received, State::Running, State::Succeeded]);
    let status = client.get_command(GetCommandRequest { name: "commands/none".into() }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let failure = kfops_rpc::failure_of(&status);
    assert_eq!((failure.reason, failure.action.as_str()), (Reason::NotFound, "see `kfc list`"));
}

#[tokio::test]
async fn the_inside_is_not_exposed() {
    let gateway = gateway().await;
    let channel = kfops_rpc::connect(&gateway.url("")).unwrap();
    let request = AcceptDeliveryRequest { delivery_id: "x".into(), ..AcceptDeliveryRequest::default() };
    let status = DeliveryServiceClient::new(channel).accept_delivery(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(gateway.delivered(), 0);
}

#[tokio::test]
async fn health_and_reflection() {
    let gateway = gateway().await;
    let channel = kfops_rpc::connect(&gateway.url("")).unwrap();
    let service = "kfops.command.v1.CommandService".to_owned();
    let request = HealthCheckRequest { service: service.clone() };
    assert_eq!(HealthClient::new(channel.clone()).check(request).await.unwrap().get_ref().status, 1);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
    assert!(names.contains(&service) && !names.iter().any(|n| n.contains("DeliveryService")), "{names:?}");
}
