//! Who is let in, and what they may do there: forged tokens, foreign sessions, grants at their edges.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

macro_rules! rows {
    (forged: $($forged:literal, $world:ident, $code:literal;)* rest: $($rest:expr;)*) => {
        pub(super) const CASES: &[Case] = &[
            $(case(
                $forged,
                $world,
                &[Hello(concat!(r#"{"token":"{{token:"#, $forged, r#"}}"}"#))],
                Closes(4401, $code),
            ),)*
            $($rest,)*
        ];
    };
}

rows! {
    forged:
    "expired", Guarded, "token_expired";
    "expired long ago", Guarded, "token_expired";
    "expiry before 1970", Guarded, "unauthorized";
    "no expiry", Guarded, "unauthorized";
    "expiry is text", Guarded, "unauthorized";
    "expiry is null", Guarded, "unauthorized";
    "not yet", Guarded, "unauthorized";
    "wrong audience", Guarded, "unauthorized";
    "no audience", Guarded, "unauthorized";
    "audience is empty", Guarded, "unauthorized";
    "empty user", Guarded, "unauthorized";
    "user is a number", Guarded, "unauthorized";
    "long user", Guarded, "unauthorized";
    "channels is a list", Guarded, "unauthorized";
    "unknown operation", Guarded, "unauthorized";
    "alg none", Guarded, "unauthorized";
    "alg nOnE", Guarded, "unauthorized";
    "no alg", Guarded, "unauthorized";
    "alg none with a signature", Guarded, "unauthorized";
    "alg HS384", Guarded, "unauthorized";
    "alg RS256 signed as HS256", Guarded, "unauthorized";
    "another secret", Guarded, "unauthorized";
    "an empty secret", Guarded, "unauthorized";
    "kid is a path", Guarded, "unauthorized";
    "kid is a query", Guarded, "unauthorized";
    "jku", Guarded, "unauthorized";
    "jwk of its own", Guarded, "unauthorized";
    "critical", Guarded, "unauthorized";
    "no signature", Guarded, "unauthorized";
    "other claims", Guarded, "unauthorized";
    "trailing bytes", Guarded, "unauthorized";
    "dots", Guarded, "unauthorized";
    "a mountain of dots", Guarded, "unauthorized";
    "rsa public key as secret", Rsa, "unauthorized";
    "rsa as PS256", Rsa, "unauthorized";
    "ec", Rsa, "unauthorized";
    "ec with an unknown kid", Keys, "unauthorized";
    "ec with the kid of another key", Keys, "unauthorized";
    "ec public key as secret", Keys, "unauthorized";
    "the published secret", Keys, "unauthorized";
    "rsa key of the set", Keys, "unauthorized";
    "alg none with a kid", Keys, "unauthorized";
    rest:
    case("the good one of each kind is taken", Keys, &[Hello(r#"{"token":"{{token:ec without kid}}"}"#)], Lives);
    case("an expired token in a URL", Guarded, &[Plain("/ws?token={{token:expired}}")], Closes(4401, "token_expired"));
    case("an API key is a backend's, over WebSocket too", Guarded, &[Hello(r#"{"token":"{{key}}"}"#), Text(r#"{"type":"publish","id":1,"channel":"user:bob","data":1}"#)], Answers("reply"));
    case("no grant", Guarded, &[Hello(r#"{"token":"{{token:valid}}","subscribe":{"secret":null}}"#)], Denies("secret", "forbidden"));
    case("a grant for a name is none for what begins like it", Guarded, &[Hello(r#"{"token":"{{token:valid}}","subscribe":{"exactly":null}}"#)], Denies("exactly", "forbidden"));
    case("a grant to subscribe is none to publish", Guarded, &[Hello(r#"{"token":"{{token:valid}}"}"#), Text(r#"{"type":"publish","seq":1,"channel":"exact","data":1}"#)], Refuses(1, "forbidden"));
    case("a grant to publish is none to read", Guarded, &[Hello(r#"{"token":"{{token:publish only}}"}"#), Text(r#"{"type":"history","id":1,"channel":"news:a"}"#)], Error("forbidden"));
    case("everything does not reach another user", Guarded, &[Hello(r#"{"token":"{{token:everything}}","subscribe":{"user:bob":null}}"#)], Denies("user:bob", "forbidden"));
    case("nor does everything of users", Guarded, &[Hello(r#"{"token":"{{token:everything of users}}","subscribe":{"user:bob":null}}"#)], Denies("user:bob", "forbidden"));
    case("a star inside a pattern is a character", Guarded, &[Hello(r#"{"token":"{{token:star inside}}","subscribe":{"news":null}}"#)], Denies("news", "forbidden"));
    case("nobody publishes to the own personal channel", Guarded, &[Hello(r#"{"token":"{{token:everything}}"}"#), Text(r#"{"type":"publish","seq":1,"channel":"user:ana","data":1}"#)], Refuses(1, "forbidden"));
    case("presence needs a grant of its own", Guarded, &[Hello(r#"{"token":"{{token:publish only}}"}"#), Text(r#"{"type":"presence","id":1,"channel":"news:a"}"#)], Error("forbidden"));
    case("a guessed session of another user is a new one", Guarded, &[Hello(r#"{"token":"{{token:valid}}","session":"{{case}}","link":9}"#), Text(r#"{"type":"publish","seq":1,"channel":"news:a","data":1}"#), Await("acked"), Hello(r#"{"token":"{{token:bob}}","session":"{{case}}","link":1}"#), Text(r#"{"type":"publish","seq":2,"channel":"news:a","data":1}"#)], Refuses(1, "out_of_order"));
    case("and does not take the other's link", Guarded, &[Hello(r#"{"token":"{{token:valid}}","session":"{{case}}","link":1}"#), Hello(r#"{"token":"{{token:bob}}","session":"{{case}}","link":2}"#), First], Lives);
    case("a refresh as somebody else", Guarded, &[Hello(r#"{"token":"{{token:valid}}"}"#), Text(r#"{"type":"refresh","id":1,"token":"{{token:bob}}"}"#)], Closes(4403, "forbidden"));
    case("a refresh with a forgery", Guarded, &[Hello(r#"{"token":"{{token:valid}}"}"#), Text(r#"{"type":"refresh","id":1,"token":"{{token:alg none}}"}"#)], Closes(4401, "unauthorized"));
    case("a user's token is no backend's", Guarded, &[Dial, Lines("GET /ws/stats HTTP/1.1\nHost: {{host}}\nAuthorization: Bearer {{token:valid}}\n\n")], Status(403, "forbidden"));
}
