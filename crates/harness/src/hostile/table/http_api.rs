//! The HTTP side, misused.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

macro_rules! publish {
    ($name:literal, $world:ident, $headers:literal, $body:literal, $status:literal, $code:literal) => {
        case(
            $name,
            $world,
            &[
                Dial,
                Post(
                    concat!("/api/publish HTTP/1.1\nHost: {{host}}\n", $headers),
                    $body,
                ),
            ],
            Status($status, $code),
        )
    };
}

macro_rules! get {
    ($name:literal, $world:ident, $line:literal, $headers:literal, $status:literal, $code:literal) => {
        case(
            $name,
            $world,
            &[
                Dial,
                Lines(concat!(
                    $line,
                    " HTTP/1.1\nHost: {{host}}\n",
                    $headers,
                    "\n"
                )),
            ],
            Status($status, $code),
        )
    };
}

pub(super) const CASES: &[Case] = &[
    get!("no such route", Dev, "GET /nowhere", "", 404, "not_found"),
    get!(
        "a path that climbs",
        Dev,
        "GET /api/../../etc/passwd",
        "",
        404,
        "not_found"
    ),
    get!(
        "an encoded path that climbs",
        Dev,
        "GET /%2e%2e/%2e%2e/etc/passwd",
        "",
        404,
        "not_found"
    ),
    get!(
        "a slash too many",
        Dev,
        "GET //health/live",
        "",
        404,
        "not_found"
    ),
    get!(
        "GET instead of POST",
        Dev,
        "GET /api/publish",
        "",
        405,
        "method_not_allowed"
    ),
    get!(
        "DELETE",
        Dev,
        "DELETE /api/publish",
        "",
        405,
        "method_not_allowed"
    ),
    get!(
        "TRACE",
        Dev,
        "TRACE /health/live",
        "",
        405,
        "method_not_allowed"
    ),
    get!(
        "a method that nobody knows",
        Dev,
        "BREW /health/live",
        "",
        405,
        "method_not_allowed"
    ),
    get!(
        "CONNECT",
        Dev,
        "CONNECT evil.example:443",
        "",
        404,
        "not_found"
    ),
    get!(
        "history without a name",
        Dev,
        "GET /api/channels//history",
        "",
        400,
        "bad_channel"
    ),
    get!(
        "history of a name with NUL",
        Dev,
        "GET /api/channels/a%00b/history",
        "",
        400,
        "bad_channel"
    ),
    get!(
        "history of a name that is no UTF-8",
        Dev,
        "GET /api/channels/%ff/history",
        "",
        400,
        "bad_channel"
    ),
    get!(
        "history of a name of 256 bytes",
        Dev,
        "GET /api/channels/{{c*256}}/history",
        "",
        400,
        "bad_channel"
    ),
    get!(
        "history after nonsense",
        Dev,
        "GET /api/channels/c/history?after=yesterday",
        "",
        400,
        "bad_position"
    ),
    get!(
        "history with a limit of zero",
        Dev,
        "GET /api/channels/c/history?limit=0",
        "",
        400,
        "malformed"
    ),
    get!(
        "history with a limit below zero",
        Dev,
        "GET /api/channels/c/history?limit=-1",
        "",
        400,
        "malformed"
    ),
    get!(
        "history with a limit beyond numbers",
        Dev,
        "GET /api/channels/c/history?limit=99999999999999999999999",
        "",
        400,
        "malformed"
    ),
    get!(
        "history without a key",
        Guarded,
        "GET /api/channels/c/history",
        "",
        401,
        "unauthorized"
    ),
    get!(
        "history with a wrong key",
        Guarded,
        "GET /api/channels/c/history",
        "X-API-Key: the-api-key-of-the-suitf\n",
        401,
        "unauthorized"
    ),
    get!(
        "history with an empty key",
        Guarded,
        "GET /api/channels/c/history",
        "X-API-Key:\n",
        401,
        "unauthorized"
    ),
    get!(
        "history with the key's beginning",
        Guarded,
        "GET /api/channels/c/history",
        "X-API-Key: the-api-key\n",
        401,
        "unauthorized"
    ),
    get!(
        "basic credentials",
        Guarded,
        "GET /api/channels/c/history",
        "Authorization: Basic YTpi\n",
        401,
        "unauthorized"
    ),
    get!(
        "a bearer of nothing",
        Guarded,
        "GET /api/channels/c/history",
        "Authorization: Bearer\n",
        401,
        "unauthorized"
    ),
    get!(
        "a key that is no text",
        Guarded,
        "GET /api/channels/c/history",
        "X-API-Key: é\n",
        401,
        "unauthorized"
    ),
    get!(
        "a token without the grant",
        Guarded,
        "GET /api/channels/secret/history",
        "Authorization: Bearer {{token:valid}}\n",
        403,
        "forbidden"
    ),
    get!(
        "an expired token",
        Guarded,
        "GET /api/channels/news:a/history",
        "Authorization: Bearer {{token:expired}}\n",
        401,
        "token_expired"
    ),
    get!(
        "statistics without a key",
        Guarded,
        "GET /ws/stats",
        "",
        401,
        "unauthorized"
    ),
    get!(
        "a verdict for a forgery",
        Guarded,
        "GET /ws?token={{token:alg none}}",
        "",
        401,
        "unauthorized"
    ),
    get!(
        "a verdict for an expired token",
        Guarded,
        "GET /ws",
        "Authorization: Bearer {{token:expired}}\n",
        401,
        "token_expired"
    ),
    get!(
        "a foreign page in development mode",
        Dev,
        "GET /api/channels/c/history",
        "Origin: https://evil.example\n",
        403,
        "origin_not_allowed"
    ),
    publish!(
        "a publish without a key",
        Guarded,
        "Content-Type: application/json\n",
        r#"{"channel":"c","data":1}"#,
        401,
        "unauthorized"
    ),
    publish!(
        "a publish of a user without the grant",
        Guarded,
        "Content-Type: application/json\nAuthorization: Bearer {{token:valid}}\n",
        r#"{"channel":"c","data":1}"#,
        403,
        "forbidden"
    ),
    publish!(
        "no media type",
        Dev,
        "",
        r#"{"channel":"c","data":1}"#,
        415,
        "unsupported_media_type"
    ),
    publish!(
        "a form",
        Dev,
        "Content-Type: application/x-www-form-urlencoded\n",
        "channel=c&data=1",
        415,
        "unsupported_media_type"
    ),
    publish!(
        "a page's simple request",
        Dev,
        "Content-Type: text/plain\n",
        r#"{"channel":"c","data":1}"#,
        415,
        "unsupported_media_type"
    ),
    publish!(
        "a compressed body",
        Dev,
        "Content-Type: application/json\nContent-Encoding: gzip\n",
        r#"{"channel":"c","data":1}"#,
        415,
        "unsupported_media_type"
    ),
    publish!(
        "an empty body",
        Dev,
        "Content-Type: application/json\n",
        "",
        400,
        "malformed"
    ),
    publish!(
        "no JSON",
        Dev,
        "Content-Type: application/json\n",
        "hello",
        400,
        "malformed"
    ),
    publish!(
        "a body that is no UTF-8",
        Dev,
        "Content-Type: application/json\n",
        r#"{"channel":"\ud800","data"}"#,
        400,
        "malformed"
    ),
    publish!(
        "no channel",
        Dev,
        "Content-Type: application/json\n",
        r#"{"data":1}"#,
        400,
        "malformed"
    ),
    publish!(
        "channel and channels",
        Dev,
        "Content-Type: application/json\n",
        r#"{"channel":"c","channels":["d"],"data":1}"#,
        400,
        "malformed"
    ),
    publish!(
        "no data",
        Dev,
        "Content-Type: application/json\n",
        r#"{"channel":"c"}"#,
        400,
        "malformed"
    ),
    publish!(
        "data twice",
        Dev,
        "Content-Type: application/json\n",
        r#"{"channel":"c","data":1,"data":2}"#,
        400,
        "malformed"
    ),
    publish!(
        "no channels",
        Dev,
        "Content-Type: application/json\n",
        r#"{"channels":[],"data":1}"#,
        400,
        "malformed"
    ),
    publish!(
        "messages within messages",
        Dev,
        "Content-Type: application/json\n",
        r#"{"messages":[{"messages":[{"channel":1}]}]}"#,
        400,
        "malformed"
    ),
    publish!(
        "30,000 levels",
        Dev,
        "Content-Type: application/json\n",
        r#"{"channel":"c","data":{{[*30000}}{{]*30000}}}  "#,
        400,
        "too_deep"
    ),
    publish!(
        "30,000 levels of messages",
        Dev,
        "Content-Type: application/json\n",
        r#"{{{"messages":[*30000}}"#,
        400,
        "malformed"
    ),
    publish!(
        "a key of 256 bytes",
        Dev,
        "Content-Type: application/json\nIdempotency-Key: {{k*256}}\n",
        r#"{"channel":"c","data":1}"#,
        400,
        "malformed"
    ),
    publish!(
        "two keys that differ",
        Dev,
        "Content-Type: application/json\nIdempotency-Key: a\n",
        r#"{"channel":"c","data":1,"key":"b"} "#,
        400,
        "malformed"
    ),
    publish!(
        "bytes without a channel",
        Dev,
        "Content-Type: application/octet-stream\n",
        "data",
        400,
        "malformed"
    ),
    publish!(
        "a bad channel",
        Dev,
        "Content-Type: application/json\n",
        r#"{"channel":"a\u0001","data":1}"#,
        400,
        "bad_channel"
    ),
    case(
        "a key for another message",
        Dev,
        &[
            Dial,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nIdempotency-Key: {{case}}\nContent-Length: 24\n\n",
            ),
            Body(r#"{"channel":"c","data":1}"#),
            AwaitAnswer,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nIdempotency-Key: {{case}}\nContent-Length: 24\n\n",
            ),
            Body(r#"{"channel":"c","data":2}"#),
        ],
        Status(422, "key_reused"),
    ),
    case(
        "two lengths",
        Dev,
        &[
            Dial,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nContent-Length: 24\nContent-Length: 2\n\n",
            ),
            Body(r#"{"channel":"c","data":1}"#),
        ],
        Status(400, ""),
    ),
    case(
        "a length and chunks, to smuggle a request",
        Dev,
        &[
            Dial,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nContent-Length: 4\nTransfer-Encoding: chunked\n\n0\n\nGET /nowhere HTTP/1.1\nHost: {{host}}\n\n",
            ),
        ],
        Status(400, "malformed"),
    ),
    case(
        "a transfer encoding that is none",
        Dev,
        &[
            Dial,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nTransfer-Encoding: xchunked\n\n0\n\n",
            ),
        ],
        Status(400, ""),
    ),
    case(
        "a chunk whose size is none",
        Dev,
        &[
            Dial,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nTransfer-Encoding: chunked\n\nxyz\n",
            ),
        ],
        Status(400, "malformed"),
    ),
    case(
        "the disk takes too long",
        Hasty,
        &[
            Dial,
            Post(
                "/api/publish HTTP/1.1\nHost: {{host}}\nX-API-Key: {{key}}\nContent-Type: application/json\n",
                r#"{"channel":"public:slow","data":1}"#,
            ),
        ],
        Status(504, "fate_unknown"),
    ),
    case(
        "the disk is gone",
        Disk,
        &[
            LoseFolder,
            Times(
                3,
                &[
                    Dial,
                    Lines(
                        "POST /api/publish?channel=public:gone HTTP/1.1\nHost: {{host}}\nX-API-Key: {{key}}\nContent-Type: application/octet-stream\nContent-Length: 5000\n\n",
                    ),
                    Body("{{x*5000}}"),
                    AwaitAnswer,
                ],
            ),
            Dial,
            Lines(
                "POST /api/publish?channel=public:gone HTTP/1.1\nHost: {{host}}\nX-API-Key: {{key}}\nContent-Type: application/octet-stream\nContent-Length: 5000\n\n",
            ),
            Body("{{x*5000}}"),
        ],
        Status(503, "storage_unavailable"),
    ),
];
