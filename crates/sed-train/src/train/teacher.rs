//! The teacher: an exponential moving average of the student.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use super::{TrainError, average::moved};

/// What the teacher takes over of the student's running statistics (batch norm's mean and
/// variance).
///
/// They are no weights: the student's are themselves moving averages, of the activations that the
/// student's own weights gave.
///
/// ```
/// use burn::{module::Module, nn::BatchNormConfig, tensor::{Device, Tensor}};
/// use sed_train::train::{RunningStatistics, update_teacher};
///
/// let device = Device::default().autodiff();
/// let student = BatchNormConfig::new(1).with_momentum(1.0).init(&device);
/// let teacher = student.valid(); // with a mean of 0
/// student.forward(Tensor::<4>::full([2, 1, 1, 1], 8.0, &device)); // which makes the student's 8
///
/// let mean = |statistics| {
///     let teacher = update_teacher(teacher.clone(), &student, 0.75, statistics);
///     teacher.running_mean.value_sync().into_scalar::<f32>()
/// };
/// assert_eq!(mean(RunningStatistics::Average), 2.0);
/// assert_eq!(mean(RunningStatistics::Copy), 8.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunningStatistics {
    /// They are averaged like weights.
    Average,
    /// They are copied from the student at each update.
    Copy,
}

/// When the teacher starts to average.
///
/// ```
/// use sed_train::train::{AverageFrom, TeacherConfig};
///
/// let decay = |average_from, steps| {
///     TeacherConfig { decay: 0.99, ramp: false, average_from, ..TeacherConfig::default() }.decay_after(steps, 100)
/// };
/// assert_eq!(decay(AverageFrom::Start, 50), 0.99);
/// assert_eq!(decay(AverageFrom::BurnIn, 50), 0.0); // still a copy
/// assert_eq!(decay(AverageFrom::BurnIn, 150), 0.99);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AverageFrom {
    /// With the first step: at the end of burn-in the teacher is the average of the student so far.
    Start,
    /// With the end of burn-in: until then the teacher is a copy of the student.
    BurnIn,
}

/// How the teacher follows the student.
///
/// ```
/// use sed_train::train::TeacherConfig;
///
/// let config = TeacherConfig { decay: 0.999, ..TeacherConfig::default() };
/// assert!(config.validate().is_ok());
/// let error = TeacherConfig { decay: 1.0, ..config }.validate().unwrap_err();
/// assert_eq!(error.to_string(), "teacher.decay = 1: must lie in [0, 1)");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherConfig {
    /// `m` in `teacher ← m·teacher + (1 − m)·student`, in `[0, 1)`.
    pub decay: f64,
    /// When the average starts.
    pub average_from: AverageFrom,
    /// Whether the decay starts low and rises to `decay`, so that a young teacher is not dominated
    /// by the weights that it started from: at update `t = 1, 2, …` it is
    /// `min(decay, 1 − 1 / (1 + t))`.
    pub ramp: bool,
    /// What happens to running statistics.
    pub running_statistics: RunningStatistics,
}

impl Default for TeacherConfig {
    fn default() -> Self {
        Self {
            decay: 0.999,
            average_from: AverageFrom::Start,
            ramp: true,
            running_statistics: RunningStatistics::Average,
        }
    }
}

impl TeacherConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// If `decay` lies outside `[0, 1)`.
    pub fn validate(&self) -> Result<(), TrainError> {
        if !(0.0..1.0).contains(&self.decay) {
            return Err(TrainError::config("teacher.decay", self.decay, "must lie in [0, 1)"));
        }
        Ok(())
    }

    /// The decay after `steps` steps of the student, the first `burn_in` of them on labels alone; 0
    /// where the teacher still is a copy.
    ///
    /// ```
    /// use sed_train::train::TeacherConfig;
    ///
    /// let config = TeacherConfig { decay: 0.99, ..TeacherConfig::default() };
    /// assert_eq!(config.decay_after(0, 100), 0.0); // a copy
    /// assert_eq!(config.decay_after(100_000, 100), 0.99);
    /// ```
    pub fn decay_after(&self, steps: usize, burn_in: usize) -> f64 {
        let updates = match self.average_from {
            AverageFrom::Start => steps,
            AverageFrom::BurnIn => steps.saturating_sub(burn_in),
        };
        if updates == 0 { 0.0 } else { self.decay_at(updates) }
    }

    /// The decay of update `t`, counted from 1.
    ///
    /// ```
    /// use sed_train::train::TeacherConfig;
    ///
    /// let config = TeacherConfig { decay: 0.9, ramp: true, ..Default::default() };
    /// assert_eq!(config.decay_at(1), 0.5);
    /// assert_eq!(config.decay_at(1000), 0.9);
    /// ```
    pub fn decay_at(&self, t: usize) -> f64 {
        if self.ramp { self.decay.min(1.0 - 1.0 / (1.0 + t as f64)) } else { self.decay }
    }
}

