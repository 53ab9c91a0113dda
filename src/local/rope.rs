//! The angles by which queries and keys are turned, and the ways in which models stretch them.

use std::f64::consts::PI;

/// How the angles are stretched for contexts longer than the first training's.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scaling {
    /// Not at all.
    None,
    /// All alike.
    Linear {
        /// By how much.
        factor: f64,
    },
    /// Llama 3.1's: slow ones are stretched, fast ones are not, and between them it changes smoothly.
    Llama3 {
        /// By how much the slow ones are stretched.
        factor: f64,
        /// Turns in the original context below which all is stretched.
        low: f64,
        /// Turns above which nothing is.
        high: f64,
        /// The original context.
        original: f64,
    },
    /// Each by a factor of its own; the results are multiplied by a magnitude (longrope).
    Factors {
        /// By how much.
        factors: Vec<f64>,
        /// The magnitude.
        magnitude: f64,
    },
}

/// The angles of one kind of layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    /// Angle per position, of each pair.
    inverse: Vec<f32>,
    magnitude: f32,
}

impl Rope {
    /// Angles for heads of which the first `rotated` elements are turned.
    ///
    /// # Errors
    /// When the numbers make no sense.
    pub fn new(base: f64, rotated: usize, scaling: &Scaling) -> Result<Rope, String> {
        if base <= 0.0 || rotated == 0 || !rotated.is_multiple_of(2) || rotated > 1 << 16 {
            return Err(format!("rope of {rotated} elements with base {base} makes no sense"));
        }
        let plain = (0..rotated / 2).map(|pair| base.powf(-(2.0 * pair as f64) / rotated as f64));
        let mut magnitude = 1.0;
        let inverse: Vec<f32> = match scaling {
            Scaling::None => plain.map(|inverse| inverse as f32).collect(),
            Scaling::Linear { factor } => plain.map(|inverse| (inverse / factor) as f32).collect(),
            Scaling::Llama3 { factor, low, high, original } => {
                let stretch = |inverse: f64| {
                    let turns = original * inverse / (2.0 * PI);
                    if turns < *low {
                        return inverse / factor;
                    }
                    if turns > *high {
                        return inverse;
                    }
                    let part = (turns - low) / (high - low);
                    (1.0 - part) * inverse / factor + part * inverse
                };
                plain.map(|inverse| stretch(inverse) as f32).collect()
            }
            Scaling::Factors { factors, magnitude: by } => {
                if factors.len() != rotated / 2 {
                    return Err(format!("the rope scaling has {} factors, not {}", factors.len(), rotated / 2));
                }
                magnitude = *by;
                plain.zip(factors).map(|(inverse, factor)| (inverse / factor) as f32).collect()
            }
        };
        if !inverse.iter().all(|inverse| inverse.is_finite()) {
            return Err("the rope scaling makes no finite angles".to_owned());
        }
        Ok(Rope { inverse, magnitude: magnitude as f32 })
    }

    /// How many pairs are turned.
    pub fn half(&self) -> usize {
        self.inverse.len()
    }

    /// Adds the cosines and sines of a position's angles, times the magnitude.
    pub fn push_angles(&self, position: usize, cosines: &mut Vec<f32>, sines: &mut Vec<f32>) {
        for inverse in &self.inverse {
            let (sine, cosine) = (position as f32 * inverse).sin_cos();
            cosines.push(cosine * self.magnitude);
            sines.push(sine * self.magnitude);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_3_stretches_the_slow_ones_only() {
        let plain = Rope::new(500_000.0, 64, &Scaling::None).unwrap();
        let scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let stretched = Rope::new(500_000.0, 64, &scaling).unwrap();
        assert_eq!(plain.inverse[0], stretched.inverse[0]);
        assert!((plain.inverse[31] / stretched.inverse[31] - 8.0).abs() < 1e-4);
        let ratios: Vec<f32> = plain.inverse.iter().zip(&stretched.inverse).map(|(one, other)| one / other).collect();
        assert!(ratios.is_sorted() && ratios.iter().any(|ratio| (1.5..7.0).contains(ratio)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(Rope::new(10_000.0, 7, &Scaling::None).is_err());
        assert!(Rope::new(0.0, 8, &Scaling::None).is_err());
        assert!(Rope::new(10_000.0, 8, &Scaling::Linear { factor: 0.0 }).is_err());
        assert!(Rope::new(10_000.0, 8, &Scaling::Factors { factors: vec![1.0; 3], magnitude: 1.0 }).is_err());
    }
}
