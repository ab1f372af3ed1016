//! `/openapi.json`: every route, for programs (OpenAPI 3.1).
//!
//! Owns what the handlers' own descriptions leave out: the refusals of each route, from the code
//! table, and the form of a publish request.

use std::sync::OnceLock;

use axum::{extract::State, http::StatusCode, response::Response};
use bowline_proto::Code;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::{HttpApi, error::json_response, history, operate, presence, publish, status};
use crate::upgrade;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bowline",
        description = "Publishing, history, presence, operation, statistics and health. Every \
            refusal has the shape `Problem`; its codes are those of PROTOCOL.md, 11.3.",
    ),
    paths(
        upgrade::ws,
        upgrade::general,
        upgrade::session,
        publish::publish,
        history::history,
        presence::presence,
        operate::disconnect,
        operate::stats,
        operate::detailed,
        operate::rate_limit,
        operate::cleanup,
        operate::metrics,
        status::live,
        status::ready,
        document,
    )
)]
struct Document;

/// What a route refuses with beyond [`EVERYWHERE`].
const REFUSALS: &[(&str, &[&[Code]])] = &[
    ("/ws", &[VERDICT, &[Code::UpgradeRequired]]),
    ("/ws/general", &[VERDICT, &[Code::UpgradeRequired]]),
    ("/ws/session/{id}", &[VERDICT, &[Code::UpgradeRequired]]),
    (
        "/api/publish",
        &[AUTH, BODY, STORE, &[Code::BadChannel, Code::TooDeep]],
    ),
    (
        "/api/channels/{channel}/history",
        &[
            AUTH,
            QUESTION,
            &[
                Code::BadChannel,
                Code::BadPosition,
                Code::StorageUnavailable,
            ],
        ],
    ),
    (
        "/api/channels/{channel}/presence",
        &[AUTH, QUESTION, &[Code::BadChannel]],
    ),
    ("/api/disconnect", &[AUTH, BODY]),
    ("/ws/stats", &[AUTH]),
    ("/ws/stats/detailed", &[AUTH, QUESTION]),
    ("/ws/stats/rate-limit", &[AUTH, QUESTION]),
    ("/ws/cleanup", &[AUTH, QUESTION, STORE]),
    ("/metrics", &[AUTH]),
    ("/health/live", &[]),
    (
        "/health/ready",
        &[&[Code::Draining, Code::StorageUnavailable]],
    ),
    ("/openapi.json", &[]),
];

const EVERYWHERE: &[Code] = &[
    Code::OriginNotAllowed,
    Code::HeadersTooLarge,
    Code::Overloaded,
];
const AUTH: &[Code] = &[Code::Unauthorized, Code::TokenExpired, Code::Forbidden];
const QUESTION: &[Code] = &[Code::Malformed];
const BODY: &[Code] = &[
    Code::Malformed,
    Code::HelloTimeout,
    Code::MessageTooBig,
    Code::UnsupportedMediaType,
];
const STORE: &[Code] = &[
    Code::KeyReused,
    Code::TooManyChannels,
    Code::StorageFull,
    Code::StorageUnavailable,
    Code::FateUnknown,
];
const VERDICT: &[Code] = &[
    Code::Malformed,
    Code::BadChannel,
    Code::Unauthorized,
    Code::TokenExpired,
    Code::Forbidden,
    Code::RateLimited,
    Code::TooManyConnections,
    Code::TooManyAttempts,
    Code::Draining,
];

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "health", security(()),
    responses((status = 200, description = "This document.", body = serde_json::Value)),
)]
pub(super) async fn document(State(api): State<HttpApi>) -> Response {
    static TEXTS: [OnceLock<Bytes>; 2] = [OnceLock::new(), OnceLock::new()];
    let dev = api.config.dev;
    let text = TEXTS[usize::from(dev)].get_or_init(|| whole(dev).to_string().into());
    json_response(StatusCode::OK, text.clone())
}

/// The document of a server in development mode, which asks for nothing, or of another.
fn whole(dev: bool) -> Value {
    let mut whole = serde_json::to_value(Document::openapi()).expect("it is plain JSON");
    for (path, refusals) in REFUSALS {
        let refusals: Vec<Code> = refusals.iter().copied().flatten().copied().collect();
        let methods = whole["paths"][path].as_object_mut();
        let methods = methods.expect("every route is described");
        for operation in methods.values_mut() {
            refuse(&mut operation["responses"], &refusals);
            if let Some(parameters) = operation.get_mut("parameters") {
                refine(parameters, path);
            }
            if dev {
                operation["security"] = json!([{}]);
            }
        }
        if path.starts_with("/ws") && refusals.contains(&Code::UpgradeRequired) {
            let mut options = preflight(path);
            options["parameters"] = methods["get"]["parameters"].clone();
            methods.insert("options".to_owned(), options);
        }
    }
    whole["paths"]["/api/publish"]["post"]["requestBody"] = publish_body();
    let schemas = &mut whole["components"]["schemas"];
    schemas["DisconnectRequest"] = disconnect_request();
    schemas["Problem"] = problem();
    schemas["Publication"] = publication(&channel());
    schemas["BatchItem"] = publication(&judged_channel());
    whole["components"]["securitySchemes"] = json!({
        "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, the admin's token, or a user's JSON Web Token."
        },
    });
    whole
}

