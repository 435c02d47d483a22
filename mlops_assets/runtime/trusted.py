"""The types, beside skops' own list, that a model file may hold. It is read from here, never from a model."""

from __future__ import annotations

_TREES = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)
_NEIGHBORS = tuple(
    f"sklearn.{name}"
    for name in (
        "neighbors._kd_tree.KDTree",
        "neighbors._ball_tree.BallTree",
        "metrics._dist_metrics.EuclideanDistance64",
        "metrics._dist_metrics.ManhattanDistance64",
        "metrics._dist_metrics.MinkowskiDistance64",
        "metrics._dist_metrics.ChebyshevDistance64",
    )
)
_LOSSES = tuple(
    f"sklearn._loss.loss.{name}"
    for name in (
        "HalfTweedieLoss",
        "HalfTweedieLossIdentity",
        "HalfPoissonLoss",
        "HalfGammaLoss",
        "HalfSquaredError",
    )
)
_KERNELS = tuple(
    f"sklearn.gaussian_process.kernels.{name}"
    for name in (
        "ConstantKernel",
        "Product",
        "Sum",
        "Exponentiation",
        "RBF",
        "Matern",
        "RationalQuadratic",
        "ExpSineSquared",
        "DotProduct",
        "WhiteKernel",
    )
)

TRUSTED_TYPES: tuple[str, ...] = (
    "numpy.dtype",
    *_TREES,
    *_NEIGHBORS,
    *_LOSSES,
    *_KERNELS,
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
)
