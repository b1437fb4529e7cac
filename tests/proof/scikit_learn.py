"""Makes scikit_learn.txt, the known answers of scikit-learn 1.9.1 for `scalers.rs`:

    pip install scikit-learn==1.9.1 && python tests/proof/scikit_learn.py > tests/proof/scikit_learn.txt

A line is the data set, what it has, and numbers. The data are rounded to f32, and computed with in f64.
"""

import sys

import numpy as np
from sklearn import datasets, preprocessing

for name in ["iris", "wine", "breast_cancer", "digits"]:
    x = getattr(datasets, f"load_{name}")().data.astype(np.float32).astype(np.float64)

    def line(what, numbers):
        print(name, what, *(f"{number:.9g}" for number in numbers))

    standard = preprocessing.StandardScaler().fit(x)
    line("mean", standard.mean_)
    line("var", standard.var_)
    line("scale", standard.scale_)
    ranges = preprocessing.MinMaxScaler(feature_range=(-1, 3)).fit(x)
    line("min", ranges.data_min_)
    line("max", ranges.data_max_)
    # Half of the samples, so that the others are outside of the range.
    clip = preprocessing.MinMaxScaler(feature_range=(-1, 3), clip=True).fit(x[: len(x) // 2])
    last = x[-1:]
    line("standard", standard.transform(last)[0])
    line("no_mean", preprocessing.StandardScaler(with_mean=False).fit(x).transform(last)[0])
    line("no_std", preprocessing.StandardScaler(with_std=False).fit(x).transform(last)[0])
    line("range", ranges.transform(last)[0])
    line("clip", clip.transform(last)[0])
    for norm in ["l1", "l2", "max"]:
        line(f"norm_{norm}", preprocessing.Normalizer(norm=norm).transform(last)[0])

# Where evenkeel differs: `evenkeel::preprocess` has the table, `scalers.rs` has what evenkeel gives. The lines go to stderr.
for tiny in [2e-6, 1.1e-6, 1e-7, 1e-20]:
    for dtype in [np.float32, np.float64]:
        x = np.array([[0.0], [tiny]], dtype)
        results = [preprocessing.MinMaxScaler().fit_transform(x), preprocessing.Normalizer().fit_transform(x.T)]
        print(dtype.__name__, tiny, *(result.ravel() for result in results), file=sys.stderr)
nan = np.full((3, 2), np.nan, np.float32)
for scaler in [preprocessing.StandardScaler(), preprocessing.MinMaxScaler()]:
    print(scaler, "of NaN", scaler.fit(nan).transform(np.ones((1, 2), np.float32)), file=sys.stderr)
