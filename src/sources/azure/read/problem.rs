//! Why a listing could not be read, in a form that can be told many times.

use std::sync::Arc;
use std::time::Duration;

use crate::sources::azure::arm::ArmError;
use crate::sources::{Failure, SourceError};

/// Why a listing, or part of it, could not be read.
#[derive(Clone, Debug)]
pub(in crate::sources::azure) struct Problem {
    cause: Cause,
}

#[derive(Clone, Debug)]
enum Cause {
    Arm(Arc<ArmError>),
    Resource { resource: String, message: String },
    Unconfirmed { count: usize },
    NotVisible,
    State(String),
    TookTooLong,
    Defect(String),
}

impl Problem {
    /// A resource that is not what it should be.
    pub(super) fn resource(resource: &str, message: impl Into<String>) -> Self {
        Self { cause: Cause::Resource { resource: resource.to_owned(), message: message.into() } }
    }

    /// Resources that are missing and not confirmed as gone.
    pub(super) fn unconfirmed(count: usize) -> Self {
        Self { cause: Cause::Unconfirmed { count } }
    }

    /// A subscription that the identity no longer sees.
    pub(super) fn not_visible() -> Self {
        Self { cause: Cause::NotVisible }
    }

    /// A subscription in a state in which it is not read.
    pub(super) fn state(state: &str) -> Self {
        Self { cause: Cause::State(state.to_owned()) }
    }

    /// A listing that came to no end.
    pub(super) fn took_too_long() -> Self {
        Self { cause: Cause::TookTooLong }
    }

    /// A panic.
    pub(in crate::sources::azure) fn defect(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        Self { cause: Cause::Defect(message) }
    }

    /// Whether asking for more of the same now is in vain: it is not about one resource.
    pub(super) fn is_general(&self) -> bool {
        match &self.cause {
            Cause::Arm(error) => !matches!(
                error.as_ref(),
                ArmError::Forbidden { .. }
                    | ArmError::NotFound
                    | ArmError::Conflict { .. }
                    | ArmError::Body(_)
            ),
            _ => false,
        }
    }

    /// How long Azure asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match &self.cause {
            Cause::Arm(error) => match error.as_ref() {
                ArmError::Throttled { retry_after } => *retry_after,
                _ => None,
            },
            _ => None,
        }
    }

    /// What tells this problem from another: its text may hold ids of requests.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.error().label() == other.error().label() && self.permission() == other.permission()
    }

    fn permission(&self) -> Option<&str> {
        let Cause::Arm(error) = &self.cause else { return None };
        match error.as_ref() {
            ArmError::Forbidden { action, .. } if !action.is_empty() => Some(action),
            _ => None,
        }
    }

    /// The error to tell.
    pub(in crate::sources::azure) fn error(&self) -> SourceError {
        match &self.cause {
            Cause::Arm(error) => SourceError::Azure(Arc::clone(error)),
            Cause::Resource { resource, message } => {
                SourceError::Resource { resource: resource.clone(), message: message.clone() }
            }
            Cause::Unconfirmed { count } => SourceError::Unconfirmed { count: *count },
            Cause::NotVisible => SourceError::SubscriptionNotVisible,
            Cause::State(state) => SourceError::SubscriptionState { state: state.clone() },
            Cause::TookTooLong => SourceError::TookTooLong,
            Cause::Defect(message) => SourceError::Defect { message: message.clone() },
        }
    }

    /// The failure of the listing `scope`.
    pub(in crate::sources::azure) fn failure(&self, scope: &str) -> Failure {
        Failure {
            scope: scope.to_owned(),
            error: self.error(),
            missing_permission: self.permission().map(str::to_owned),
        }
    }
}

impl From<ArmError> for Problem {
    fn from(error: ArmError) -> Self {
        Self { cause: Cause::Arm(Arc::new(error)) }
    }
}
