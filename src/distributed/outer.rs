//! Averages of weights that several ranks trained for some steps on their own.

/// The outer step of DiLoCo (Douillard et al. 2023, arXiv 2311.08105, algorithm 1): the mean over ranks of how far the
/// weights came in `local_steps` steps is a gradient, along which SGD with Nesterov momentum moves the weights that all
/// ranks began with. A learning rate of 1 without momentum is the average of the weights.
#[derive(Clone, Debug)]
pub struct OuterStep {
    lr: f32,
    momentum: f32,
    /// Weights at the last average, by parameter.
    start: Vec<Vec<f32>>,
    velocity: Vec<Vec<f32>>,
}

impl OuterStep {
    /// Starts at these weights, at rest.
    pub fn new(lr: f64, momentum: f64, start: Vec<Vec<f32>>) -> Self {
        let velocity = start.iter().map(|weights| vec![0.0; weights.len()]).collect();
        Self { lr: lr as f32, momentum: momentum as f32, start, velocity }
    }

    /// Begins again at other weights, with this momentum buffer.
    pub fn restart(&mut self, start: Vec<Vec<f32>>, velocity: Vec<Vec<f32>>) {
        (self.start, self.velocity) = (start, velocity);
    }

    /// The momentum buffer, by parameter.
    pub fn velocity(&self) -> &[Vec<f32>] {
        &self.velocity
    }

    /// How far a parameter has come since the last average: start − now.
    pub fn difference(&self, parameter: usize, now: &[f32]) -> Vec<f32> {
        self.start[parameter].iter().zip(now).map(|(start, now)| start - now).collect()
    }

    /// The parameter's new weights from its mean difference: v ← μv + d, w ← w − η(d + μv).
    pub fn step(&mut self, parameter: usize, mean_difference: &[f32]) -> &[f32] {
        let (lr, momentum) = (self.lr, self.momentum);
        let (start, velocity) = (&mut self.start[parameter], &mut self.velocity[parameter]);
        for ((weight, velocity), difference) in start.iter_mut().zip(velocity).zip(mean_difference) {
            *velocity = momentum * *velocity + difference;
            *weight -= lr * (difference + momentum * *velocity);
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_momentum_it_is_the_average() {
        let mut outer = OuterStep::new(1.0, 0.0, vec![vec![1.0, 2.0]]);
        let of_ranks = [[0.5f32, 2.5], [1.0, 1.0]].map(|now| outer.difference(0, &now));
        let mean: Vec<f32> = (0..2).map(|at| (of_ranks[0][at] + of_ranks[1][at]) / 2.0).collect();
        assert_eq!(outer.step(0, &mean), [0.75, 1.75]);
    }

    #[test]
    fn momentum_is_pytorch_s_nesterov() {
        // torch.optim.SGD(lr=0.7, momentum=0.9, nesterov=True) on one weight with gradients 1, 0.5, -0.25.
        let mut outer = OuterStep::new(0.7, 0.9, vec![vec![0.0]]);
        let (mut weight, mut buffer) = (0.0f64, 0.0f64);
        for gradient in [1.0f32, 0.5, -0.25] {
            buffer = 0.9 * buffer + f64::from(gradient);
            weight -= 0.7 * (f64::from(gradient) + 0.9 * buffer);
            assert!((f64::from(outer.step(0, &[gradient])[0]) - weight).abs() < 1e-6);
        }
        assert!((f64::from(outer.velocity()[0][0]) - buffer).abs() < 1e-6);
    }
}
