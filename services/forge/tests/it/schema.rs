//! The forge's GraphQL schema is a part of GitHub's.

use std::collections::HashMap;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    FieldDefinition, InputValueDefinition, ServiceDocument, TypeDefinition, TypeKind, TypeSystemDefinition,
};

type Types<'a> = HashMap<&'a str, &'a TypeDefinition>;

fn types(document: &ServiceDocument) -> Types<'_> {
    let definitions = document.definitions.iter();
    let types = definitions.filter_map(|definition| match definition {
        TypeSystemDefinition::Type(one) => Some((one.node.name.node.as_str(), &one.node)),
        _ => None,
    });
    types.collect()
}

type Arguments = [async_graphql::Positioned<InputValueDefinition>];

fn arguments(at: &str, ours: &Arguments, theirs: &Arguments, wrong: &mut Vec<String>) {
    for one in ours {
        let one = &one.node;
        let twin = theirs.iter().map(|other| &other.node).find(|other| other.name.node == one.name.node);
        match twin {
            None => wrong.push(format!("{at}({}) is not GitHub's", one.name.node)),
            Some(twin) if twin.ty.node.to_string() != one.ty.node.to_string() => {
                wrong.push(format!("{at}({}) is {}, GitHub has {}", one.name.node, one.ty.node, twin.ty.node));
            }
            Some(_) => {}
        }
    }
    for other in theirs.iter().map(|other| &other.node) {
        let needed = !other.ty.node.nullable && other.default_value.is_none();
        if needed && !ours.iter().any(|one| one.node.name.node == other.name.node) {
            wrong.push(format!("{at}({}) is required by GitHub and not known here", other.name.node));
        }
    }
}

type Fields = [async_graphql::Positioned<FieldDefinition>];

fn fields(at: &str, ours: &Fields, theirs: &Fields, wrong: &mut Vec<String>) {
    for one in ours.iter().map(|one| &one.node) {
        let here = format!("{at}.{}", one.name.node);
        match theirs.iter().map(|other| &other.node).find(|other| other.name.node == one.name.node) {
            None => wrong.push(format!("{here} is not GitHub's")),
            Some(twin) => {
                if twin.ty.node.to_string() != one.ty.node.to_string() {
                    wrong.push(format!("{here} is {}, GitHub has {}", one.ty.node, twin.ty.node));
                }
                arguments(&here, &one.arguments, &twin.arguments, wrong);
            }
        }
    }
}

/// Everything of `ours` that `theirs` has not, or has differently.
fn differences(ours: &str, theirs: &str) -> Vec<String> {
    let (ours, theirs) = (parse_schema(ours).unwrap(), parse_schema(theirs).unwrap());
    let (ours, theirs) = (types(&ours), types(&theirs));
    let mut wrong = Vec::new();
    for (name, one) in &ours {
        let Some(twin) = theirs.get(name) else {
            wrong.push(format!("{name} is not GitHub's"));
            continue;
        };
        match (&one.kind, &twin.kind) {
            (TypeKind::Scalar, TypeKind::Scalar) => {}
            (TypeKind::Object(one), TypeKind::Object(twin)) => {
                for interface in &one.implements {
                    if !twin.implements.iter().any(|other| other.node == interface.node) {
                        wrong.push(format!("{name} is no {} at GitHub", interface.node));
                    }
                }
                fields(name, &one.fields, &twin.fields, &mut wrong);
            }
            (TypeKind::Interface(one), TypeKind::Interface(twin)) => {
                fields(name, &one.fields, &twin.fields, &mut wrong)
            }
            (TypeKind::Union(one), TypeKind::Union(twin)) => {
                for member in &one.members {
                    if !twin.members.iter().any(|other| other.node == member.node) {
                        wrong.push(format!("{name} has no {} at GitHub", member.node));
                    }
                }
            }
            (TypeKind::Enum(one), TypeKind::Enum(twin)) => {
                for value in &one.values {
                    if !twin.values.iter().any(|other| other.node.value.node == value.node.value.node) {
                        wrong.push(format!("{name} has no {} at GitHub", value.node.value.node));
                    }
                }
            }
            (TypeKind::InputObject(one), TypeKind::InputObject(twin)) => {
                arguments(name, &one.fields, &twin.fields, &mut wrong);
            }
            _ => wrong.push(format!("{name} is something else at GitHub")),
        }
    }
    wrong.sort();
    wrong
}

#[test]
fn it_is_a_part_of_githubs() {
    let file = std::env::var_os("KFOPS_GITHUB_SCHEMA").expect("KFOPS_GITHUB_SCHEMA is not set: run make test");
    let theirs = std::fs::read_to_string(&file).expect("KFOPS_GITHUB_SCHEMA cannot be read: run make test");
    let wrong = differences(&kfops_forge::graphql_schema(), &theirs);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_github_has_not_is_seen() {
    let theirs = "type Query { a(x: Int): String b: Int! } enum E { A }";
    let ours = "type Query { a(x: Int!, y: Int): String b: Int c: Int } enum E { A B } scalar S";
    let wrong = differences(ours, theirs);
    let parts = ["E has no B", "Query.a(x) is Int!", "Query.a(y)", "Query.b is Int,", "Query.c", "S is not"];
    assert_eq!(wrong.len(), parts.len(), "{wrong:?}");
    assert!(wrong.iter().zip(parts).all(|(one, part)| one.starts_with(part)), "{wrong:?}");
    let narrower = differences("type Query { a: String }", "type Query { a(x: Int!): String }");
    assert_eq!(narrower, ["Query.a(x) is required by GitHub and not known here"]);
}
