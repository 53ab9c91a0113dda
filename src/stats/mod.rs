//! Samples in, estimates out. Pure functions over slices of `f64`, each with the source of its formula.
