//! Whose token goes with a request.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::sources::azure::identity::{Identity, IdentityError, Token};

/// Yields tokens for Resource Manager. A trait, so that Resource Manager's
/// client can be tested without Entra.
#[async_trait]
pub trait YieldTokens: Debug + Send + Sync {
    /// A token, from a cache while it lasts.
    ///
    /// # Errors
    /// There is none to be had.
    async fn token(&self) -> Result<Arc<Token>, IdentityError>;

    /// Resource Manager refused the last one.
    fn invalidate(&self);
}

#[async_trait]
impl YieldTokens for Identity {
    async fn token(&self) -> Result<Arc<Token>, IdentityError> {
        Self::token(self).await
    }

    fn invalidate(&self) {
        Self::invalidate(self);
    }
}