/// One update of the teacher: `m·teacher + (1 − m)·student` for every weight.
///
/// A decay of 0 copies the student. The result shares no storage that is written in place with the
/// student, carries no gradient, and is in inference mode if `teacher` is
/// (`teacher = student.valid()` makes one).
///
/// # Panics
///
/// If the two modules have not the same parameters.
///
/// ```
/// use burn::{module::Module, nn::{Linear, LinearConfig}, tensor::Device};
/// use sed_train::train::{RunningStatistics, update_teacher};
///
/// let device = Device::default().autodiff();
/// let layer = LinearConfig::new(1, 1).with_bias(false).init(&device);
/// let set = |layer: Linear, value: f32| Linear {
///     weight: layer.weight.map(|weight| (weight.zeros_like() + value).require_grad()),
///     ..layer
/// };
/// let student = set(layer, 1.0);
/// let teacher = student.valid();
/// let student = set(student, 3.0); // as after a step
/// let teacher = update_teacher(teacher, &student, 0.75, RunningStatistics::Average);
/// assert_eq!(teacher.weight.val().into_scalar::<f32>(), 0.75 * 1.0 + 0.25 * 3.0);
/// ```
pub fn update_teacher<M: Module>(
    teacher: M,
    student: &M,
    decay: f64,
    running_statistics: RunningStatistics,
) -> M {
    // `valid` takes the student off the graph and brings its running statistics up to date: Burn
    // defers their last update until somebody asks for them.
    let mut weights = Collect { found: GradientsParams::new() };
    student.valid().visit(&mut weights);
    let mut blend = Blend { student: weights.found, decay, running_statistics, path: Vec::new() };
    teacher.map(&mut blend)
}

/// The student's float tensors by parameter id, off the graph.
struct Collect {
    found: GradientsParams,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.register(param.id, param.val());
    }
}

struct Blend {
    student: GradientsParams,
    decay: f64,
    running_statistics: RunningStatistics,
    path: Vec<String>,
}

impl ModuleMapper for Blend {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(student) = self.student.remove::<D>(param.id) else {
            panic!("update_teacher: the student has no parameter {}", self.path.join("."));
        };
        let is_statistic = self.path.last().is_some_and(|name| name.starts_with("running_"));
        let copies =
            self.decay == 0.0 || (is_statistic && self.running_statistics == RunningStatistics::Copy);
        let decay = self.decay;
        param.map(|teacher| {
            assert_eq!(teacher.dims(), student.dims(), "update_teacher: teacher and student differ in shape");
            // The teacher lives off the autodiff device, where `inner` is not defined.
            let on_graph = teacher.is_autodiff();
            let teacher = if on_graph { teacher.inner() } else { teacher };
            let blended = if copies { student } else { moved(teacher, student, decay) };
            if on_graph { Tensor::from_inner(blended) } else { blended }
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig},
        tensor::{Device, TensorData, Tolerance},
    };

    use super::*;

    fn linear(weight: f32, bias: f32) -> Linear {
        let device = Device::default().autodiff();
        let mut layer = LinearConfig::new(1, 1).init(&device);
        layer.weight = layer.weight.map(|w| (w * 0.0 + weight).detach().require_grad());
        layer.bias = layer.bias.map(|b| b.map(|b| (b * 0.0 + bias).detach().require_grad()));
        layer
    }

    fn set(layer: Linear, weight: f32) -> Linear {
        Linear { weight: layer.weight.map(|w| (w * 0.0 + weight).detach().require_grad()), ..layer }
    }

