//! The OpenAPI document. Routes and types describe themselves; what is the same for all is added here.

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required};
use utoipa::{Modify, OpenApi};

use crate::dto;
use crate::error::ErrorBody;
use crate::routes::{
    channels, documents, invites, members, messages, node, powers, revolts, tokens,
};

/// Paths that need no token.
const PUBLIC: [&str; 2] = ["/healthz", "/api/openapi.json"];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "RevNet local API",
        description = "The door of one's own node. Ids are strings, times are Unix milliseconds.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        node::healthz,
        node::document,
        node::status,
        node::network,
        node::peers,
        node::rename,
        node::phrase,
        node::backup,
        node::shutdown,
        crate::events::events,
        revolts::list,
        revolts::create,
        revolts::show,
        revolts::edit,
        revolts::leave,
        revolts::join,
        invites::list,
        invites::create,
        invites::revoke,
        channels::create,
        channels::edit,
        messages::page,
        messages::send,
        messages::edit,
        messages::remove,
        messages::react,
        messages::unreact,
        members::list,
        members::edit,
        members::remove,
        powers::roles,
        powers::create,
        powers::edit,
        powers::remove,
        powers::grant,
        powers::take,
        powers::except,
        powers::permissions,
        powers::bans,
        powers::ban,
        powers::unban,
        powers::silence,
        powers::unsilence,
        powers::audit,
        powers::revoke_device,
        documents::list,
        documents::export,
        tokens::list,
        tokens::create,
        tokens::revoke,
    ),
    components(schemas(dto::EventFrame, ErrorBody)),
    modifiers(&Common)
)]
struct Document;

/// The document of this version's API.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// What every operation has: its path's parameters, the error answer, and the need for a token.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = &mut document.components {
            let scheme = HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some("Made with `revnet token new`."))
                .build();
            components.add_security_scheme("token", SecurityScheme::Http(scheme));
        }
        for (path, item) in &mut document.paths.paths {
            let public = PUBLIC.contains(&path.as_str());
            let operations = [
                &mut item.get,
                &mut item.put,
                &mut item.post,
                &mut item.delete,
                &mut item.patch,
            ];
            for operation in operations.into_iter().flatten() {
                complete(operation, path, public);
            }
        }
    }
}

fn complete(operation: &mut Operation, path: &str, public: bool) {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters = operation.parameters.get_or_insert_default();
    parameters.extend(names.map(parameter));
    if parameters.is_empty() {
        operation.parameters = None;
    }
    if public {
        return;
    }
    operation.security = Some(vec![SecurityRequirement::new("token", [] as [&str; 0])]);
    let responses = &mut operation.responses.responses;
    responses.insert("default".to_owned(), RefOr::T(refusal()));
}

fn parameter(name: &str) -> RefOr<Parameter> {
    let kind = if name == "seg" {
        Type::Integer
    } else {
        Type::String
    };
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
        .build();
    RefOr::T(parameter)
}

fn refusal() -> Response {
    ResponseBuilder::new()
        .description("Not carried out")
        .content(
            "application/json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("ErrorBody")))
                .build(),
        )
        .build()
}
