//! The catalogue of error codes: the one place where a code, its HTTP status and its meaning are fixed.

use axum::http::StatusCode;

macro_rules! catalogue {
    ($($variant:ident = $text:literal, $status:ident, $retryable:literal, $message:literal, $advice:literal;)+) => {
        /// Every code that the API answers with. Codes are stable: they are added, never changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ApiCode {
            $(
                #[doc = $message]
                $variant,
            )+
        }

        impl ApiCode {
            /// Every code, in the order of the guide.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable text: `INSUFFICIENT_BALANCE`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The HTTP status of an answer whose `error.code` it is.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$variant => StatusCode::$status,)+
                }
            }

            /// Whether the very same request may succeed later. For a request with an `external_id`
            /// it is always safe to send it again.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self {
                    $(Self::$variant => $retryable,)+
                }
            }

            /// What happened, in one sentence.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)+
                }
            }

            /// What to do next, for the guide.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self {
                    $(Self::$variant => $advice,)+
                }
            }
        }
    };
}

catalogue! {
    // The request as a whole.
    MalformedRequest = "MALFORMED_REQUEST", BAD_REQUEST, false,
        "The request cannot be read as HTTP with a complete body.",
        "Check the client's connection and its Content-Length, then send the request again.";
    RequestTimeout = "REQUEST_TIMEOUT", REQUEST_TIMEOUT, true,
        "The body did not arrive in time. Nothing was written.",
        "A body has to arrive within ten seconds. Check the connection and the Content-Length, then send the same request again on a new connection.";
    MalformedJson = "MALFORMED_JSON", BAD_REQUEST, false,
        "The body is not one JSON document.",
        "The message names line and column. Numbers out of range, text that is not UTF-8 and more than 120 levels of nesting are refused as well.";
    DuplicateField = "DUPLICATE_FIELD", BAD_REQUEST, false,
        "An object of the body has the same field twice.",
        "Send every field once: readers of JSON disagree on which of two values counts.";
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", UNSUPPORTED_MEDIA_TYPE, false,
        "The body is not declared as JSON.",
        "Send `Content-Type: application/json`.";
    BodyTooLarge = "BODY_TOO_LARGE", PAYLOAD_TOO_LARGE, false,
        "The body is larger than this endpoint reads.",
        "The limit is 64 KiB, and 1 MiB for a batch. Send several smaller batches.";
    RouteNotFound = "ROUTE_NOT_FOUND", NOT_FOUND, false,
        "There is nothing at this path.",
        "Compare the path with `/openapi.json`.";
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED, false,
        "This path does not answer to this method.",
        "The `Allow` header names the methods that it answers to.";
    ValidationFailed = "VALIDATION_FAILED", UNPROCESSABLE_ENTITY, false,
        "Several fields are not acceptable.",
        "`fields` has one entry, with a code of its own, for each of them. A request with a single bad field answers with that field's code.";
    MissingField = "MISSING_FIELD", UNPROCESSABLE_ENTITY, false,
        "A required field is missing.",
        "`fields` names it.";
    UnknownField = "UNKNOWN_FIELD", UNPROCESSABLE_ENTITY, false,
        "The body has a field that the API does not know.",
        "Check the spelling. A misspelt optional field would otherwise be ignored in silence.";
    WrongType = "WRONG_TYPE", UNPROCESSABLE_ENTITY, false,
        "A field has the wrong JSON type.",
        "The message says which type is wanted.";
    UnknownParameter = "UNKNOWN_PARAMETER", BAD_REQUEST, false,
        "The query has a parameter that the API does not know.",
        "Check the spelling. A misspelt filter would otherwise return everything.";
    InvalidParameter = "INVALID_PARAMETER", BAD_REQUEST, false,
        "A query parameter has a value that it cannot have, or is given twice.",
        "The message says what is allowed.";
    InvalidCursor = "INVALID_CURSOR", BAD_REQUEST, false,
        "The cursor was not given out by this API.",
        "Pass `next_cursor` of the page before, unchanged, or leave it out for the first page.";
    InvalidId = "INVALID_ID", BAD_REQUEST, false,
        "The id in the path is not an id of the expected form.",
        "Withdrawals are `wd_` and 26 characters; accounts are 1 to 128 printable ASCII characters.";

    // Who asks.
    MissingApiKey = "MISSING_API_KEY", UNAUTHORIZED, false,
        "The request carries no API key.",
        "Send `Authorization: Bearer pk_live_…`.";
    InvalidApiKey = "INVALID_API_KEY", UNAUTHORIZED, false,
        "The API key is not known.",
        "Check that the whole key was copied. Keys are shown once, when they are created.";
    RevokedApiKey = "REVOKED_API_KEY", UNAUTHORIZED, false,
        "The API key was revoked.",
        "Use another key, or have one created.";
    MissingScope = "MISSING_SCOPE", FORBIDDEN, false,
        "The API key may not do this.",
        "The message names the scope that is needed. Have a key created with it.";

    // What is asked for.
    InvalidExternalId = "INVALID_EXTERNAL_ID", UNPROCESSABLE_ENTITY, false,
        "The external id is not acceptable.",
        "Use 1 to 255 printable ASCII characters without spaces. It may be given as `external_id` or as the `Idempotency-Key` header.";
    IdempotencyKeyMismatch = "IDEMPOTENCY_KEY_MISMATCH", UNPROCESSABLE_ENTITY, false,
        "The Idempotency-Key header and `external_id` differ.",
        "They are two forms of one thing: give one of them, or the same value in both.";
    ExternalIdConflict = "EXTERNAL_ID_CONFLICT", CONFLICT, false,
        "The external id was used before, with another body.",
        "An external id names one request for ever. If this is a new payment, give it a new id; if it is a retry, send the first body unchanged.";
    InvalidAccountId = "INVALID_ACCOUNT_ID", UNPROCESSABLE_ENTITY, false,
        "The account id is not acceptable.",
        "Use 1 to 128 printable ASCII characters without spaces.";
    UnknownAccount = "UNKNOWN_ACCOUNT", UNPROCESSABLE_ENTITY, false,
        "The account does not exist.",
        "An account begins with its first deposit: `POST /v1/accounts/{id}/deposits`.";
    InsufficientBalance = "INSUFFICIENT_BALANCE", UNPROCESSABLE_ENTITY, false,
        "The account has less available than the withdrawal needs.",
        "Deposit more, wait until a withdrawal under way is released, or ask for less. Nothing was reserved.";
    UnknownNetwork = "UNKNOWN_NETWORK", UNPROCESSABLE_ENTITY, false,
        "The network is not one that this deployment pays on.",
        "`GET /v1/networks` lists them.";
    UnknownAsset = "UNKNOWN_ASSET", UNPROCESSABLE_ENTITY, false,
        "The asset is not registered on this network.",
        "`GET /v1/networks` lists the assets of each network.";
    AssetMismatch = "ASSET_MISMATCH", UNPROCESSABLE_ENTITY, false,
        "`asset` and `token_address` name different things.",
        "Give one of them, or both of the same asset.";
    AssetDisabled = "ASSET_DISABLED", UNPROCESSABLE_ENTITY, false,
        "New withdrawals of this asset are switched off.",
        "Withdrawals that were accepted before go on. Ask the operator when it is switched on again.";
    AmountNotText = "AMOUNT_NOT_TEXT", UNPROCESSABLE_ENTITY, false,
        "The amount is a JSON number.",
        "Write it as a string, `\"12.5\"`: a JSON number loses digits on its way.";
    AmountMalformed = "AMOUNT_MALFORMED", UNPROCESSABLE_ENTITY, false,
        "The amount is not a plain decimal number.",
        "Use digits and at most one point: `\"12.5\"`. No sign, separator, space or leading zero.";
    AmountNegative = "AMOUNT_NEGATIVE", UNPROCESSABLE_ENTITY, false,
        "The amount is negative.",
        "Ask for a positive amount.";
    AmountZero = "AMOUNT_ZERO", UNPROCESSABLE_ENTITY, false,
        "The amount is zero.",
        "Ask for a positive amount.";
    AmountExponent = "AMOUNT_EXPONENT", UNPROCESSABLE_ENTITY, false,
        "The amount is written with an exponent.",
        "Write the digits out: `\"1000000\"`, not `\"1e6\"`.";
    AmountTooPrecise = "AMOUNT_TOO_PRECISE", UNPROCESSABLE_ENTITY, false,
        "The amount has more decimal places than the asset.",
        "Nothing is rounded. `GET /v1/networks` names the decimals of each asset.";
    AmountTooLarge = "AMOUNT_TOO_LARGE", UNPROCESSABLE_ENTITY, false,
        "The amount does not fit in 256 bits.",
        "Check the unit: amounts are in whole tokens, not in atomic units.";
    AmountBelowMinimum = "AMOUNT_BELOW_MINIMUM", UNPROCESSABLE_ENTITY, false,
        "The amount is below the asset's minimum.",
        "`GET /v1/networks` names the minimum of each asset.";
    AmountAboveMaximum = "AMOUNT_ABOVE_MAXIMUM", UNPROCESSABLE_ENTITY, false,
        "The amount is above the asset's maximum.",
        "`GET /v1/networks` names the maximum of each asset. Split the payment, or ask the operator.";
    AddressMalformed = "ADDRESS_MALFORMED", UNPROCESSABLE_ENTITY, false,
        "The address is not `0x` and 40 hexadecimal digits.",
        "Names such as `alice.eth` are not resolved.";
    AddressChecksum = "ADDRESS_CHECKSUM", UNPROCESSABLE_ENTITY, false,
        "The address has a wrong EIP-55 checksum.",
        "A character is probably mistyped. Copy the address again from its source; do not lower its case to get past this.";
    AddressZero = "ADDRESS_ZERO", UNPROCESSABLE_ENTITY, false,
        "The destination is the zero address.",
        "A payment to it is lost. Check the destination.";
    AddressPrecompile = "ADDRESS_PRECOMPILE", UNPROCESSABLE_ENTITY, false,
        "The destination is a precompiled or system contract of the chain.",
        "A payment to it is lost. Check the destination.";
    AddressTokenContract = "ADDRESS_TOKEN_CONTRACT", UNPROCESSABLE_ENTITY, false,
        "The destination is the token's own contract.",
        "A payment to it is lost. Check the destination.";
    AddressOwn = "ADDRESS_OWN", UNPROCESSABLE_ENTITY, false,
        "The destination belongs to this deployment.",
        "Give the address of the recipient, not that of a hot wallet.";
    InvalidPriority = "INVALID_PRIORITY", UNPROCESSABLE_ENTITY, false,
        "The priority is not known.",
        "Use `standard`, `vip` or `urgent`, or leave it out.";
    InvalidMetadata = "INVALID_METADATA", UNPROCESSABLE_ENTITY, false,
        "The metadata is not acceptable.",
        "Use a JSON object. Numbers at or above 2^53 that are not whole 64-bit integers lose digits: write them as strings.";
    MetadataTooLarge = "METADATA_TOO_LARGE", UNPROCESSABLE_ENTITY, false,
        "The metadata is too large.",
        "At most 4 KiB of compact JSON are kept. Keep a reference, not the document.";
    BatchEmpty = "BATCH_EMPTY", UNPROCESSABLE_ENTITY, false,
        "The batch has no items.",
        "Send 1 to 500 items in `withdrawals`.";
    BatchTooLarge = "BATCH_TOO_LARGE", UNPROCESSABLE_ENTITY, false,
        "The batch has too many items.",
        "Send at most 500 items at once. Nothing of this batch was accepted.";
    WithdrawalNotFound = "WITHDRAWAL_NOT_FOUND", NOT_FOUND, false,
        "There is no such withdrawal.",
        "Check the id, and that the key belongs to the tenant that asked for it.";
    AccountNotFound = "ACCOUNT_NOT_FOUND", NOT_FOUND, false,
        "There is no such account.",
        "An account begins with its first deposit.";
    NotCancelable = "NOT_CANCELABLE", CONFLICT, false,
        "The withdrawal can no longer be canceled.",
        "A block holds it, or it is at its end; the message names its status. Follow it to its end.";
    BoundInBatch = "BOUND_IN_BATCH", CONFLICT, false,
        "The withdrawal travels in a transaction with others, or by the vault, and cannot be canceled alone.",
        "Follow it to its end. An operator can cancel the whole transaction: its withdrawals are queued again then.";
    DeadLetterNotFound = "DEAD_LETTER_NOT_FOUND", NOT_FOUND, false,
        "There is no such dead letter.",
        "List them with `GET /v1/internal/dead-letters?include_ended=true`. Ended ones are forgotten after four days.";
    DeadLetterEnded = "DEAD_LETTER_ENDED", CONFLICT, false,
        "The dead letter has ended already.",
        "Look at it: `end` says how, by whom and why.";
    EstimateReverted = "ESTIMATE_REVERTED", UNPROCESSABLE_ENTITY, false,
        "The node says that this payment would fail.",
        "The token refuses the transfer: it may be paused, or the recipient blocked.";

    // What is not the client's fault.
    QueueFull = "QUEUE_FULL", TOO_MANY_REQUESTS, true,
        "As many withdrawals wait to be paid as this deployment takes. Nothing was written.",
        "Send the same request again, after the time in `Retry-After`. In a batch, send those items again that were refused.";
    TooManyRequests = "TOO_MANY_REQUESTS", TOO_MANY_REQUESTS, true,
        "Too many requests are under way. Nothing was written.",
        "Send the same request again, after the time in `Retry-After`, and fewer at once.";
    FeeAboveCap = "FEE_ABOVE_CAP", SERVICE_UNAVAILABLE, true,
        "The network asks for a fee above the cap of this deployment.",
        "Withdrawals are accepted and wait until the fee falls. Ask for the estimate again later.";
    NodeUnavailable = "NODE_UNAVAILABLE", SERVICE_UNAVAILABLE, true,
        "No node of this network answers.",
        "Withdrawals are accepted and paid when it is back. Ask for the estimate again later.";
    DatabaseUnavailable = "DATABASE_UNAVAILABLE", SERVICE_UNAVAILABLE, true,
        "The database does not answer. Nothing was written.",
        "Send the same request again, after the time in `Retry-After`.";
    OutcomeUnknown = "OUTCOME_UNKNOWN", SERVICE_UNAVAILABLE, true,
        "The request may or may not have been accepted: the database's answer was lost.",
        "Send it again with the same `external_id` and the same body until it answers: it is accepted at most once. Never send it with a new id.";
    IntakeClosed = "INTAKE_CLOSED", SERVICE_UNAVAILABLE, true,
        "Intake is closed until the records are reconciled with the chain. Nothing was written.",
        "The operator has restored a backup. Send the same request again later, with the same `external_id`.";
    InternalError = "INTERNAL_ERROR", INTERNAL_SERVER_ERROR, false,
        "Something went wrong on our side.",
        "Give the `request_id` to the operator: the log has the cause. A withdrawal may be sent again with the same `external_id`.";
}

impl ApiCode {
    /// Whether the answer depends on what operators can change after a withdrawal was accepted. A retry
    /// of an accepted request must still find its withdrawal then, not be told that it is refused.
    #[must_use]
    pub const fn depends_on_settings(self) -> bool {
        matches!(
            self,
            Self::AssetDisabled
                | Self::AmountBelowMinimum
                | Self::AmountAboveMaximum
                | Self::AddressOwn
        )
    }

    /// After how many seconds the request may be sent again, where the answer says so.
    #[must_use]
    pub fn retry_after_seconds(self) -> Option<u64> {
        match (self, self.status()) {
            (Self::QueueFull, _) => Some(5),
            (_, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => Some(1),
            _ => None,
        }
    }

    /// The page of the guide that explains it. `base` is the address of `errors.md`.
    #[must_use]
    pub fn doc_url(self, base: &str) -> String {
        format!("{base}#{}", self.as_str().to_ascii_lowercase())
    }
}
