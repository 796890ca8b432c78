//! The losses of detection and of Scale-Equivalent Distillation.
