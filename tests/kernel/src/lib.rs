//! What must be impossible, with the real kernel.
