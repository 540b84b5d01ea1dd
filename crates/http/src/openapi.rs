//! The routes and their description, which is written from the handlers themselves.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, tag::TagBuilder};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::routes::accounts::{__path_create_deposit, __path_read_account};
use crate::routes::accounts::{create_deposit, read_account};
use crate::routes::{batch, dead_letters, documents, fees, health, list, networks, withdrawals};

const DESCRIPTION: &str = "\
Pays withdrawals on EVM chains, each exactly once or provably not at all.

* Authenticate with `Authorization: Bearer pk_live_…`.
* Amounts are decimal strings in whole tokens, never JSON numbers; excess precision is refused, not rounded.
* Every withdrawal and deposit has an `external_id` of yours. Whenever an answer is lost, send the same request again.
* Every answer carries `x-request-id`; send your own to have it echoed and logged.
* Fields are added, never removed or renamed, within `/v1`.";

/// Every route with its description.
pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(base())
        .routes(routes!(withdrawals::create_withdrawal, list::list_withdrawals))
        .routes(routes!(batch::create_withdrawals))
        .routes(routes!(withdrawals::read_withdrawal))
        .routes(routes!(withdrawals::cancel_withdrawal))
        .routes(routes!(fees::estimate_fee))
        .routes(routes!(create_deposit))
        .routes(routes!(read_account))
        .routes(routes!(networks::list_networks))
        .routes(routes!(dead_letters::list_dead_letters))
        .routes(routes!(dead_letters::read_dead_letter))
        .routes(routes!(dead_letters::redrive_dead_letter))
        .routes(routes!(dead_letters::discard_dead_letter))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::health))
        .routes(routes!(health::metrics))
        .routes(routes!(documents::openapi_json))
}

fn base() -> OpenApi {
    let mut components = Components::new();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("pk_live_…")
        .description(Some("An API key. Scopes: withdrawals:read, withdrawals:write, deposits:write, accounts:read, operations."))
        .build();
    components.add_security_scheme("api_key", SecurityScheme::Http(bearer));
    let tag = |name: &str, description: &str| {
        TagBuilder::new().name(name).description(Some(description)).build()
    };
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Portcullis")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(DESCRIPTION))
                .license(Some(
                    LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build(),
                ))
                .build(),
        )
        .components(Some(components))
        .tags(Some([
            tag("withdrawals", "Ask for payments and follow them."),
            tag("accounts", "Credit accounts and look at balances."),
            tag("networks", "Where money can be sent, and what it costs."),
            tag("operations", "For operators: across tenants, with the scope `operations`."),
            tag("health", "For operators."),
            tag("documentation", "For developers."),
        ]))
        .build()
}