/// Adds a response for each status that one of these codes has.
fn refuse(responses: &mut Value, refusals: &[Code]) {
    let mut by_status: Map<String, Value> = Map::new();
    for code in EVERYWHERE.iter().chain(refusals) {
        let row = code.row();
        let status = row.http.expect("only such codes are listed").to_string();
        let line = format!("`{}`: {}", row.code, row.meaning);
        let text = match by_status.get(&status).and_then(Value::as_str) {
            Some(before) => format!("{before}\n\n{line}"),
            None => line,
        };
        by_status.insert(status, text.into());
    }
    for (status, text) in by_status {
        let mut response = json!({
            "description": text,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        });
        let retried = matches!(status.as_str(), "429" | "503");
        let header = match status.as_str() {
            "401" => Some("WWW-Authenticate"),
            "426" => Some("Sec-WebSocket-Version"),
            _ if retried => Some("Retry-After"),
            _ => None,
        };
        if let Some(header) = header {
            response["headers"] = json!({header: {"schema": {"type": "string"}}});
        }
        responses[status] = response;
    }
}

/// Gives parameters the forms that Rust's types do not tell.
fn refine(parameters: &mut Value, path: &str) {
    for parameter in parameters.as_array_mut().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        let schema = &mut parameter["schema"];
        let is_number = schema["type"] == "integer" || schema["type"][0] == "integer";
        let text = || json!({"type": "string"});
        *schema = match (name.as_str(), path) {
            ("channel", "/api/publish") => text(),
            ("channel", _) => channel(),
            ("ip", _) | ("after", "/ws/stats/rate-limit") => json!({"anyOf": [
                {"type": "string", "format": "ipv4"},
                {"type": "string", "format": "ipv6"},
            ]}),
            ("after", "/api/channels/{channel}/history") => json!({
                "type": "string",
                "pattern": format!("^[0-9a-f]{{16}}\\.({})\\.[0-9a-f]{{8}}$", offset()),
            }),
            _ if is_number => json!({
                "type": "integer",
                "minimum": schema["minimum"].as_u64().unwrap_or(0),
                "maximum": (1_u64 << 53) - 1,
            }),
            // Spaces may stand inside of it: RFC 9110, 5.5.
            ("Idempotency-Key", _) => json!({
                "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~][\\t -~]*$",
            }),
            _ => text(),
        };
    }
}

fn preflight(path: &str) -> Value {
    json!({
        "operationId": format!("preflight {path}"),
        "tags": ["websocket"],
        "summary": "The preflight of pages that ask for the verdict with a token.",
        "security": [{}],
        "responses": {"204": {
            "description": "Every page may ask.",
            "headers": {"Access-Control-Allow-Origin": {"schema": {"type": "string"}}},
        }},
    })
}

/// Exactly one of three; what utoipa makes of an `Option` allows all and none.
fn disconnect_request() -> Value {
    let choice = |name: &str, form: Value| {
        let absent = json!({"type": "null"});
        let mut properties = json!({"user": absent, "session": absent, "connection": absent});
        properties[name] = form;
        json!({"type": "object", "required": [name], "properties": properties})
    };
    json!({
        "description": "Whom to disconnect: exactly one of the three. Others are absent or null.",
        "oneOf": [
            choice("user", json!({
                "type": "string",
                "description": "All connections of this user.",
            })),
            choice("session", json!({
                "type": "string",
                "pattern": "^[0-9a-f]{32}$",
                "description": "The connection that holds this session, as `/ws/stats/detailed` shows it.",
            })),
            choice("connection", json!({
                "type": "string",
                "pattern": "^(0|[1-9][0-9]{0,18})$",
                "description": "This connection.",
            })),
        ],
    })
}

fn problem() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object",
        "description": "A refusal.",
        "required": ["code", "message", "retry"],
        "properties": {
            "code": {"type": "string", "enum": codes},
            "message": {"type": "string", "description": "For the developer."},
            "retry": {
                "type": "boolean",
                "description": "Whether the same request may succeed later, unchanged.",
            },
            "retry_after_ms": {"type": "integer", "minimum": 0},
        },
    })
}

