//! What the reader asks of Azure: the seam between it and [`Arm`], so that
//! tests and benches can put an estate of their own there.

use async_trait::async_trait;
use serde_json::Value;

use super::arm::{Arm, ArmError, Family, List};

/// Reads of Resource Manager.
#[async_trait]
pub trait Client: Send + Sync {
    /// All pages of the listing at `path` (with its api-version).
    ///
    /// # Errors
    /// Any page fails: then there is no listing.
    async fn list(&self, family: &Family, path: &str) -> Result<List, ArmError>;

    /// The resource at `path`.
    ///
    /// # Errors
    /// [`ArmError::NotFound`] says that it is gone.
    async fn get(&self, family: &Family, path: &str) -> Result<Value, ArmError>;

    /// All rows of a Resource Graph query over `subscriptions`, as objects.
    ///
    /// # Errors
    /// Any page fails.
    async fn graph(&self, subscriptions: &[String], query: &str) -> Result<List, ArmError>;
}

#[async_trait]
impl Client for Arm {
    async fn list(&self, family: &Family, path: &str) -> Result<List, ArmError> {
        Self::list(self, family, path).await
    }

    async fn get(&self, family: &Family, path: &str) -> Result<Value, ArmError> {
        Self::get(self, family, path).await
    }

    async fn graph(&self, subscriptions: &[String], query: &str) -> Result<List, ArmError> {
        Self::graph(self, subscriptions, query).await
    }
}
