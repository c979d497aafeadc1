//! A device that is opened anew when it is lost.

use std::sync::{Arc, Mutex, PoisonError};

use super::device::Gpu;
use crate::{Error, Result};

/// The device that a program works on; after a loss another of the same adapter takes its place.
pub struct GpuHandle {
    current: Mutex<Arc<Gpu>>,
}

impl GpuHandle {
    /// Begins with this device.
    pub fn new(gpu: Gpu) -> Self {
        Self { current: Mutex::new(Arc::new(gpu)) }
    }

    /// The device of now.
    pub fn get(&self) -> Arc<Gpu> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the adapter of a lost device again; kernels are chosen as they were.
    ///
    /// Errors: the adapter is gone, or refuses another device.
    pub async fn reopen(&self) -> Result<Arc<Gpu>> {
        let old = self.get();
        let mut new = Gpu::open(old.options()).await?;
        if (&new.adapter_name, &new.driver) != (&old.adapter_name, &old.driver) {
            return Err(Error::NoAdapter(format!(
                "the device of {} ({}) was lost, and the adapter did not come back: there is {} ({})",
                old.adapter_name, old.driver, new.adapter_name, new.driver
            )));
        }
        new.profile = old.profile.clone();
        let new = Arc::new(new);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new.clone();
        Ok(new)
    }
}
