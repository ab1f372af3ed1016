//! `POST /api/publish`: from a request to entries of one engine batch, and the answer.
//!
//! Owns the outcome of each publication. Must not know the request's text: that is in `request`.

mod request;

use std::{borrow::Cow, sync::Arc};

use super::{
    HttpApi,
    error::{ApiError, json_response},
};
use crate::{Identity, Operation};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bowline_engine::{Append, AppendError, Appended, Effect, IdempotencyKey};
use bowline_proto::{Code, Position, message::ErrorInfo};
use request::{Key, Order, Parsed};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// The answer for one publication of a request.
#[derive(Serialize, ToSchema)]
struct Stored {
    /// Where it stands; absent on channels without history.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    position: Option<Position>,
    /// It took effect before, and not this time.
    duplicate: bool,
}

/// The answer for several.
#[derive(Serialize, ToSchema)]
struct Results {
    /// One outcome per publication, in order.
    results: Vec<Outcome>,
}

#[derive(Serialize, ToSchema)]
struct Outcome {
    #[schema(value_type = String)]
    channel: Arc<str>,
    #[serde(flatten)]
    outcome: Verdict,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Verdict {
    Stored(Stored),
    Failed {
        #[schema(value_type = Object)]
        error: ErrorInfo,
    },
}

/// One answer, or a list of them.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = PublishAnswer)]
#[expect(dead_code, reason = "it only describes")]
enum Answer {
    #[schema(title = "One")]
    One(Stored),
    #[schema(title = "Several")]
    Several(Results),
}

/// Publishes.
#[utoipa::path(
    post, path = "/api/publish", tag = "channels",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The key, if not in the body.",
            min_length = 1, max_length = 255),
        ("channel" = Option<String>, Query, description = "Of a body of bytes: where to."),
        ("key" = Option<String>, Query, description = "Of a body of bytes: its key."),
        ("tag" = Option<String>, Query, description = "Of a body of bytes: its tag."),
    ),
    security(("api_key" = []), ("bearer" = [])),
    responses((status = 200, description = "Where it stands.", body = Answer)),
)]
pub(super) async fn publish(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let identity = api.identify(&parts).await?;
    let form = request::form(&parts)?;
    let (body, _place) = api.body(identity.role, &parts.headers, body).await?;
    let parsed = request::parse(form, body, &api.config)?;
    match parsed {
        Parsed::One(order) => {
            let channel = order.channel.clone();
            let outcome = api.store(&identity, vec![order]).await?.pop();
            let stored = outcome.expect("one outcome per order")?;
            tracing::debug!(%channel, duplicate = stored.duplicate, "published over HTTP");
            answer(&stored)
        }
        Parsed::Many(orders) => {
            let channels: Vec<_> = orders.iter().map(|order| order.channel.clone()).collect();
            let outcomes = api.store(&identity, orders).await?;
            let results = channels.into_iter().zip(outcomes);
            let results = results.map(|(channel, outcome)| Outcome {
                channel,
                outcome: match outcome {
                    Ok(stored) => Verdict::Stored(stored),
                    Err(error) => {
                        api.node.counters.errors.note(&error.info);
                        Verdict::Failed { error: error.info }
                    }
                },
            });
            answer(&Results {
                results: results.collect(),
            })
        }
    }
}

fn answer(value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value).map_err(|_| ApiError::from(Code::Internal))?;
    Ok(json_response(StatusCode::OK, body))
}

impl HttpApi {
    /// One outcome per order, in order. An error here is one of the whole request.
    async fn store(
        &self,
        identity: &Identity,
        orders: Vec<Order>,
    ) -> Result<Vec<Result<Stored, ApiError>>, ApiError> {
        let mut outcomes: Vec<Option<Result<Stored, ApiError>>> = Vec::with_capacity(orders.len());
        let mut batch = Vec::with_capacity(orders.len());
        for order in orders {
            match self.judge(identity, &order).await {
                Ok(()) => {
                    outcomes.push(None);
                    batch.push(entry(identity, order));
                }
                Err(error) => outcomes.push(Some(Err(error))),
            }
        }
        let mut appended = self.append(batch).await?.into_iter();
        let outcomes = outcomes.into_iter().map(|judged| {
            judged.unwrap_or_else(|| match appended.next() {
                Some(Ok(Appended {
                    position,
                    duplicate,
                    ..
                })) => Ok(Stored {
                    position,
                    duplicate,
                }),
                Some(Err(error)) => Err(error.into()),
                None => Err(Code::Internal.into()),
            })
        });
        Ok(outcomes.collect())
    }

    async fn judge(&self, identity: &Identity, order: &Order) -> Result<(), ApiError> {
        self.check_channel(&order.channel)?;
        if order.data.len() > self.config.message_bytes_max {
            let max = self.config.message_bytes_max;
            return Err(ApiError::new(
                Code::MessageTooBig,
                format!("The data is larger than {max} bytes."),
            ));
        }
        self.may(identity, Operation::Publish, &order.channel).await
    }

    async fn append(
        &self,
        batch: Vec<Append>,
    ) -> Result<Vec<Result<Appended, AppendError>>, ApiError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.node.append(batch).await)
    }
}

fn entry(identity: &Identity, order: Order) -> Append {
    Append {
        producer: None,
        effect: Effect::Publish {
            channel: order.channel,
            data: order.data,
            user: identity.user.clone(),
            tag: order.tag,
            key: order.key.map(|key| digest(&key)),
        },
    }
}

/// The texts of keys are hashed with a mark of their kind, so that a batch's derived keys can't
/// meet those that a publisher wrote.
fn digest(key: &Key) -> IdempotencyKey {
    let text: Cow<'_, str> = match key {
        Key::Own(text) => format!("own:{text}").into(),
        Key::OfBatch { text, index } => format!("batch:{index}:{text}").into(),
    };
    let whole: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    IdempotencyKey(half)
}
