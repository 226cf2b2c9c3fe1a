//! `google.longrunning.Operations` (PROTOCOL, 55).
use crate::world::*;
use lre_proto::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, WaitOperationRequest,
};
use lre_proto::protobuf;
use lre_proto::re::execution_stage::Value as Stage;
use tonic::Code;

/// PROTOCOL 55: recc and trexe cancel on SIGINT. At once: no grace for who said so.
#[tokio::test]
async fn an_operation_can_be_cancelled() {
    let setting = Setting { grace: std::time::Duration::from_secs(3600), ..Setting::default() };
    let world = World::with(setting).await;
    let mut stream = world.ask(request(world.script("wait gate").await)).await.unwrap();
    let name = until(&mut stream, Stage::Executing).await.name;
    let cancel = CancelOperationRequest { name: name.clone() };
    world.operations.clone().cancel_operation(cancel.clone()).await.unwrap();
    let answer = response(&all(stream).await);
    assert_eq!(answer.status.unwrap().code, Code::Cancelled as i32);
    world.executor.until("the cancellation", |log| log.cancelled == ["gate"]).await;
    world.operations.clone().cancel_operation(cancel).await.expect("what is over stays over");
    let unknown = CancelOperationRequest { name: "operations/x".into() };
    assert_eq!(world.operations.clone().cancel_operation(unknown).await.unwrap_err().code(), Code::NotFound);
}

/// PROTOCOL 55, 56: cancelling one of two leaves the other one's run alone.
#[tokio::test]
async fn cancelling_one_leaves_the_other() {
    let world = World::new().await;
    let action = world.script("wait gate").await;
    let mut mine = world.ask(request(action)).await.unwrap();
    let theirs = world.ask(request(action)).await.unwrap();
    let name = until(&mut mine, Stage::Executing).await.name;
    world.operations.clone().cancel_operation(CancelOperationRequest { name }).await.unwrap();
    assert_eq!(response(&all(mine).await).status.unwrap().code, Code::Cancelled as i32);
    world.executor.open("gate");
    assert_eq!(response(&all(theirs).await).status.unwrap().code, 0);
}

/// PROTOCOL 55: operations are listed in pages; a page size or a token that is none is refused.
#[tokio::test]
async fn operations_are_listed_in_pages() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for i in 0..5 {
        let mut stream = world.ask(request(world.script(&format!("wait {i}")).await)).await.unwrap();
        streams.push((next(&mut stream).await.name, stream));
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let asked = ListOperationsRequest { page_size: 2, page_token, ..Default::default() };
        let page = world.operations.clone().list_operations(asked).await.unwrap().into_inner();
        assert!(page.operations.len() <= 2);
        names.extend(page.operations.iter().map(|o| told(o).name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, streams.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
    for bad in [
        ListOperationsRequest { page_size: -1, ..Default::default() },
        ListOperationsRequest { page_token: "x".into(), ..Default::default() },
    ] {
        assert_eq!(world.operations.clone().list_operations(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

/// PROTOCOL 55: a deleted name is unknown; the operation goes on for whoever streams it.
#[tokio::test]
async fn deleting_forgets_the_name_and_cancels_nothing() {
    let world = World::new().await;
    let mut stream = world.ask(request(world.script("wait gate").await)).await.unwrap();
    let name = until(&mut stream, Stage::Executing).await.name;
    let delete = DeleteOperationRequest { name: name.clone() };
    world.operations.clone().delete_operation(delete.clone()).await.unwrap();
    let get = GetOperationRequest { name: name.clone() };
    assert_eq!(world.operations.clone().get_operation(get).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.wait(&name).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.operations.clone().delete_operation(delete).await.unwrap_err().code(), Code::NotFound);
    world.executor.open("gate");
    assert_eq!(response(&all(stream).await).status.unwrap().code, 0);
}

/// PROTOCOL 55: waiting for an operation ends at its end, or when the client wants to know.
#[tokio::test]
async fn waiting_for_an_operation_has_a_limit() {
    let world = World::new().await;
    let mut stream = world.ask(request(world.script("wait gate").await)).await.unwrap();
    let name = until(&mut stream, Stage::Executing).await.name;
    let soon = Some(protobuf::Duration { seconds: 0, nanos: 1_000_000 });
    let asked = WaitOperationRequest { name: name.clone(), timeout: soon };
    let open = world.operations.clone().wait_operation(asked).await.unwrap().into_inner();
    assert_eq!(told(&open).stage, Stage::Executing);
    world.executor.open("gate");
    let asked = WaitOperationRequest { name, timeout: None };
    let done = world.operations.clone().wait_operation(asked).await.unwrap().into_inner();
    assert_eq!(told(&done).response.unwrap().status.unwrap().code, 0);
}