/// Offsets as a regular expression: none that is taken is left out, and none is in it that is refused.
fn offset() -> String {
    let max = bowline_proto::OFFSET_MAX.to_string();
    let digits = max.len() - 1;
    // With fewer digits, and with as many: of a smaller digit at some place, or the greatest itself.
    let mut forms = vec!["0".to_owned(), format!("[1-9][0-9]{{0,{}}}", digits - 1)];
    for (place, digit) in max.bytes().enumerate() {
        let lowest = if place == 0 { b'1' } else { b'0' };
        if digit > lowest {
            let (before, below) = (&max[..place], digit - b'1');
            let (lowest, behind) = (char::from(lowest), digits - place);
            forms.push(format!("{before}[{lowest}-{below}][0-9]{{{behind}}}"));
        }
    }
    forms.push(max);
    forms.join("|")
}

/// A name as `check_channel` takes it; its length counts in bytes.
fn channel() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
    })
}

/// A name among several: whatever it is, it has an outcome of its own.
fn judged_channel() -> Value {
    json!({
        "type": "string",
        "description": "A name that is not valid makes an error of its own outcome only.",
    })
}

/// A field that may be left out; `null` is the same.
fn optional(form: &Value) -> Value {
    json!({"anyOf": [form, absent()]})
}

fn absent() -> Value {
    json!({"type": "null"})
}

/// One publication, to `one` channel or several.
fn publication(one: &Value) -> Value {
    let channels = json!({
        "type": "array", "items": judged_channel(), "minItems": 1, "maxItems": 1_000,
    });
    let base64 = json!({
        "type": "string",
        "contentEncoding": "base64",
        "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    });
    let key = json!({"type": "string", "minLength": 1, "maxLength": 255});
    let tag = json!({"type": "string", "maxLength": 255});
    json!({
        "type": "object",
        "description": "A publication to one channel or several, of JSON or of bytes in base64. A \
            second one with the same key takes no effect for a while; the tag is echoed in the \
            message.",
        "properties": {
            "channel": optional(one),
            "channels": optional(&channels),
            "data": {"description": "Any JSON."},
            "data_b64": optional(&base64),
            "key": optional(&key),
            "tag": optional(&tag),
            "messages": absent(),
        },
        "allOf": [
            {"oneOf": [
                {
                    "required": ["channel"],
                    "properties": {"channel": {"type": "string"}, "channels": absent()},
                },
                {
                    "required": ["channels"],
                    "properties": {"channels": {"type": "array"}, "channel": absent()},
                },
            ]},
            {"oneOf": [
                {"required": ["data"], "properties": {"data_b64": absent()}},
                {
                    "required": ["data_b64"],
                    "properties": {"data_b64": {"type": "string"}},
                    "not": {"required": ["data"]},
                },
            ]},
        ],
    })
}

fn publish_body() -> Value {
    let one = json!({"$ref": "#/components/schemas/Publication"});
    let item = json!({"$ref": "#/components/schemas/BatchItem"});
    let several = json!({
        "type": "object",
        "description": "Several, each with an outcome of its own.",
        "required": ["messages"],
        "properties": {
            "messages": {"type": "array", "items": item, "minItems": 1, "maxItems": 1_000},
            "channel": absent(),
            "channels": absent(),
            "data_b64": absent(),
            "key": absent(),
            "tag": absent(),
        },
        "not": {"required": ["data"]},
    });
    json!({
        "required": true,
        "content": {
            "application/json": {"schema": {"oneOf": [one, several]}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_and_every_description_has_a_route() {
        let whole = whole(false);
        let described = whole["paths"].as_object().expect("an object").keys();
        let described: BTreeSet<&str> = described.map(String::as_str).collect();
        let routes = super::super::routes().map(|(path, _)| path);
        let routes: BTreeSet<&str> = routes.into_iter().chain(upgrade::PATHS).collect();
        assert_eq!(described, routes);
        let listed: BTreeSet<&str> = REFUSALS.iter().map(|(path, _)| *path).collect();
        assert_eq!(listed, routes);
    }

    #[test]
    fn offsets_go_up_to_the_greatest() {
        let forms = offset();
        for form in [
            "0",
            "[1-9][0-9]{0,14}",
            "[1-8][0-9]{15}",
            "900[0-6][0-9]{12}",
            "900719925474099[0-0][0-9]{0}",
            "9007199254740991",
        ] {
            assert!(
                forms.split('|').any(|found| found == form),
                "{form}: {forms}"
            );
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let whole = whole(false);
        let text = whole.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().expect("it ends");
            assert!(whole.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