    fn weight(layer: &Linear) -> f32 {
        layer.weight.val().into_data().try_to_vec::<f32>().unwrap()[0]
    }

    #[test]
    fn three_updates_by_hand() {
        // Teacher 1, student 3, 5, 7 at decay 0.5: 2, 3.5, 5.25, all exact in binary.
        let mut student = linear(1.0, 0.0);
        let mut teacher = student.valid();
        for (value, expected) in [(3.0, 2.0), (5.0, 3.5), (7.0, 5.25)] {
            student = set(student, value);
            teacher = update_teacher(teacher, &student, 0.5, RunningStatistics::Average);
            assert_eq!(weight(&teacher), expected);
        }
        assert_eq!(weight(&student), 7.0);
    }

    #[test]
    fn decay_zero_copies_and_later_changes_of_the_student_do_not_reach_the_teacher() {
        let student = linear(2.0, 0.5);
        let teacher =
            update_teacher(set(student.clone(), 9.0).valid(), &student, 0.0, RunningStatistics::Average);
        assert_eq!(weight(&teacher), 2.0);
        let student = set(student, 7.0);
        assert_eq!((weight(&student), weight(&teacher)), (7.0, 2.0));
    }

    #[test]
    #[should_panic(expected = "the student has no parameter weight")]
    fn modules_with_other_parameters_are_refused() {
        update_teacher(linear(1.0, 0.0).valid(), &linear(2.0, 0.0), 0.5, RunningStatistics::Average);
    }

    #[test]
    fn the_ramp_rises_to_the_decay() {
        let config = TeacherConfig { decay: 0.9, ..Default::default() };
        let decays: Vec<f64> = (1..20).map(|t| config.decay_at(t)).collect();
        assert_eq!(&decays[..3], &[0.5, 1.0 - 1.0 / 3.0, 0.75]);
        assert!(decays.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(decays[18], 0.9);
        assert_eq!(TeacherConfig { ramp: false, ..config }.decay_at(1), 0.9);
    }

    #[test]
    fn the_teacher_has_no_gradient() {
        let student = linear(2.0, 0.0);
        let teacher = update_teacher(student.valid(), &student, 0.5, RunningStatistics::Average);
        assert!(!teacher.weight.val().is_autodiff());
        assert!(student.weight.val().is_require_grad());
    }

    fn statistics(norm: &BatchNorm) -> TensorData {
        norm.running_mean.value_sync().into_data()
    }

    #[test]
    fn running_statistics_are_not_shared_and_follow_the_option() {
        let device = Device::default().autodiff();
        let student = BatchNormConfig::new(1).with_momentum(1.0).init(&device);
        let teacher = student.valid();
        // Momentum 1 replaces the running mean by the batch mean, 3.
        student.forward(Tensor::<4>::ones([2, 1, 1, 1], &device) * 3.0);
        let three = TensorData::from([3.0f32]);
        statistics(&student).assert_approx_eq::<f32>(&three, Tolerance::absolute(1e-6));
        statistics(&teacher).assert_approx_eq::<f32>(&TensorData::from([0.0f32]), Tolerance::absolute(1e-6));

        let averaged = update_teacher(student.valid(), &student, 0.5, RunningStatistics::Average);
        statistics(&averaged).assert_approx_eq::<f32>(&three, Tolerance::absolute(1e-6));
        let half = update_teacher(teacher.clone(), &student, 0.5, RunningStatistics::Average);
        statistics(&half).assert_approx_eq::<f32>(&TensorData::from([1.5f32]), Tolerance::absolute(1e-6));
        let copied = update_teacher(student.valid(), &student, 0.5, RunningStatistics::Copy);
        statistics(&copied).assert_approx_eq::<f32>(&three, Tolerance::absolute(1e-6));
        statistics(&student).assert_approx_eq::<f32>(&three, Tolerance::absolute(1e-6));
    }

    #[test]
    fn a_decay_outside_the_range_is_refused() {
        for decay in [-0.1, 1.0, f64::NAN] {
            let error = TeacherConfig { decay, ..Default::default() }.validate().unwrap_err();
            assert!(error.to_string().contains("teacher.decay"), "{error}");
        }
    }
}
