//! Networks with the same weights on every device.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Gradients, Tensor},
};

use super::{
    compare::Results,
    place::{Place, pseudo_random},
};

/// The module with weights that depend on their order alone: matrices and kernels uniform with the variance
/// `2 / fan_in`, scales and variances near 1, shifts near 0.
pub fn filled<M: Module>(module: M, place: &Place) -> M {
    module.map(&mut Fill { place: place.clone(), path: Vec::new(), seed: 100 })
}

struct Fill {
    place: Place,
    path: Vec<String>,
    seed: u32,
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.seed += 1;
        let shape: [usize; D] = param.lazy_shape().dims();
        let name = self.path.last().map_or("", String::as_str);
        let (mean, spread) = match (D, name) {
            (1, "weight" | "gamma" | "running_var") => (1.0, 0.3),
            (1, _) => (0.0, 0.1),
            // Linear layers are `[inputs, outputs]`.
            (2, _) => (0.0, (6.0 / shape[0] as f32).sqrt()),
            _ => (0.0, (6.0 / shape[1..].iter().product::<usize>() as f32).sqrt()),
        };
        let values = pseudo_random(shape.iter().product(), self.seed);
        let tensor = self.place.tensor(values.iter().map(|v| mean + spread * v).collect(), shape);
        param.map(|old| if old.is_require_grad() { tensor.require_grad() } else { tensor })
    }
}

/// Adds the gradient of each parameter that got one, by its path.
pub fn add_parameter_gradients<M: Module>(results: &mut Results, module: &M, gradients: &Gradients) {
    module.visit(&mut Read { results, gradients: Some(gradients), path: Vec::new() });
}

/// Adds each parameter, by its path.
pub fn add_parameters<M: Module>(results: &mut Results, module: &M) {
    module.visit(&mut Read { results, gradients: None, path: Vec::new() });
}

struct Read<'a> {
    results: &'a mut Results,
    gradients: Option<&'a Gradients>,
    path: Vec<String>,
}

impl ModuleVisitor for Read<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        match self.gradients {
            None => self.results.add(path, param.val()),
            Some(gradients) => {
                if let Some(gradient) = param.val().grad(gradients) {
                    self.results.add(format!("gradient of {path}"), gradient);
                }
            }
        }
    }
}
