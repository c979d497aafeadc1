//! A device that is reopened when it is lost.

use std::sync::{Arc, Mutex, PoisonError};

use super::device::Gpu;
use crate::{Error, Result};

/// The device a program works on; after a loss, another device of the same adapter replaces it.
pub struct GpuHandle {
    current: Mutex<Arc<Gpu>>,
}

impl GpuHandle {
    /// Starts with this device.
    pub fn new(gpu: Gpu) -> Self {
        Self { current: Mutex::new(Arc::new(gpu)) }
    }

    /// The current device.
    pub fn get(&self) -> Arc<Gpu> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reopens the adapter of a lost device, with the same options and profile.
    ///
    /// Errors: the adapter is gone, or refuses to open another device.
    pub async fn reopen(&self) -> Result<Arc<Gpu>> {
        let old = self.get();
        let mut new = Gpu::open(old.options()).await?;
        if (&new.adapter_name, &new.driver) != (&old.adapter_name, &old.driver) {
            return Err(Error::NoAdapter(format!(
                "the device of {} ({}) was lost, and its adapter is no longer available: found {} ({})",
                old.adapter_name, old.driver, new.adapter_name, new.driver
            )));
        }
        new.profile = old.profile.clone();
        let new = Arc::new(new);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new.clone();
        Ok(new)
    }
}
